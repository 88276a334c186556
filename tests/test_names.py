"""Names of files that are not UTF-8, and locales that know no other letters than ASCII."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from rskt_seg.commands.check import main as check
from rskt_seg.commands.entry import echo, run
from rskt_seg.commands.image_labels import main as image_labels
from rskt_seg.commands.prepare import main as prepare
from rskt_seg.d2 import load_config
from rskt_seg.data.labels import read_label
from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo import read_image, write_labels
from rskt_seg.legend import Legend
from rskt_seg.quoting import printable
from rskt_seg.reading import file_name, text_of_name
from tests.commands.test_segment import run as segment
from tests.data.preparation.official import OFFICIAL

ROOT = Path(__file__).parents[1]
ODD = os.fsdecode(b"caf\xe9")
"""A name in Latin 1, as old archives have them; not UTF-8."""
NAMES = [ODD, "d\u00e4ch", "\u65e5\u672c"]
PIXELS = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
IDS = PIXELS[:, :, 0] % np.uint8(2)


def save(path: Path, array: np.ndarray, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.fromarray(array).save(file, kind)
    return path


def own(root: Path, stems: list[str]) -> Path:
    for stem in stems:
        save(root / f"images/{stem}.png", PIXELS + np.uint8(len(stem)))
        save(root / f"masks/{stem}.png", IDS)
    (root / "farm.yaml").write_text(
        "name: farm\nclasses: [wheat, gr\u00fcn]\nsplits: {val: {images: images, labels: masks}}\n", "utf-8"
    )
    return root / "farm.yaml"


def in_locale(code: str, *arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess:
    """Run Python where the system's names and its output are ASCII."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(ROOT)}
    head = "import sys; assert sys.getfilesystemencoding() == 'ascii'\n"
    command = [sys.executable, "-c", head + code, *map(os.fsencode, map(str, arguments))]
    return subprocess.run(command, capture_output=True, env=environment, cwd=folder, timeout=120)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("name", NAMES)
def test_photographs_and_labels_of_any_name_are_read(name, kind, tmp_path):
    path = save(tmp_path / name / f"{name}.{kind.lower()}", PIXELS, kind)
    assert read_image(path).pixels.shape == PIXELS.shape
    assert np.array_equal(read_label(save(tmp_path / name / f"{name}_gt.png", IDS)), IDS)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_tiff_whose_name_is_not_utf8_is_not_called_damaged_but_to_be_renamed(tmp_path):
    path = save(tmp_path / f"{ODD}.tif", PIXELS, "TIFF")
    with pytest.raises(ImageReadError, match=r"the name caf\\xe9\.tif is not UTF-8; rename it") as caught:
        read_image(path)
    assert "damaged" not in str(caught.value)
    colors = np.array([[0, 0, 0], [255, 255, 255]])
    with pytest.raises(ImageReadError, match=r"the name caf\\xe9 is not UTF-8; rename it"):
        write_labels(tmp_path / ODD / "a.tif", IDS, None, Legend.of(["a", "b"], colors))
    for name in NAMES[1:]:
        assert np.array_equal(read_image(save(tmp_path / f"{name}.tif", PIXELS, "TIFF")).pixels, PIXELS)
        write_labels(tmp_path / name / f"{name}.tif", IDS, None, Legend.of(["a", "b"], colors))
        with rasterio.open(tmp_path / name / f"{name}.tif") as dataset:
            assert np.array_equal(dataset.read(1), IDS)


def test_results_have_the_name_of_their_image_and_their_json_states_it(tmp_path):
    files = [save(tmp_path / f"{name}.png", PIXELS) for name in NAMES]
    truths = {file: save(tmp_path / f"{file.stem}_gt.png", IDS) for file in files}
    assert segment(files, tmp_path / "out", truths) == 0
    for file in files:
        stated = json.loads((tmp_path / "out" / f"{file.stem}_area.json").read_text("utf-8"))
        assert Path(stated["image"]).read_bytes() == file.read_bytes()
        assert (tmp_path / "out" / f"{file.stem}_ids.png").is_file()


def test_one_file_that_is_to_be_renamed_does_not_stop_the_others(tmp_path):
    files = [save(tmp_path / f"{name}.tif", PIXELS, "TIFF") for name in NAMES]
    assert segment(files, tmp_path / "out") == 1
    assert {file.name.rpartition("_")[0] for file in (tmp_path / "out").iterdir()} == set(NAMES[1:])


def test_a_check_reads_and_names_files_of_any_name(tmp_path, capsys):
    file = own(tmp_path / ODD, NAMES)
    report = tmp_path / ODD / "report.json"
    assert check([str(file), "--json", str(report)]) == 0
    (tmp_path / ODD / f"masks/{ODD}.png").write_bytes(b"no image")
    assert check([str(file), "--json", str(report)]) == 1
    assert r"caf\xe9.png" in capsys.readouterr().out
    (found,) = json.loads(report.read_text("utf-8"))["reports"]
    paths = {entry["path"] for finding in found["findings"] for entry in finding["files"]}
    assert str(tmp_path / ODD / f"masks/{ODD}.png") in paths


