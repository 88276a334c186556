import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.transform import Affine

from rskt_seg.errors import ConfigError, DeviceError, ImageReadError, NotFiniteError, VocabularyError
from rskt_seg.geo import RasterImage, read_image, write_labels
from rskt_seg.segmenter import Segmenter
from tests.stub_models import Colours, FixedColours

NAMES = ("red", "green", "blue")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def exact(model, height, width, **options):
    """A segmenter that does not resize images of this size."""
    return Segmenter(model, NAMES, short_side=min(height, width), max_side=max(height, width), **options)


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 99))
def test_labels_are_those_of_the_model_pixel_by_pixel(height, width, seed):
    image = noise(height, width, seed)
    result = exact(Colours(), height, width).predict(image)
    assert np.array_equal(result.labels, image.argmax(axis=2))
    assert result.labels.dtype == np.uint8 and result.class_names == NAMES and result.valid.all()


@settings(max_examples=20)
@given(st.integers(1, 200), st.integers(1, 200), st.booleans())
def test_labels_and_scores_have_the_size_of_the_source(height, width, sliding):
    result = Segmenter(Colours(cells=12), NAMES, sliding=sliding, short_side=60).predict(noise(height, width))
    assert result.labels.shape == (height, width) and result.scores.shape == (3, height, width)
    assert result.scores.dtype == np.float32 and result.scores.min() >= 0 and result.scores.max() <= 1
    assert np.array_equal(result.labels, result.scores.argmax(axis=0))


@pytest.mark.parametrize("sliding", [False, True])
def test_large_areas_are_found_where_they_are(sliding):
    image = np.zeros((300, 400, 3), np.uint8)
    image[:150, :200, 0] = image[:150, 200:, 1] = image[150:, :, 2] = 255
    truth = image.argmax(axis=2)
    labels = Segmenter(Colours(cells=24), NAMES, sliding=sliding).predict(image).labels
    off_border = np.ones_like(truth, bool)
    off_border[130:170] = off_border[:, 180:220] = False
    assert np.array_equal(labels[off_border], truth[off_border])


def test_the_defaults_are_the_whole_image_at_640_and_aligned():
    model = Colours()
    Segmenter(model, NAMES).predict(noise(10, 20))
    assert model.calls == [{"size": (1, 3, 640, 1280), "padding": "aligned", "vocabulary": NAMES}]
    Segmenter(model, NAMES, padding="published", max_side=800).predict(noise(10, 20))
    assert model.calls[1] == {"size": (1, 3, 400, 800), "padding": "published", "vocabulary": NAMES}


def test_sliding_uses_windows_of_the_working_side_and_a_global_view():
    model = Colours()
    result = Segmenter(model, NAMES, sliding=True).predict(noise(10, 20))
    assert model.calls[0]["size"] == (5, 3, 48, 48) and result.score_map.shape == (3, 80, 80)


def test_sliding_never_sees_an_image_smaller_than_its_square():
    small, enough = (
        Segmenter(Colours(), NAMES, sliding=True, short_side=side).predict(noise(200, 200))
        for side in (24, 80)
    )
    assert torch.equal(small.score_map, enough.score_map)


def with_alpha(tmp_path, hidden):
    array = np.dstack([noise(20, 30), np.full((20, 30), 255, np.uint8)])
    array[:7, :, :3], array[:7, :, 3] = hidden, 0
    Image.fromarray(array).save(tmp_path / "alpha.png")
    return tmp_path / "alpha.png"


def test_hidden_pixels_get_no_class_and_do_not_reach_the_model(tmp_path):
    segmenter = Segmenter(Colours(cells=6), NAMES)
    black = segmenter.predict(with_alpha(tmp_path, 0))
    white = segmenter.predict(with_alpha(tmp_path, 255))
    assert (black.labels[:7] == 255).all() and (black.labels[7:] < 3).all()
    assert (black.scores[:, :7] == 0).all()
    assert torch.equal(black.score_map, white.score_map)


def test_an_image_without_data_gets_no_class_and_no_model_run(tmp_path):
    model = Colours()
    pixels, valid = np.zeros((5, 9, 3), np.uint8), np.zeros((5, 9), bool)
    result = Segmenter(model, NAMES).predict(RasterImage(pixels, valid, notices=("no valid pixel",)))
    assert (result.labels == 255).all() and result.labels.shape == (5, 9) and not model.calls
    assert result.scores.shape == (3, 5, 9) and result.notices == ("no valid pixel",)
    assert [row.pixels for row in result.area()] == [0, 0, 0] and result.area()[0].share == 0


