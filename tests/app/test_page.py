"""The page in a real browser: one server and one browser for all tests, a context for each user."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from urllib.parse import urljoin, urlsplit

import numpy as np
import pytest
import rasterio
from PIL import Image

from rskt_seg.app.guard import _LONGEST_CALL
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.raster import RasterImage
from rskt_seg.geo.tile_files import write_picture
from rskt_seg.methods import load
from rskt_seg.segmenter import Segmenter
from rskt_seg.synthetic import MINIATURES, render_unseen

ROW = MINIATURES["DLRSD"]
WORDS = "buildings\nfield #ff00ff\ngrass\ntrees"
NAMES = ["buildings", "field", "grass", "trees"]
SERVER = """
import json, sys
asked = open(sys.argv[1], "w", buffering=1)
def tell(event, values):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print(json.dumps(str(values[1] if event == "socket.connect" else values[0])), file=asked)
sys.addaudithook(tell)
from rskt_seg.commands.cli import main
sys.exit(main(["serve", "--port", "0", "--device", "cpu", "--max-upload-mb", "2"]))
"""


def find_browser():
    """The browser of the system; without one these tests are skipped, but in continuous integration."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        missing = "no chromium is installed, in which the page is tested (apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    return found


def test_a_missing_browser_is_a_failure_in_continuous_integration_alone(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        find_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        find_browser()


@pytest.fixture(scope="module")
def browser():
    found = find_browser()
    with pytest.importorskip("playwright.sync_api").sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    """Address of a server and the log of whom it asked; in the end Ctrl-C ends it without a traceback."""
    folder = tmp_path_factory.mktemp("server")
    asked = folder / "asked"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(asked)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(folder)},
    )  # fmt: skip
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.communicate()[1])
    address = line.split()[0]
    assert urlsplit(address).hostname == "127.0.0.1"
    yield address, asked
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors.splitlines()[-1:]) == (130, "", ["interrupted"]), errors
    assert "Traceback" not in errors and not list(folder.glob("rskt-seg-serve-*"))


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