def test_prepare_keeps_the_names_of_scenes_and_has_nothing_left_to_do(tmp_path, capsys):
    OFFICIAL["VDD"](tmp_path / "src")
    for kind, suffix in (("src", "JPG"), ("gt", "png")):
        folder = tmp_path / "src/VDD/train" / kind
        (folder / f"DJI_0000.{suffix}").rename(folder / f"{ODD}.{suffix}")
    line = ["VDD", str(tmp_path / "src"), str(tmp_path / ODD)]
    assert prepare(line) == 0
    assert (tmp_path / ODD / f"VDD/gt/{ODD}.png").is_file()
    assert prepare(line) == 0
    assert "nothing was left to do" in capsys.readouterr().out


def test_a_file_of_image_labels_states_names_in_utf8_or_is_refused(tmp_path, capsys):
    line = [str(own(tmp_path / "a", NAMES[1:])), "--output", str(tmp_path / "a.csv")]
    assert image_labels(line) == 0 and "d\u00e4ch" in (tmp_path / "a.csv").read_text("utf-8")
    line = [str(own(tmp_path / "b", NAMES)), "--output", str(tmp_path / "b.csv")]
    assert image_labels(line) == 2
    error = capsys.readouterr().err
    assert r"the name caf\xe9 is not UTF-8; rename it" in error and error.count("\n") == 1
    assert not (tmp_path / "b.csv").exists()


def test_an_override_that_is_not_utf8_is_named():
    with pytest.raises(ConfigError, match=r"command line: caf\\xe9/out .*rename"):
        load_config("ovrsis/tiny_dlrsd.yaml", ["OUTPUT_DIR", f"{ODD}/out"])


@pytest.mark.parametrize("text", ["caf\u00e9", ODD, f"{ODD} and \ud800 \u65e5\u672c", "plain"])
def test_every_text_can_be_printed_and_names_in_utf8_stay(text, capsysbinary):
    printable(text).encode("utf-8")
    assert printable(printable(text)) == printable(text)
    assert printable("d\u00e4ch") == "d\u00e4ch" and printable(ODD) == r"caf\xe9"
    echo(text)
    assert capsysbinary.readouterr().out.decode("utf-8") == f"{printable(text)}\n"


def test_names_in_texts_are_those_of_the_system():
    assert all(file_name(text_of_name(name)) == name for name in NAMES[1:])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            UnicodeEncodeError("utf-8", ODD, 3, 4, "surrogates not allowed"),
            r"'caf\udce9' is not UTF-8; rename it",
        ),
        (UnicodeEncodeError("ascii", "\u65e5\n\u672c", 0, 1, "no"), "knows only ascii; set LC_ALL=C.UTF-8"),
    ],
)
def test_a_name_that_something_does_not_take_is_one_line(error, message, capsys):
    def work():
        raise error

    assert run(work, "program") == 2
    found = capsys.readouterr().err
    assert message in found and found.count("\n") == 1


READ = """
from pathlib import Path
from rskt_seg.geo import read_image
for name in sys.argv[1:]:
    assert read_image(Path(name)).pixels.shape == (40, 50, 3)
"""
CHECK = "from rskt_seg.commands.check import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_locale_without_the_letters_of_a_name_reads_the_file_all_the_same(tmp_path):
    files = [
        save(tmp_path / f"{name}.{kind}", PIXELS, kind) for name in NAMES[1:] for kind in ("PNG", "TIFF")
    ]
    result = in_locale(READ, *files)
    assert result.returncode == 0, result.stderr


def test_a_locale_without_the_letters_of_classes_folders_and_lists_checks_all_the_same(tmp_path):
    root = tmp_path / "d\u00e4ch"
    file = own(root, NAMES[1:])
    for kind in ("images", "masks"):
        (root / kind).rename(root / f"{kind}_\u65e5")
    (root / "list_\u00e9.txt").write_text("\n".join(NAMES[1:]), "utf-8")
    split = "{images: images_\u65e5, labels: masks_\u65e5, list: list_\u00e9.txt}"
    file.write_text(f"name: farm\nclasses: [wheat, gr\u00fcn]\nsplits: {{val: {split}}}\n", "utf-8")
    result = in_locale(CHECK, file, "--json", root / "report.json")
    assert result.returncode == 0, result.stderr
    assert rb"gr\xfcn" in result.stdout and (root / "report.json").is_file()


LOG = """
import logging
from argparse import Namespace
from rskt_seg.d2.launch import Run, set_up
opts = ["OUTPUT_DIR", sys.argv[1], "MODEL.DEVICE", "cpu", "DATASETS.OWN", "('farm.yaml',)"]
set_up(Run(Namespace(config_file="ovrsis/tiny_dlrsd.yaml", opts=opts, eval_only=True, resume=False)))
for name in ("rskt_seg.x", "detectron2"):
    logging.getLogger(name).warning("classes gr\\u00fcn and caf\\udce9")
"""


def test_the_log_of_a_run_takes_the_letters_of_names_and_classes_in_every_locale(tmp_path):
    own(tmp_path, ["a"])
    result = in_locale(LOG, tmp_path / "out", folder=tmp_path)
    assert result.returncode == 0 and b"Logging error" not in result.stderr, result.stderr
    log = (tmp_path / "out/log.txt").read_text("utf-8")
    assert log.count("classes gr\u00fcn and caf\\udce9") == 2
    assert result.stdout.count(rb"gr\xfcn and caf\udce9") == 2