@pytest.mark.parametrize("rule", ["first", "mean"])
def test_one_class_gives_a_map_of_zeros_and_a_notice(rule):
    result = Segmenter(Colours(), ["red"], synonyms=rule).predict(noise(7, 8))
    assert (result.labels == 0).all()
    assert any("'red' is the only class" in notice for notice in result.notices)


def test_more_than_255_classes_take_16_bits():
    names = [f"class {k}" for k in range(256)]
    image = RasterImage(noise(3, 4), np.arange(12).reshape(3, 4) > 0)
    result = Segmenter(Colours(), names, short_side=3).predict(image)
    assert result.labels.dtype == np.uint16 and result.labels[0, 0] == 65535 == result.ignore_label


def test_synonyms_are_merged_by_the_rule_that_was_chosen():
    vocabulary = ["red, lime", "green", "blue"]
    image = np.array([[[10, 100, 60]]], np.uint8)

    def scores(**options):
        result = Segmenter(Colours(), vocabulary, short_side=1, **options).predict(image)
        assert result.class_names == NAMES
        return (result.scores[:, 0, 0] * 255).round().tolist(), result.notices

    first, notices = scores()
    assert first == [10, 100, 60] and any("only its first name 'red'" in notice for notice in notices)
    assert scores(synonyms="mean") == ([55, 100, 60], ())
    assert scores(synonyms="max") == ([100, 100, 60], ())


def test_a_class_given_twice_as_synonyms_equals_the_class_once():
    image = noise(6, 7)
    once = exact(Colours(), 6, 7).predict(image)
    for rule in ("mean", "max"):
        model = Colours()
        twice = Segmenter(model, ["red, scarlet", "green", "blue"], short_side=6, synonyms=rule).predict(
            image
        )
        assert torch.allclose(once.score_map, twice.score_map)
        assert model.calls[0]["vocabulary"] == ("red", "scarlet", "green", "blue")


def write_raster(path, array, **options):
    count, height, width = array.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.open(path, "w", **profile | options) as dataset:
        dataset.write(array)
    return path


def test_a_georeferenced_raster_gives_labels_on_its_grid_and_areas_in_square_metres(tmp_path):
    array = noise(20, 30).transpose(2, 0, 1).clip(1)
    array[:, :5] = 0
    transform = Affine(0.5, 0, 300000, 0, -0.5, 5600000)
    path = write_raster(tmp_path / "a.tif", array, nodata=0, crs="EPSG:32632", transform=transform)
    result = exact(Colours(), 20, 30).predict(path)
    assert np.array_equal(result.labels[5:], array[:, 5:].argmax(axis=0)) and (result.labels[:5] == 255).all()
    areas = result.area()
    assert sum(row.pixels for row in areas) == 15 * 30 and sum(row.share for row in areas) == pytest.approx(1)
    assert [row.pixels for row in areas] == [int((result.labels == k).sum()) for k in range(3)]
    assert all(row.square_metres == pytest.approx(row.pixels * 0.25, rel=1e-3) for row in areas)
    assert result.area_summary().total.pixels == 15 * 30 and result.area_summary().nodata.pixels == 5 * 30
    write_labels(tmp_path / "b.tif", result.labels, result.georeference, result.legend)
    with rasterio.open(path) as source, rasterio.open(tmp_path / "b.tif") as written:
        assert (source.crs, source.transform, source.shape) == (written.crs, written.transform, written.shape)
        assert np.array_equal(written.read_masks(1), source.dataset_mask())


def test_areas_are_those_of_the_ground_in_degrees_too_and_unknown_without_a_georeference(tmp_path):
    degrees = {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 7, 0, -1e-4, 50)}
    path = write_raster(tmp_path / "a.tif", noise(4, 5).transpose(2, 0, 1), **degrees)
    summary = exact(Colours(), 4, 5).predict(path).area_summary()
    assert summary.total.square_metres == pytest.approx(
        20 * 11.123 * 7.170, rel=1e-3
    )  # 1 second = 30.9 m and 19.9 m
    assert exact(Colours(), 4, 5).predict(noise(4, 5)).area()[0].square_metres is None


def test_areas_that_are_not_geodesic_come_with_a_notice(tmp_path):
    local = {"crs": 'LOCAL_CS["site",UNIT["metre",1]]', "transform": Affine(2, 0, 7, 0, -2, 50)}
    path = write_raster(tmp_path / "a.tif", noise(4, 5).transpose(2, 0, 1), **local)
    result = exact(Colours(), 4, 5).predict(path)
    assert any("plane of the map" in notice for notice in result.notices)
    assert result.area_summary().total.square_metres == 80 and result.area_summary().method == "plane"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_the_reader_decided_is_among_the_notices(tmp_path):
    path = write_raster(tmp_path / "a.tif", noise(4, 5).transpose(2, 0, 1).astype(np.uint16) * 40)
    assert any("uint16 to 8 bit" in notice for notice in Segmenter(Colours(), NAMES).predict(path).notices)


