"""Scenes on the command line: which images are scenes, flags, and names of files."""

import json

import numpy as np
import pytest
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg import Segmenter
from rskt_seg.commands import segment
from rskt_seg.commands.scene_flags import expand, refuse_scene_flags, wants_windows
from rskt_seg.commands.scene_run import scene_options
from rskt_seg.commands.segment_files import SegmentOptions, segment_files
from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.scenes.engines import HereEngine
from rskt_seg.scenes.options import SceneOptions
from rskt_seg.windows import Window
from tests.geo.rasters import noise
from tests.stub_models import Colours

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)
NAMES = ["red", "green", "blue"]


def png(path, height, width):
    Image.fromarray(noise(height, width, 3)).save(path)
    return path


def parse(*argv):
    return segment.parse_args(["a.tif", "--output", "out", *argv])


def test_images_over_twice_the_side_of_the_model_are_scenes_and_others_pictures(tmp_path):
    small, large = png(tmp_path / "small.png", 96, 60), png(tmp_path / "large.png", 97, 60)
    segmenter = Segmenter(Colours(), NAMES)
    engine = HereEngine(segmenter.strategy)
    options = SegmentOptions(tmp_path / "out")
    assert segment_files(segmenter, [small, large], {}, options, SceneOptions(), engine) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "small_overlay.png" in names
    assert "small_confidence.tif" not in names
    assert {"large_ids.tif", "large_confidence.tif", "large_quicklook.png", "large_provenance.json"} <= names
    assert {"large_overlay.png", "large_labels.png", "large_legend.png", "large_ids.png"} <= names
    ids = np.asarray(Image.open(tmp_path / "out" / "large_ids.png"))
    assert np.array_equal(ids, noise(97, 60, 3).argmax(axis=2))


def test_a_flag_of_scenes_is_heeded_for_small_images_too(tmp_path):
    small, output = png(tmp_path / "small.png", 96, 60), tmp_path / "out"
    segmenter = Segmenter(Colours(), NAMES)
    engine = HereEngine(segmenter.strategy)
    options = SegmentOptions(output, in_windows=True)
    assert segment_files(segmenter, [small], {}, options, SceneOptions(window=48), engine) == 0
    provenance = json.loads((output / "small_provenance.json").read_text())
    assert provenance["facts"]["windows"][0] == 48
    assert provenance["facts"]["model"] == "rskt"
    assert (output / "small_confidence.tif").is_file()


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        ([], False),
        (["--workers", "2", "--batch", "3", "--chunk", "512", "--restart"], False),
        (["--polygons", "none"], False),
        (["--polygons", "gpkg"], True),
        (["--window", "96"], True),
        (["--scores"], True),
        (["--part", "0,0,5,5", "--polygons", "none"], True),
    ],
)
def test_flags_that_change_the_map_ask_for_windows(argv, wanted):
    assert wants_windows(parse(*argv)) == wanted


def test_a_scene_that_fails_does_not_stop_the_others(tmp_path, caplog):
    broken, good = tmp_path / "broken.tif", png(tmp_path / "good.png", 100, 60)
    broken.write_bytes(b"II*\0nothing")
    segmenter = Segmenter(Colours(), NAMES)
    engine = HereEngine(segmenter.strategy)
    files = [broken, good, tmp_path / "missing.tif"]
    assert segment_files(segmenter, files, {}, SegmentOptions(tmp_path / "o"), SceneOptions(), engine) == 1
    assert (tmp_path / "o" / "good_ids.tif").is_file()
    assert "2 of 3 images failed" in caplog.text


def test_results_that_cannot_be_shown_fail_alone(tmp_path, caplog):
    files = [png(tmp_path / name, 100, 60) for name in ("a.png", "b.png")]
    (tmp_path / "o" / "a_overlay.png").mkdir(parents=True)
    segmenter = Segmenter(Colours(), NAMES)
    engine = HereEngine(segmenter.strategy)
    assert segment_files(segmenter, files, {}, SegmentOptions(tmp_path / "o"), SceneOptions(), engine) == 1
    assert (tmp_path / "o" / "b_overlay.png").is_file()
    assert "1 of 2 images failed" in caplog.text


@pytest.mark.parametrize("side", [60, 100])
@pytest.mark.parametrize("kind", ["labels.png", "overlay.png", "ids.png", "quicklook.png"])
def test_no_image_is_replaced_by_the_results_of_another(tmp_path, side, kind):
    files = [png(tmp_path / name, side, 50) for name in ("farm.png", f"farm_{kind}")]
    before = files[1].read_bytes()
    segmenter = Segmenter(Colours(), NAMES)
    engine = HereEngine(segmenter.strategy)
    arguments = SegmentOptions(tmp_path), SceneOptions(), engine
    with pytest.raises(ConfigError, match=rf"results of farm would replace .*farm_{kind}.*another folder"):
        segment_files(segmenter, files, {}, *arguments)
    assert files[1].read_bytes() == before
    assert segment_files(segmenter, files[1:], {}, *arguments) == 0