class User:
    """A browser of someone with the page open."""

    def __init__(self, browser, address, width=1280):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.requests, self.calls = [], []
        self.page.on("request", self.listen)
        self.page.goto(address)
        self.page.wait_for_selector("#rs-segment")

    def listen(self, request):
        self.requests.append(request.url)
        if request.url.split("?")[0].endswith("/queue/join"):
            self.calls.append(json.loads(request.post_data))

    def send(self, path):
        self.page.set_input_files("#rs-file input[type=file]", path)
        self.page.wait_for_selector(f"#rs-status :text('{path.stem.split()[0]}')")

    def pick_scene(self):
        """Pick the example that is large enough for windows."""
        self.page.click("#rs-example input")
        self.page.get_by_role("option").last.click()
        self.page.wait_for_selector("#rs-picture img")

    def segment(self, words=WORDS, wait="#rs-status .rs-done"):
        if words:
            self.page.fill("#rs-words textarea", words)
        self.page.click("#rs-segment")
        self.page.wait_for_selector(wait)

    def picture(self):
        return self.page.get_attribute("#rs-picture img", "src")

    def changed(self, before):
        self.page.wait_for_function("old => document.querySelector('#rs-picture img').src != old", arg=before)
        return self.picture()

    def status(self):
        return self.page.inner_text("#rs-status")

    def links(self):
        anchors = self.page.locator("#rs-files a").all()
        return {each.inner_text(): urljoin(self.page.url, each.get_attribute("href")) for each in anchors}

    def download(self, title, folder):
        with self.page.expect_download() as caught:
            self.page.click(f"#rs-files a:has-text('{title}')")
        path = folder / caught.value.suggested_filename
        caught.value.save_as(path)
        return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A small GeoTIFF."""
    return write_scene(tmp_path_factory.mktemp("scene") / "my field (1).tif", [[1]])


def write_scene(path, indices):
    path.parent.mkdir(exist_ok=True)
    rows = [np.concatenate([render_unseen(ROW, 1, k, 96).image for k in row], 1) for row in indices]
    pixels = np.concatenate(rows)
    place = Georeference.at(32632, (600_000, 5_000_000), 0.5)
    write_picture(path, RasterImage(pixels, np.ones(pixels.shape[:2], bool)), place)
    return path


@pytest.fixture(scope="module")
def ann(browser, server, scene):
    """A user who has segmented the small GeoTIFF."""
    user = User(browser, server[0])
    user.send(scene)
    user.segment()
    return user


def test_what_comes_back_is_what_the_library_makes_of_the_image(ann, scene, tiny, tmp_path):
    ids = ann.download("class ids", tmp_path)
    with rasterio.open(scene) as sent, rasterio.open(ids) as got:
        assert (got.crs, got.transform, got.shape) == (sent.crs, sent.transform, sent.shape)
        labels = got.read(1)
    made = Segmenter(tiny, NAMES).predict(scene)
    np.testing.assert_array_equal(labels, made.labels)
    table = ann.page.inner_text("#rs-areas")
    for name, area in zip(NAMES, made.area(), strict=True):
        shown = f"{area.pixels:,}\t{area.square_metres:,.1f} m²"
        assert re.search(rf"{name}\t[\d.]+%\t{re.escape(shown)}", table), table
    assert ann.download("polygons", tmp_path).read_bytes().startswith(b"SQLite format 3\0")
    assert ids.name == "my_field_1_ids.tif" and "my_field_1" in ann.download("areas", tmp_path).name


def test_the_legend_switches_classes_and_colours_are_those_that_were_typed(ann, tmp_path):
    before = ann.picture()
    box = ann.page.get_by_role("checkbox", name="field")
    color = "element => getComputedStyle(element.closest('label'), '::before').backgroundColor"
    assert box.evaluate(color) == "rgb(255, 0, 255)"
    box.uncheck()
    without = ann.changed(before)
    box.check()
    assert ann.changed(without) == before
    ann.page.get_by_role("radio", name="confidence").check()
    sure = ann.changed(before)
    assert ann.page.locator("#rs-picture .rs-ramp").is_visible()
    ann.page.get_by_role("radio", name="classes").check()
    ann.changed(sure)
    number = ann.page.locator("#rs-opacity input[type=number]")
    number.fill("1")
    number.press("Enter")
    ann.changed(before)
    overlay = np.asarray(Image.open(ann.download("overlay", tmp_path)))
    assert (overlay == [255, 0, 255]).all(2).any()  # the border of the class


def test_two_users_at_once_do_not_mix(browser, server, tiny, tmp_path):
    users, words = [User(browser, server[0]) for _ in range(2)], (["pavement", "cars"], ["grass", "field"])
    files = [write_scene(tmp_path / name / "scene.tif", [[k]]) for k, name in enumerate("ab")]
    for user, file, names in zip(users, files, words, strict=True):
        user.send(file)
        user.page.fill("#rs-words textarea", ", ".join(names))
    for user in users:
        user.page.click("#rs-segment")
    for user, file, names in zip(users, files, words, strict=True):
        user.page.wait_for_selector("#rs-status .rs-done")
        with rasterio.open(user.download("class ids", file.parent)) as got:
            np.testing.assert_array_equal(got.read(1), Segmenter(tiny, names).predict(file).labels)
        assert set(user.page.locator("#rs-areas tbody td:first-child").all_inner_texts()) == set(names)
        user.context.close()


def test_one_user_gets_nothing_of_another(browser, server, ann, tmp_path):
    ben = User(browser, server[0])
    other = tmp_path / "my field (1).tif"
    write_scene(other, [[0]])
    ben.send(other)
    ben.segment("pavement\ncars")
    mine, others = ann.links(), ben.links()
    assert set(mine.values()).isdisjoint(others.values())
    for title, link in mine.items():
        assert ann.context.request.get(link).status == 200
        assert ben.context.request.get(link).status == 404, title
        assert ben.context.request.get(link.replace("_ids.tif", "_ids.tif/../x")).status == 404
    assert "pavement" in ben.page.inner_text("#rs-areas") and "field" in ann.page.inner_text("#rs-areas")
    key = next(url for url in ann.requests if "queue/data" in url)
    assert ben.context.request.get(key, timeout=5000).status == 403
    uploaded = next(url for url in ann.requests if url.endswith("/gradio_api/upload") or "/upload?" in url)
    again = ann.context.request.post(uploaded, multipart={
        "files": {"name": "x.tif", "mimeType": "image/tiff", "buffer": other.read_bytes()}
    })  # fmt: skip
    (place,) = again.json()
    for user in (ann, ben):
        assert user.context.request.get(urljoin(server[0], f"gradio_api/file={place}")).status == 404
    sessions = folders(server)
    token, his = (urlsplit(next(iter(links.values()))).path.split("/")[2] for links in (mine, others))
    assert {token, his} <= sessions
    ben.page.close()  # what he leaves is deleted
    assert wait_until_left(ann, server, sessions - {his})


def folders(server):
    """Names of the folders of the sessions of the server."""
    (root,) = server[1].parent.glob("rskt-seg-serve-*/sessions")
    return {folder.name for folder in root.iterdir()}


def wait_until_left(user, server, left):
    """Wait until these folders of sessions are all that there is; return whether it came to that."""
    return folders(server) == left or any(
        user.page.wait_for_timeout(100) or folders(server) == left for _ in range(300)
    )


def test_whoever_leaves_during_a_scene_holds_up_nobody(browser, server, ann):
    before, user = folders(server), User(browser, server[0])
    user.pick_scene()
    user.segment(None, wait="#rs-status .rs-bar")
    assert len(folders(server)) == len(before) + 1
    user.page.close()
    assert wait_until_left(ann, server, before)
    ann.segment("grass", wait="#rs-status .rs-bar")
    ann.page.wait_for_selector("#rs-status .rs-done")
    ann.segment()


def test_a_request_is_cancelled_while_it_waits_for_that_of_another(browser, server):
    busy, user = User(browser, server[0]), User(browser, server[0])
    for each in (busy, user):
        each.pick_scene()
    busy.page.fill("#rs-window input, #rs-window textarea", "12")  # takes long
    busy.segment(None, wait="#rs-status .rs-bar")
    user.segment(None, wait="#rs-status :text('queue')")
    user.page.click("#rs-cancel")
    user.page.wait_for_selector("#rs-status :text('will not begin')")
    busy.page.click("#rs-cancel")
    user.page.wait_for_selector("#rs-status .rs-error")
    assert "stopped" in user.status() and not user.links()
    user.segment(None, wait="#rs-status .rs-bar")  # nor does it end what is asked for later
    for each in (user, busy):
        each.context.close()


def test_a_scene_is_cancelled_and_another_comes_back_in_pieces(browser, server, tmp_path):
    user = User(browser, server[0])
    user.pick_scene()
    user.segment(None, wait="#rs-status .rs-bar")
    user.page.click("#rs-cancel")
    user.page.wait_for_selector("#rs-status .rs-error")
    assert "stopped" in user.status() and not user.links()
    scene = write_scene(tmp_path / "large.tif", [[1, 2, 3]])
    user.send(scene)
    user.segment()
    assert re.search(r"288 x 96 px are seen in \d+ windows", user.status())
    with rasterio.open(scene) as sent, rasterio.open(user.download("class ids", tmp_path)) as got:
        assert (got.crs, got.transform, got.shape) == (sent.crs, sent.transform, sent.shape)
        assert got.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and set(np.unique(got.read(1))) <= {
            0,
            1,
            2,
            3,
        }
    assert user.download("polygons", tmp_path).suffix == ".gpkg"
    user.context.close()


def test_mistakes_get_the_message_of_the_library_and_no_markup(browser, server, scene, tmp_path):
    user = User(browser, server[0])
    user.segment(wait="#rs-status .rs-error")
    assert "there is no image yet" in user.status()
    page = tmp_path / "saved.tif"
    page.write_text("<!DOCTYPE html><html></html>")
    user.send(page)
    expected = "saved.tif is a saved web page, not an image; open it in a browser to see what the server said"
    assert user.status().startswith(expected)
    user.page.locator(
        "#rs-file button[aria-label='Clear'], #rs-file button[aria-label='Remove']"
    ).first.click()
    user.send(scene)
    user.page.wait_for_selector("#rs-picture img")
    user.segment("<img src=x onerror=alert(1)> ${6*7}", wait="#rs-status .rs-error")
    assert "<img src=x onerror=alert(1)> ${6*7}" in user.status()
    user.page.fill("#rs-window input, #rs-window textarea", "much")
    user.page.fill("#rs-words textarea", WORDS)
    user.page.click("#rs-segment")
    user.page.wait_for_selector("#rs-status :text('found \\'much\\'')")
    heavy = {"name": "a.tif", "mimeType": "image/tiff", "buffer": bytes(3 * 2**20)}
    upload = urljoin(server[0], "gradio_api/upload")
    answer = user.context.request.post(upload, multipart={"files": heavy})
    assert answer.status == 413
    user.context.close()


def test_what_was_not_sent_is_neither_read_nor_fetched(ann, server):
    call = next(call for call in ann.calls if isinstance(call["data"][0], dict))
    (root,) = server[1].parent.glob("rskt-seg-serve-*")
    for number, place in enumerate(
        ("/etc/passwd", "http://192.0.2.1/x.png", f"{root}/uploads/../examples/large_scene.tif")
    ):
        asked = call | {
            "data": [call["data"][0] | {"path": place, "url": place}],
            "session_hash": f"new{number}",
        }
        joined = ann.context.request.post(urljoin(server[0], "gradio_api/queue/join"), data=asked)
        assert (joined.status, joined.text()) == (403, "this is no file that was sent to this page")
    assert "192.0.2.1" not in server[1].read_text()


def test_what_is_typed_is_no_longer_than_the_guard_takes(ann):
    letters = int(ann.page.get_attribute("#rs-words textarea", "maxlength"))
    assert 4 * letters < _LONGEST_CALL  # in UTF-8


def test_it_fits_the_screen_of_a_telephone(browser, server):
    user = User(browser, server[0], width=390)
    assert user.page.evaluate("document.documentElement.scrollWidth") <= 390
    user.context.close()


def test_neither_page_nor_server_asks_another_machine(ann, server):
    hosts = {urlsplit(url).hostname for url in ann.requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    asked = [json.loads(line) for line in server[1].read_text().splitlines()]
    assert all(re.search(r"127\.0\.0\.1|localhost|^/", each) for each in asked), asked
