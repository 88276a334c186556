"""How values become 8 bits."""

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.errors import ConfigError
from rskt_seg.geo import read_image
from tests.geo.rasters import has_notice, noise, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_nodata_does_not_disturb_the_scaling(tmp_path, dtype):
    array = noise(1, 50, 50, dtype=dtype)
    with_collar = array.copy()
    with_collar[:, :5] = -9999
    image = read_image(write_tiff(tmp_path / "a.tif", with_collar, nodata=-9999))
    alone = read_image(write_tiff(tmp_path / "b.tif", array[:, 5:]))
    assert np.array_equal(image.pixels[5:], alone.pixels) and not image.valid[:5].any()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_valid_and_does_not_disturb_the_scaling(tmp_path, value):
    array = noise(3, 50, 50, dtype="float32")
    broken = array.copy()
    broken[1, :5] = value
    image = read_image(write_tiff(tmp_path / "a.tif", broken))
    assert np.array_equal(image.valid, np.isfinite(broken).all(axis=0))
    alone = read_image(write_tiff(tmp_path / "b.tif", array[:, 5:]))
    assert np.array_equal(image.pixels[5:, :, 1], alone.pixels[:, :, 1])


def test_a_constant_raster_is_read(tmp_path):
    image = read_image(write_tiff(tmp_path / "a.tif", np.full((3, 5, 5), 10000, np.uint16)))
    assert image.valid.all() and np.ptp(image.pixels) == 0


def test_a_few_outliers_in_a_constant_band_stay_visible(tmp_path):
    array = np.full((3, 50, 50), 100, np.uint16)
    array[:, 0, 0] = 300
    image = read_image(write_tiff(tmp_path / "a.tif", array))
    assert image.pixels[0, 0, 0] == 255 and image.pixels[1, 1, 0] == 0


STRETCHES = [
    ("none", [0, 100, 255, 255]),
    ((100, 400), [0, 0, 170, 255]),
    ("100,400", [0, 0, 170, 255]),
    ("p0-100", [0, 64, 191, 255]),
]


@pytest.mark.parametrize(("stretch", "expected"), STRETCHES)
def test_the_stretch_can_be_chosen(tmp_path, stretch, expected):
    array = np.array([[[0, 100, 300, 400]]], np.uint16)
    image = read_image(write_tiff(tmp_path / "a.tif", array), stretch=stretch)
    assert image.pixels[0, :, 0].tolist() == expected
    assert has_notice(image, "has 50.0% outside 0..255" if stretch == "none" else "uint16 to 8 bit")


def test_8_bit_images_are_scaled_only_when_asked_for(tmp_path):
    array = np.array([[[10, 20, 30]]], np.uint8)
    path = write_tiff(tmp_path / "a.tif", array)
    assert read_image(path).pixels[0, :, 0].tolist() == [10, 20, 30]
    assert read_image(path, stretch="p0-100").pixels[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "stretch", ["p98-2", "p2-101", "linear", "5", "4,4", (1,), (2, 1), (0, np.inf), None, "p2-98x"]
)
def test_a_stretch_that_makes_no_sense_is_refused(tmp_path, stretch):
    with pytest.raises(ConfigError, match="stretch must be"):
        read_image(write_tiff(tmp_path / "a.tif", noise(1, 2, 2)), stretch=stretch)


def test_percentiles_of_a_large_raster_come_from_a_sample_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("rskt_seg.geo.stretch._SAMPLED", 1000)
    array = noise(1, 300, 300, dtype="uint16")
    image = read_image(write_tiff(tmp_path / "a.tif", array))
    low, high = np.percentile(array, (2, 98))
    assert abs(image.pixels[:, :, 0] - ((array[0] - low) / (high - low) * 255).clip(0, 255)).max() < 8


def test_a_few_valid_pixels_of_a_large_raster_are_enough_for_its_percentiles(tmp_path, monkeypatch):
    monkeypatch.setattr("rskt_seg.geo.stretch._SAMPLED", 100)
    array = np.zeros((1, 100, 100), np.uint16)
    array[0, 1, 1], array[0, 3, 3] = 500, 900  # between the sampled ones
    image = read_image(write_tiff(tmp_path / "a.tif", array, nodata=0))
    assert image.pixels[1, 1, 0] == 0 and image.pixels[3, 3, 0] == 255


@pytest.mark.parametrize("channels", [1, 3])
def test_a_16_bit_png_is_scaled_and_not_cut(tmp_path, channels):
    array = noise(channels, 20, 30, dtype="uint16")
    with rasterio.open(
        tmp_path / "a.png", "w", driver="PNG", count=channels, height=20, width=30, dtype="uint16"
    ) as dataset:
        dataset.write(array)
    image = read_image(tmp_path / "a.png")
    assert has_notice(image, "uint16 to 8 bit") and len(np.unique(image.pixels)) > 100
