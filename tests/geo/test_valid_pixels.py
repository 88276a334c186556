"""Which pixels of an image are valid: nodata, masks, alpha."""

import numpy as np
import pytest
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.geo import read_image
from tests.geo.rasters import has_notice, noise, write_mask_file, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)


def test_nodata_hides_a_pixel_only_when_every_band_has_it(tmp_path):
    array = noise(3, 6, 7).clip(1)
    array[:, 0] = 0
    array[:2, 1] = 0  # black in two bands: a colour like any other
    image = read_image(write_tiff(tmp_path / "a.tif", array, nodata=0))
    assert not image.valid[0].any() and image.valid[1:].all()
    assert np.array_equal(image.pixels[1], array[:, 1].T)


def test_nodata_in_bands_that_are_not_used_does_not_count(tmp_path):
    array = noise(5, 6, 7).clip(1)
    array[:3, 0] = 0
    path = write_tiff(tmp_path / "a.tif", array, nodata=0, photometric="minisblack")
    assert not read_image(path).valid[0].any()
    assert read_image(path, bands=(4, 5, 1)).valid.all()


def test_an_internal_mask_is_honoured(tmp_path):
    mask = np.arange(42).reshape(6, 7) % 3 > 0
    image = read_image(write_tiff(tmp_path / "a.tif", noise(3, 6, 7), mask=mask))
    assert np.array_equal(image.valid, mask)


@pytest.mark.parametrize("side_car", [False, True])
def test_alpha_counts_beside_nodata_and_masks(tmp_path, side_car):
    array = noise(4, 6, 7).clip(1)
    array[3] = np.arange(42).reshape(6, 7) % 3 * 100
    hidden = np.arange(42).reshape(6, 7) % 5 == 0
    path = tmp_path / "a.tif"
    if side_car:
        write_tiff(path, array, photometric="rgb", alpha="yes")
        write_mask_file(path, ~hidden)
    else:
        array[:3, hidden] = 0
        write_tiff(path, array, photometric="rgb", alpha="yes", nodata=0)
    assert np.array_equal(read_image(path).valid, (array[3] > 0) & ~hidden)
    assert np.array_equal(read_image(path, alpha=False).valid, ~hidden)


def test_a_raster_without_any_data_is_read_with_a_notice(tmp_path):
    image = read_image(write_tiff(tmp_path / "a.tif", np.zeros((4, 30, 3), np.uint16), nodata=0))
    assert not image.valid.any() and has_notice(image, "no valid pixel")


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_pixels_of_alpha_zero_are_not_valid(tmp_path, mode):
    original = Image.fromarray(noise(6, 7, 4)).convert(mode)
    alpha = noise(6, 7, seed=1) // 64 * 64
    original.putalpha(Image.fromarray(alpha))
    original.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").valid, alpha > 0)


def test_a_transparent_palette_entry_is_not_valid(tmp_path):
    indices = noise(6, 7) % 4
    original = Image.fromarray(indices)
    original.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    original.save(tmp_path / "a.png", transparency=2)
    original.save(tmp_path / "a.gif", transparency=2)
    for name in ("a.png", "a.gif"):
        image = read_image(tmp_path / name)
        assert np.array_equal(image.valid, indices != 2)
        assert (image.pixels[indices == 0] == (255, 0, 0)).all()
