import csv
import json
import logging
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import Affine
from tqdm import tqdm

import rskt_seg.commands.segment_files
import rskt_seg.geo.area_tables
import rskt_seg.geo.raster_files
import rskt_seg.map_files
import rskt_seg.writing
from rskt_seg.commands.segment import expand, pair_truths, parse_args, parse_bands, segment
from rskt_seg.commands.segment_files import SegmentOptions, segment_files
from rskt_seg.errors import ConfigError, DatasetError, ImageReadError
from rskt_seg.geo import AreaSummary, ClassArea
from rskt_seg.geo.area_tables import area_table
from rskt_seg.segmenter import Segmenter
from tests.full_disk import file_limit
from tests.stub_models import Colours

NAMES = ("red", "green", "blue")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def png(path, array):
    Image.fromarray(array).save(path)
    return path


def run(images, output, truths=None, **options):
    segmenter = Segmenter(Colours(cells=8), NAMES, short_side=48)
    return segment_files(segmenter, images, truths or {}, SegmentOptions(output, **options))


def test_a_photograph_gives_pictures_ids_and_areas_of_its_own_size(tmp_path):
    path = png(tmp_path / "a.png", noise(20, 30))
    assert run([path], tmp_path / "out") == 0
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {
        f"a_{kind}"
        for kind in ("overlay.png", "labels.png", "legend.png", "ids.png", "area.csv", "area.json")
    }
    ids = np.asarray(Image.open(tmp_path / "out" / "a_ids.png"))
    expected = Segmenter(Colours(cells=8), NAMES, short_side=48).predict(path).labels
    assert ids.dtype == np.uint8 and np.array_equal(ids, expected)
    assert Image.open(tmp_path / "out" / "a_overlay.png").size == (30, 20)


def test_areas_are_written_as_csv_and_json(tmp_path):
    path = png(tmp_path / "a.png", noise(20, 30))
    run([path], tmp_path)
    with (tmp_path / "a_area.csv").open() as file:
        rows = list(csv.DictReader(file))
    summary = json.loads((tmp_path / "a_area.json").read_text())
    *classes, total, nodata = rows
    assert [row["name"] for row in classes] == [entry["name"] for entry in summary["classes"]] == list(NAMES)
    assert sum(int(row["pixels"]) for row in classes) == summary["valid_pixels"] == 600
    assert (total["id"], total["name"], total["pixels"], total["share"]) == ("", "total", "600", "1.0")
    assert (nodata["id"], nodata["name"], nodata["pixels"], nodata["share"]) == ("255", "nodata", "0", "")
    assert summary["total"]["pixels"] == 600 and summary["nodata"]["id"] == 255
    assert summary["area_method"] is None and total["square_metres"] == total["hectares"] == ""
    assert (summary["height"], summary["width"], summary["ignore_label"]) == (20, 30, 255)
    assert all(len(entry["color"]) == 3 and entry["square_metres"] is None for entry in summary["classes"])


def test_spreadsheets_do_not_run_the_names_in_the_areas(tmp_path):
    path, names = png(tmp_path / "a.png", noise(20, 30)), ("=1+1", "@cmd", "-sea", "land")
    segment_files(Segmenter(Colours(cells=8), names, short_side=48), [path], {}, SegmentOptions(tmp_path))
    with (tmp_path / "a_area.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == [
            "'=1+1", "'@cmd", "'-sea", "land", "total", "nodata",
        ]  # fmt: skip
    summary = json.loads((tmp_path / "a_area.json").read_text())
    assert tuple(entry["name"] for entry in summary["classes"]) == names


