"""Which bands become the colours of an image."""

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo import read_image
from tests.geo.rasters import ROTATED, UTM, has_notice, noise, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)


@pytest.mark.parametrize("georeference", [{}, UTM, {"transform": ROTATED}, {"crs": "EPSG:4326"}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_any_raster_becomes_8_bit_rgb_on_the_same_grid(tmp_path, count, dtype, georeference):
    array = noise(count, 9, 13, dtype=dtype)
    image = read_image(write_tiff(tmp_path / "a.tif", array, photometric="minisblack", **georeference))
    assert image.pixels.shape == (9, 13, 3) and image.pixels.dtype == np.uint8
    assert image.valid.all() and image.driver == "GTiff"
    chosen = (0, 1, 2) if count >= 3 else (0, 0, 0)
    if dtype == "uint8":
        assert np.array_equal(image.pixels, array[chosen, :, :].transpose(1, 2, 0))
    else:
        low, high = np.percentile(array, (2, 98), axis=(1, 2), keepdims=True)
        scaled = np.rint(((array - low) / (high - low) * 255).clip(0, 255))[chosen, :, :]
        assert abs(image.pixels.transpose(2, 0, 1) - scaled).max() <= 1
    assert has_notice(image, "to 8 bit") == (dtype != "uint8")
    assert has_notice(image, "three equal channels") == (count < 3)
    used = "is used" if count == 2 else "are used"  # of two bands the first is
    assert has_notice(image, f"of {count} {used}") == (count not in (1, 3))
    if not georeference:
        assert image.georeference is None
    else:
        crs = georeference.get("crs")
        assert image.georeference.crs == (crs and rasterio.CRS.from_user_input(crs))
        assert image.georeference.transform == georeference.get("transform")


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 1), (2, 3)])
def test_tiny_and_elongated_rasters_keep_their_size(tmp_path, shape):
    image = read_image(write_tiff(tmp_path / "a.tif", noise(3, *shape, dtype="uint16")))
    assert image.valid.shape == shape


def test_declared_colours_decide_over_the_order_of_the_bands(tmp_path):
    roles = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
    array = noise(4, 6, 7)
    path = write_tiff(tmp_path / "a.tif", array, colorinterp=roles, photometric="minisblack")
    image = read_image(path)
    assert np.array_equal(image.pixels, array[[2, 1, 0]].transpose(1, 2, 0))
    assert has_notice(image, "3, 2, 1") and image.valid.all()


def test_a_fourth_band_is_alpha_only_if_declared(tmp_path):
    array = noise(4, 6, 7)
    array[3, :3] = 0
    path = write_tiff(tmp_path / "alpha.tif", array, photometric="rgb", alpha="unspecified")
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.undefined
    assert read_image(path).valid.all()
    path = write_tiff(tmp_path / "infrared.tif", array, photometric="rgb", alpha="yes")
    image = read_image(path)
    assert np.array_equal(image.valid, array[3] > 0)
    assert np.array_equal(image.pixels, array[:3].transpose(1, 2, 0))


def test_a_band_wrongly_declared_alpha_can_be_asked_for(tmp_path):
    array = noise(4, 6, 7)
    array[3, :3] = 0
    image = read_image(write_tiff(tmp_path / "a.tif", array, photometric="rgb", alpha="yes"), bands=(4, 1, 2))
    assert np.array_equal(image.pixels, array[[3, 0, 1]].transpose(1, 2, 0)) and image.valid.all()


def test_bands_are_chosen_by_number_from_one(tmp_path):
    array = noise(6, 6, 7)
    path = write_tiff(tmp_path / "a.tif", array, photometric="minisblack")
    assert np.array_equal(read_image(path, bands=(6, 3, 1)).pixels, array[[5, 2, 0]].transpose(1, 2, 0))
    single = read_image(path, bands=[2])
    assert np.array_equal(single.pixels, array[[1, 1, 1]].transpose(1, 2, 0))
    assert not has_notice(single, "of 6 are used")
    with pytest.raises(ImageReadError, match="no band 7; it has bands 1 to 6"):
        read_image(path, bands=(7, 1, 2))


@pytest.mark.parametrize("bands", [(1, 2), (0, 1, 2), (1, 2, 3, 4), (), "123", (1.0, 2, 3)])
def test_a_choice_of_bands_that_makes_no_sense_is_refused(tmp_path, bands):
    path = write_tiff(tmp_path / "a.tif", noise(4, 2, 2))
    with pytest.raises(ConfigError, match="one or three numbers"):
        read_image(path, bands=bands)


def test_bands_of_a_photograph_count_without_alpha(tmp_path):
    array = noise(5, 6, 4)
    Image.fromarray(array).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    assert np.array_equal(read_image(path, bands=(3, 2, 1)).pixels, array[:, :, 2::-1])
    with pytest.raises(ImageReadError, match="band 4 is alpha"):
        read_image(path, bands=(4, 2, 1))
