"""The demo command with the weakly supervised method: an untrained tiny model, every flag from end to end."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rskt_seg.class_colors import class_colors
from rskt_seg.commands.segment import main, parse_names
from rskt_seg.commands.segment_files import SegmentOptions, segment_files
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.segmenter import Segmenter
from tests.inference.prior_stub import PriorStub
from tests.stub_models import Colours

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "wsss" / "tiny.yaml")


@pytest.fixture
def image(tmp_path):
    """Red, green and dark stripes of 24 px."""
    stripes = np.repeat(np.array([[(200, 10, 10), (10, 220, 10), (5, 5, 5)]], np.uint8), 24, axis=1)
    Image.fromarray(stripes.repeat(40, axis=0)).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def draw(image, output, truth=None, **options):
    truths = {} if truth is None else {image: truth}
    segmenter = Segmenter(PriorStub(), tile=24, tile_overlap=0, scales=(1,), flip=False)
    return segment_files(
        segmenter, [image], truths, SegmentOptions(output, explanations=("cams",), **options)
    )


def test_the_classes_are_those_asked_for_or_of_the_truth_or_predicted_and_a_line_says_which(
    image, tmp_path, caplog
):
    truth = np.zeros((40, 72), np.uint8)
    truth[:, :24] = 3
    Image.fromarray(truth).save(tmp_path / "truth.png")
    caplog.set_level("INFO")
    for options, line in (
        ({"present": ("green", "blue")}, "CAMs of green, blue (--present)"),
        ({"truth": tmp_path / "truth.png"}, "CAMs of blue (classes of the ground truth"),
        ({}, "CAMs of red (classes predicted"),
    ):
        caplog.clear()
        assert draw(image, tmp_path / "out", at=(0, 0), **options) == 0
        assert line in caplog.text
        (tmp_path / "out" / "scene_cams.png").unlink()


def test_a_pixel_outside_fails_its_image_and_an_image_without_data_has_no_cams(image, tmp_path, caplog):
    assert draw(image, tmp_path / "out", at=(40, 0)) == 1 and "rows 0..39" in caplog.text
    Image.fromarray(np.zeros((9, 9, 4), np.uint8)).save(tmp_path / "hidden.png")
    assert draw(tmp_path / "hidden.png", tmp_path / "out") == 0
    assert not list((tmp_path / "out").glob("*cams*"))


def test_an_image_without_data_says_in_one_line_why_nothing_is_drawn(tmp_path, caplog):
    Image.fromarray(np.zeros((9, 9, 4), np.uint8)).save(tmp_path / "hidden.png")
    caplog.set_level("INFO")
    assert draw(tmp_path / "hidden.png", tmp_path / "out") == 0
    (line,) = [record.getMessage() for record in caplog.records if "CAMs" in record.getMessage()]
    assert line == f"{tmp_path / 'hidden.png'}: no CAMs are drawn, the image is all nodata"


def test_a_tile_without_data_is_told_from_one_without_a_class(image, tmp_path, caplog):
    pixels = np.dstack([np.asarray(Image.open(image)), np.full((40, 72), 255, np.uint8)])
    pixels[:, :36] = 0
    Image.fromarray(pixels).save(tmp_path / "half.png")
    caplog.set_level("INFO")
    assert draw(tmp_path / "half.png", tmp_path / "out", at=(0, 0)) == 0
    assert (tmp_path / "out" / "half_cams.png").exists()
    assert "half.png: the tile of the CAMs is all nodata; --at chooses another" in caplog.text
    assert "no class" not in caplog.text


def test_the_background_is_grey_in_pictures_and_tables_and_clear_in_the_overlay(image, tmp_path):
    assert draw(image, tmp_path / "out", at=(0, 60)) == 0
    ids, shown = (
        np.asarray(Image.open(tmp_path / "out" / f"scene_{kind}.png")) for kind in ("ids", "overlay")
    )
    photo = np.asarray(Image.open(image))
    assert np.array_equal(np.unique(ids), [0, 1, 2])
    assert np.array_equal(shown[ids == 0], photo[ids == 0])
    assert (shown[ids > 0] != photo[ids > 0]).any(axis=1).all()
    listed = json.loads((tmp_path / "out" / "scene_area.json").read_text(encoding="utf-8"))["classes"]
    assert [row["name"] for row in listed] == ["background", "red", "green", "blue"]
    grey, *others = (row["color"] for row in listed)
    assert len(set(grey)) == 1
    assert list(map(tuple, others)) == class_colors(["red", "green", "blue"])
    for kind in ("labels", "legend", "cams"):
        picture = np.asarray(Image.open(tmp_path / "out" / f"scene_{kind}.png"))
        assert (picture == grey).all(axis=2).mean() > 0.002


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_colour_table_of_ids_is_that_of_the_pictures(image, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    Image.open(image).save(tmp_path / "scene.tif")
    assert draw(tmp_path / "scene.tif", tmp_path / "out") == 0
    listed = json.loads((tmp_path / "out" / "scene_area.json").read_text(encoding="utf-8"))["classes"]
    with rasterio.open(tmp_path / "out" / "scene_ids.tif") as dataset:
        table = dataset.colormap(1)
    assert [list(table[k][:3]) for k in range(4)] == [row["color"] for row in listed]


def test_without_a_background_every_class_has_a_colour_and_a_tint(image, tmp_path):
    segmenter = Segmenter(PriorStub(background=False), tile=24, tile_overlap=0, scales=(1,), flip=False)
    assert segment_files(segmenter, [image], {}, SegmentOptions(tmp_path / "out")) == 0
    listed = json.loads((tmp_path / "out" / "scene_area.json").read_text(encoding="utf-8"))["classes"]
    assert [tuple(row["color"]) for row in listed] == class_colors(["red", "green", "blue"])
    shown = np.asarray(Image.open(tmp_path / "out" / "scene_overlay.png"))
    assert (shown != np.asarray(Image.open(image))).any(axis=2).all()


def test_what_cannot_be_asked_for_stops_before_the_first_image(image, tmp_path):
    with pytest.raises(VocabularyError, match="'water'; it has 'red', 'green', 'blue'"):
        draw(image, tmp_path / "out", present=("red", "water"))
    with pytest.raises(ConfigError, match="--present applies to --cams"):
        SegmentOptions(tmp_path, present=("red",))
    with pytest.raises(ConfigError, match="--context-maps or --cams; give both or neither"):
        SegmentOptions(tmp_path, at=(0, 0))
    with pytest.raises(ConfigError, match="CAMs are shown by prior WSSS models"):
        options = SegmentOptions(tmp_path / "out", explanations=("cams",))
        segment_files(Segmenter(Colours(), ["red"]), [image], {}, options)
    assert not (tmp_path / "out").exists()


def test_names_of_a_command_line_are_split_at_commas():
    assert parse_names(None) is None and parse_names(" ship,Large vehicle ") == ("ship", "Large vehicle")
    for text in ("", "ship,,harbor", "ship, Ship"):
        with pytest.raises(VocabularyError):
            parse_names(text)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from rskt_seg.d2 import build_model, load_config

    torch.manual_seed(0)
    model = build_model(load_config(CONFIG, ["MODEL.DEVICE", "cpu"]))
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save({"model": model.state_dict()}, path)
    return path


@pytest.fixture
def demo(weights, image, tmp_path, monkeypatch):
    """`demo(*flags, opts=())` runs the command on the image; returns its status and the files it made."""
    output = tmp_path / "out"

    def call(*flags, opts=()):
        words = ["--config-file", CONFIG, "--input", image, "--output", output, *flags]
        words += ["--opts", "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", weights, *opts]
        status = main(list(map(str, words)))
        return status, {file.name: file for file in output.iterdir()} if output.exists() else {}

    return call


def test_the_command_segments_and_draws_the_stages(demo, tmp_path):
    Image.fromarray(np.ones((40, 72), np.uint8)).save(tmp_path / "truth.png")
    status, files = demo(
        "--cams", "--present", "Ship, harbor", "--at", "39,3", "--gt", tmp_path / "truth.png"
    )
    assert status == 0 and {"scene_ids.png", "scene_truth.png", "scene_cams.png"} <= set(files)
    picture = np.asarray(Image.open(files["scene_cams.png"]))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500
    ids = np.asarray(Image.open(files["scene_ids.png"]))
    assert ids.shape == (40, 72) and ids.max() < 16


def test_scales_tiles_and_views_are_those_of_the_configuration(demo, monkeypatch):
    from rskt_seg.inference.strategies import multi_scale

    asked = []
    real = multi_scale.scaled_scores
    monkeypatch.setattr(
        multi_scale, "scaled_scores", lambda *args, **kw: asked.append(kw) or real(*args, **kw)
    )
    keys = [
        "TEST.SCALES",
        "(1.0, 2.0)",
        "TEST.SCALES_FLIP",
        "False",
        "TEST.TILE",
        "64",
        "TEST.TILE_OVERLAP",
        "0",
    ]
    assert demo("--tta", "lr", opts=keys)[0] == 0 and demo()[0] == 0
    first, second = ({key: each[key] for key in ("scales", "flip", "tile", "overlap")} for each in asked)
    assert first == {"scales": (1.0, 2.0), "flip": False, "tile": 64, "overlap": 0}
    assert second == {"scales": (0.75, 1.0, 1.25), "flip": True, "tile": 96, "overlap": 24}
    assert [len(each["views"]) for each in asked] == [4, 1] and not any(each["crf"] for each in asked)


@pytest.mark.parametrize(("flags", "opts"), [(["--crf"], []), ([], ["TEST.CRF", "True"])])
def test_a_crf_is_there_when_asked_for_or_missing_in_one_line(demo, capsys, monkeypatch, flags, opts):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    status, files = demo(*flags, opts=opts)
    (line,) = [line for line in capsys.readouterr().err.strip().splitlines() if "error:" in line]
    assert status == 2 and not files and "pip install 'pydensecrf2>=1.1'" in line


def test_the_crf_refines(demo):
    pytest.importorskip("pydensecrf", reason="the optional package pydensecrf2 is not installed")
    assert demo("--crf", "--cams")[0] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cams", "--present", "ship, water"], "no foreground class of this model: 'water'"),
        (["--cams", "--present", ""], "empty"),
        (["--present", "ship"], "give both or neither"),
        (["--heatmaps"], "heatmaps are shown by BiCoR-Seg models"),
        (["--sliding"], "sliding=True has no effect on prior WSSS models"),
        (["--vocabulary", "ship, harbor"], "the classes of this model are fixed"),
    ],
)
def test_a_flag_that_the_model_cannot_serve_is_one_line(demo, capsys, flags, message):
    status, files = demo(*flags)
    (line,) = [line for line in capsys.readouterr().err.strip().splitlines() if "error:" in line]
    assert status == 2 and not files and message in line