def test_a_geotiff_gives_a_geotiff_of_ids_on_the_same_grid(tmp_path):
    array = noise(20, 30).transpose(2, 0, 1)
    array[:, :4] = 0
    profile = {"driver": "GTiff", "count": 3, "height": 20, "width": 30, "dtype": "uint8", "nodata": 0}
    place = {"crs": "EPSG:32632", "transform": Affine(0.5, 0.1, 300000, 0.1, -0.5, 5600000)}
    with rasterio.open(tmp_path / "scene.tif", "w", **profile, **place) as dataset:
        dataset.write(array)
    assert run([tmp_path / "scene.tif"], tmp_path / "out") == 0
    with rasterio.open(tmp_path / "out" / "scene_ids.tif") as written:
        assert (written.crs, written.transform) == (rasterio.CRS.from_epsg(32632), place["transform"])
        assert written.shape == (20, 30) and written.nodata == 255
        assert written.tags(1)["CLASS_2"] == "blue" and 255 in written.colormap(1)
        ids = written.read(1)
    assert (ids[:4] == 255).all() and (ids[4:] < 3).all()
    assert np.array_equal(ids, np.asarray(Image.open(tmp_path / "out" / "scene_ids.png")))
    summary = json.loads((tmp_path / "out" / "scene_area.json").read_text())
    metres = summary["total"]["square_metres"]
    assert sum(entry["square_metres"] for entry in summary["classes"]) == pytest.approx(metres)
    assert metres == pytest.approx(16 * 30 * 0.26, rel=1e-3) and summary["area_method"] == "geodesic"
    assert summary["total"]["hectares"] == pytest.approx(metres / 10_000)
    assert summary["nodata"]["square_metres"] == pytest.approx(metres / 4, rel=1e-4)
    with (tmp_path / "out" / "scene_area.csv").open() as file:
        *_, total, nodata = csv.DictReader(file)
    assert float(total["square_metres"]) == metres and nodata["pixels"] == "120"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_tiff_that_lies_nowhere_gives_a_tiff_too(tmp_path):
    Image.fromarray(noise(20, 30)).save(tmp_path / "a.tif")
    assert run([tmp_path / "a.tif"], tmp_path / "out") == 0
    with rasterio.open(tmp_path / "out" / "a_ids.tif") as written:
        assert written.shape == (20, 30) and written.crs is None


def test_no_bar_runs_into_the_lines_of_a_log(tmp_path, monkeypatch, capsys):
    def at_once(*args, **options):
        return tqdm(*args, **options | {"delay": 0})

    monkeypatch.setattr(rskt_seg.commands.segment_files, "tqdm", at_once)
    assert run([png(tmp_path / "a.png", noise(20, 30))], tmp_path / "out") == 0
    assert "image/s" not in capsys.readouterr().err


def test_a_broken_image_does_not_stop_the_batch_but_fails_it(tmp_path, caplog):
    good, broken = png(tmp_path / "good.png", noise(20, 30)), png(tmp_path / "broken.png", noise(20, 30))
    broken.write_bytes(broken.read_bytes()[:500])
    assert run([broken, tmp_path / "none.png", good], tmp_path / "out") == 1
    assert (tmp_path / "out" / "good_ids.png").exists() and not (tmp_path / "out" / "broken_ids.png").exists()
    listed = [record.getMessage() for record in caplog.records if "failed" in record.getMessage()]
    assert len(listed) == 3 and "broken.png" in listed[0] and "none.png" in listed[1]
    assert "2 of 3 images failed" in listed[2]


def test_images_of_one_name_do_not_overwrite_each_other(tmp_path):
    paths = [png(tmp_path / name, noise(8, 9)) for name in ("a.png", "a.bmp")]
    assert run(paths, tmp_path / "out") == 0
    assert {"a_ids.png", "a-2_ids.png"} <= {file.name for file in (tmp_path / "out").iterdir()}


def test_a_truth_adds_a_comparison_and_a_wrong_one_fails_its_image(tmp_path, caplog):
    path = png(tmp_path / "a.png", noise(20, 30))
    truth = png(tmp_path / "a_label.png", np.full((20, 30), 2, np.uint8))
    assert run([path], tmp_path / "out", {path: truth}) == 0 and (tmp_path / "out" / "a_truth.png").exists()
    png(truth, np.full((30, 20), 2, np.uint8))
    assert run([path], tmp_path / "out2", {path: truth}) == 1 and "ground truth of" in caplog.text
    png(truth, np.full((20, 30), 3, np.uint8))
    assert run([path], tmp_path / "out3", {path: truth}) == 1 and "expected 0..2" in caplog.text


def test_cost_maps_are_drawn_when_asked_for(tmp_path):
    path = png(tmp_path / "a.png", noise(20, 30))
    assert run([path], tmp_path / "out", explanations=("cost_maps",)) == 0
    assert (tmp_path / "out" / "a_cost_maps.png").exists()
    hidden = png(tmp_path / "hidden.png", np.zeros((5, 5, 4), np.uint8))
    assert run([hidden], tmp_path / "out", explanations=("cost_maps",)) == 0
    assert not (tmp_path / "out" / "hidden_cost_maps.png").exists()


def test_patterns_are_expanded_and_names_kept(tmp_path):
    for name in ("b.png", "a.png", "c.txt", "[x].png"):
        (tmp_path / name).touch()
    found = expand([f"{tmp_path}/?.png", str(tmp_path / "a.png"), str(tmp_path / "[x].png"), "missing.tif"])
    assert found == [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "[x].png", Path("missing.tif")]
    with pytest.raises(ImageReadError, match="no file matches"):
        expand([f"{tmp_path}/*.jp2"])