def test_a_damaged_map_is_told_with_its_cure(tmp_path, caplog):
    scene, output = png(tmp_path / "scene.png", 97, 60), tmp_path / "out"
    segmenter, options = Segmenter(Colours(), NAMES), SegmentOptions(output)
    engine = HereEngine(segmenter.strategy)
    assert segment_files(segmenter, [scene], {}, options, SceneOptions(), engine) == 0
    map_file = output / "scene_ids.tif"
    content = bytearray(map_file.read_bytes())
    content[-600:] = bytes(600)
    map_file.write_bytes(content)
    assert segment_files(segmenter, [scene], {}, options, SceneOptions(), engine) == 1
    assert "scene_ids.tif" in caplog.text
    assert "segment the scene anew (--restart)" in caplog.text


def test_no_truth_is_replaced_by_results(tmp_path):
    image, truth = png(tmp_path / "farm.png", 60, 50), tmp_path / "farm_ids.png"
    Image.fromarray(noise(60, 50) % 3).save(truth)
    with pytest.raises(ConfigError, match=r"would replace .*farm_ids\.png"):
        segment_files(Segmenter(Colours(), NAMES), [image], {image: truth}, SegmentOptions(tmp_path))
    assert np.array_equal(np.asarray(Image.open(truth)), noise(60, 50) % 3)


def test_lists_without_an_image_or_of_themselves_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("# nothing\n\n")
    with pytest.raises(ImageReadError, match=r"a\.txt names no image"):
        expand([str(tmp_path / "a.txt")])
    for name, other in (("a.txt", "b.txt"), ("b.txt", "a.txt")):
        (tmp_path / name).write_text(str(tmp_path / other))
    with pytest.raises(ImageReadError, match=r"a\.txt names itself"):
        expand([str(tmp_path / "a.txt")])


def test_an_empty_name_is_not_the_folder_at_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(png(tmp_path / "a.png", 9, 9).parent)
    with pytest.raises(ConfigError, match="empty name"):
        expand([""])
    assert [str(each) for each in expand(["."])] == ["a.png"]


def test_an_empty_name_of_the_output_is_not_the_folder_at_hand(capsys):
    with pytest.raises(SystemExit):
        segment.parse_args(["a.tif", "--output", ""])
    assert "--output: expected a file or folder; found an empty name" in capsys.readouterr().err


def test_flags_become_options():
    args = parse(
        "--window", "120m", "--overlap", "0.5", "--blend", "mean", "--part", "1,2,30,40", "--scores",
        "--chunk", "1024", "--polygons", "gpkg,parquet", "--min-area", "50 m2", "--nodata", "7", "--no-alpha",
    )  # fmt: skip
    found = scene_options(args, (3, 2, 1))
    assert (found.window, found.overlap, found.taper, found.chunk) == ("120m", 0.5, "mean", 1024)
    assert found.part == Window(1, 2, 30, 40)
    assert found.polygons == ("gpkg", "parquet")
    assert (found.bands, found.nodata, found.alpha, found.scores) == ((3, 2, 1), 7, False, True)
    assert scene_options(parse("--bounds", "1,2,3,4"), None).bounds == (1, 2, 3, 4)
    assert scene_options(parse("--polygons", "none"), None).polygons == ()


@pytest.mark.parametrize(
    "argv",
    [
        ["--bounds", "1,2,3"],
        ["--part", "a,b,c,d"],
        ["--part", "nan,0,5,5"],
        ["--part", "inf,0,5,5"],
        ["--part", "1.5,0,5,5"],
        ["--chunk", "700"],
    ],
)
def test_values_that_make_no_sense_are_one_line(argv):
    with pytest.raises(ConfigError, match=argv[1].split(",")[0]):
        scene_options(parse(*argv), None)


def test_flags_of_scenes_are_refused_where_images_are_seen_as_a_whole():
    refuse_scene_flags(parse())
    with pytest.raises(ConfigError, match=r"--min-area, --workers|--workers, --min-area"):
        refuse_scene_flags(parse("--workers", "2", "--min-area", "3 px"))


def test_folders_lists_patterns_and_names_of_gdals_own(tmp_path):
    for name in ("b.tif", "a.VRT", "notes.md", "c.png"):
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text(f"# scenes\n{tmp_path / 'c.png'}\n\n{tmp_path / '*.tif'}\n")
    inside = [tmp_path / name for name in ("a.VRT", "b.tif", "c.png")]
    assert expand([str(tmp_path)]) == inside
    assert expand([str(tmp_path / "list.txt"), str(tmp_path / "b.tif")]) == [inside[2], inside[1]]
    name = "/vsizip//data/a.zip/b.tif"
    assert expand([name]) == [name]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageReadError, match="empty holds no image"):
        expand([str(tmp_path / "empty")])
    with pytest.raises(ConfigError, match=r"among the images .* choose another folder"):
        expand([str(tmp_path)], tmp_path / "empty" / "..")
    with pytest.raises(ImageReadError, match="no file matches"):
        expand([str(tmp_path / "*.jp2")])