def test_a_large_image_gets_a_notice_with_the_size_of_an_output_cell(tmp_path):
    transform = Affine(0.5, 0, 300000, 0, -0.25, 5600000)
    array = noise(60, 120).transpose(2, 0, 1)
    path = write_raster(tmp_path / "a.tif", array, crs="EPSG:32632", transform=transform)
    (notice,) = Segmenter(Colours(cells=12), NAMES).predict(path).notices
    assert "one output cell covers 5 x 1.25 m on the ground" in notice
    assert "windows (segment_scene, no --whole)" in notice and "--sliding" in notice
    (notice,) = Segmenter(Colours(cells=12), NAMES).predict(read_image(path).pixels).notices
    assert "covers 10 x 5 px of the image" in notice
    mercator = {"crs": "EPSG:3857", "transform": Affine(0.5, 0, 0, 0, -0.5, 8_399_738)}  # 60 degrees north
    path_in_mercator = write_raster(tmp_path / "b.tif", array, **mercator)
    (notice,) = Segmenter(Colours(cells=12), NAMES).predict(path_in_mercator).notices
    assert "one output cell covers 2.51 x 1.25 m on the ground" in notice
    assert not Segmenter(Colours(cells=12), NAMES).predict(noise(96, 96)).notices
    assert not Segmenter(Colours(cells=12), NAMES, sliding=True).predict(path).notices
    (notice,) = Segmenter(Colours(cells=12), NAMES, sliding=True).predict(noise(160, 240)).notices
    assert "covers 3 x 2 px of the image" in notice and "--sliding" not in notice
    assert "windows (segment_scene)" in notice


def test_a_grey_array_is_copied_to_three_channels_with_a_notice():
    grey = noise(6, 7)[:, :, 0]
    model = Colours()
    result = Segmenter(model, NAMES, short_side=6).predict(grey)
    assert result.labels.shape == (6, 7) and any("three equal" in notice for notice in result.notices)
    assert torch.equal(result.score_map[0], result.score_map[2])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((3, 20, 30), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((20, 30, 4), np.uint8), r"array\[:, :, :3\]"),
        (np.zeros((20, 30, 2), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((0, 30, 3), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((2, 20, 30, 3), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((20, 30, 3), np.float32), r"array \* 255"),
        (np.zeros((20, 30, 3), np.int32), "uint8"),
        (np.zeros((20, 30), bool), "uint8"),
        ("/nowhere/a.png", "no such image"),
    ],
)
def test_what_is_no_8_bit_image_is_refused_with_the_way_out(source, message):
    with pytest.raises(ImageReadError, match=message):
        Segmenter(Colours(), NAMES).predict(source)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"padding": "none"}, ConfigError, "aligned, published"),
        ({"short_side": 0}, ConfigError, "short_side"),
        ({"short_side": 900, "max_side": 800}, ConfigError, "max_side"),
        ({"synonyms": "median"}, VocabularyError, "first, mean, max"),
        ({"device": "nowhere"}, DeviceError, "nowhere"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Segmenter(Colours(), NAMES, **options)


@pytest.mark.parametrize("vocabulary", ["red", [], ["red", "Red"], ["red", ""]])
def test_vocabularies_that_cannot_be_used_are_refused(vocabulary):
    with pytest.raises(VocabularyError):
        Segmenter(Colours(), vocabulary)


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_of_the_model_is_kept_and_no_gradient_is_recorded(mode):
    model = Colours().train(mode)
    result = Segmenter(model, NAMES).predict(noise(4, 5))
    assert model.training == mode and not result.score_map.requires_grad and model.scale.grad is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused_with_the_name_of_the_image(tmp_path, value):
    Image.fromarray(noise(32, 40)).save(tmp_path / "scene.png")
    for model in (Colours(), FixedColours()):
        torch.nn.init.constant_(model.scale, value)
        segmenter = Segmenter(model, NAMES)
        with pytest.raises(NotFiniteError, match=r"scene\.png: expected finite class scores"):
            segmenter.predict(tmp_path / "scene.png")
        for source in (noise(32, 40), RasterImage(noise(32, 40), np.ones((32, 40), bool))):
            with pytest.raises(NotFiniteError, match="the image of 40 x 32 px: expected"):
                segmenter.predict(source)


def test_an_image_without_a_valid_pixel_is_not_asked_of_a_broken_model():
    model = Colours()
    torch.nn.init.constant_(model.scale, float("nan"))
    result = Segmenter(model, NAMES).predict(RasterImage(noise(32, 40), np.zeros((32, 40), bool)))
    assert (result.labels == 255).all()