def test_truths_are_paired_by_stem_and_never_by_order(tmp_path):
    images = [tmp_path / name for name in ("1.png", "12.png")]
    truths = [tmp_path / "gt" / name for name in ("12_label.png", "1.png", "1_other.png")]
    (tmp_path / "gt").mkdir()
    for truth in truths:
        truth.touch()
    expected = {images[0]: truths[1], images[1]: truths[0]}
    assert pair_truths(images, truths) == pair_truths(images, [tmp_path / "gt"]) == expected
    assert pair_truths(images[:1], [tmp_path / "other.png"]) == {images[0]: tmp_path / "other.png"}
    with pytest.raises(DatasetError, match=r"stem 12 for .* found none"):
        pair_truths(images, truths[1:])
    with pytest.raises(DatasetError, match=r"1_a\.png, .*1_b\.png"):
        pair_truths(images, [tmp_path / "1_a.png", tmp_path / "1_b.png", truths[0]])


def test_bands_are_parsed_or_refused():
    assert parse_bands(None) is None and parse_bands("4, 3,2") == (4, 3, 2) and parse_bands("1") == (1,)
    for text in ("4,3", "0,1,2", "a", "", "1,2,3,4", "4;3;2"):
        with pytest.raises(ConfigError, match="--bands"):
            parse_bands(text)


def test_options_and_folders_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="stretch"):
        SegmentOptions(tmp_path, stretch="linear")
    file = png(tmp_path / "a.png", noise(4, 4))
    with pytest.raises(ConfigError, match="output folder"):
        run([file], file)


def test_the_area_table_puts_the_largest_class_first_and_ends_with_the_total():
    areas = (ClassArea("road", 10, 0.1, 100.0), ClassArea("low vegetation", 90, 0.9, 1234.5))
    total, hidden = ClassArea("total", 100, 1.0, 1334.5), ClassArea("nodata", 7, None, 70.0)
    first, second, third, fourth, last = area_table(
        AreaSummary(areas, total, hidden, "geodesic")
    ).splitlines()
    assert "low vegetation" in first and "90.00%" in first and "1,234.5 m2" in first and "0.1235 ha" in first
    assert "road" in second and "total" in third and "100.00%" in third and "1,334.5 m2" in third
    assert "nodata" in fourth and "7 px" in fourth and "%" not in fourth and "geodesic" in last
    unknown = [
        ClassArea(name, pixels, None, None) for name, pixels in (("road", 100), ("total", 100), ("nodata", 0))
    ]
    assert len(area_table(AreaSummary((unknown[0],), unknown[1], unknown[2], None)).splitlines()) == 2


RESULTS = ("overlay.png", "labels.png", "legend.png", "ids.png", "ids.tif", "area.csv", "area.json")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("result", RESULTS)
def test_a_result_that_does_not_fit_on_the_disk_leaves_the_older_one(tmp_path, monkeypatch, result):
    path, out = tmp_path / "a.tif", tmp_path / "out"
    Image.fromarray(noise(40, 50)).save(path)
    assert run([path], out) == 0
    former = {file.name: file.read_bytes() for file in out.iterdir()}
    assert set(former) == {f"a_{name}" for name in RESULTS}
    Image.fromarray(noise(40, 50, seed=1)).save(path)
    with monkeypatch.context() as patch:
        limit_file(patch, f"a_{result}", 60)
        assert run([path], out) == 1
    found = {file.name: file.read_bytes() for file in out.iterdir()}
    assert set(found) == set(former) and found[f"a_{result}"] == former[f"a_{result}"]
    assert run([path], out) == 0
    for name, content in found.items():
        assert content in (former[name], (out / name).read_bytes()), f"{name} is neither old nor new"


def limit_file(patch, name, size):
    """Let one file grow to `size` bytes only, as on a full disk."""
    for module, function in (
        (rskt_seg.map_files, "replacing"),
        (rskt_seg.geo.area_tables, "replacing"),
        (rskt_seg.writing, "replacing"),
        (rskt_seg.geo.raster_files, "replacing_with_companions"),
    ):
        patch.setattr(module, function, limited(getattr(module, function), name, size))


def limited(replacing, name, size):
    @contextmanager
    def replacing_with_limit(path, *options):
        limit = file_limit(size) if Path(path).name == name else nullcontext()
        with replacing(path, *options) as partial, limit:
            yield partial

    return replacing_with_limit


def test_what_libraries_say_of_their_own_work_is_not_shown(tmp_path):
    logging.getLogger("pyogrio").setLevel(logging.NOTSET)
    with pytest.raises(ConfigError, match="no image"):
        segment(parse_args(["--output", str(tmp_path)]))
    assert not logging.getLogger("pyogrio").isEnabledFor(logging.INFO)
