"""Side-cars of GDAL: whatever the format and the path of reading, what they declare holds."""

import numpy as np
import pytest
from PIL import Image

from rskt_seg.errors import ImageReadError
from rskt_seg.geo import read_image
from tests.geo.rasters import UTM, has_notice, noise, write_mask_file, write_nodata_side_car, write_tiff

INSIDE = np.arange(40) >= 13


def write_image(path, channels=3):
    """An image of 30 x 40 px whose left third is 0; alpha is opaque."""
    pixels = np.where(INSIDE[:, None], noise(30, 40, 3) // 2 + 60, 0).astype(np.uint8)
    if path.suffix == ".tif":
        return write_tiff(path, pixels.transpose(2, 0, 1), **UTM)
    alpha = np.full((30, 40, channels - 3), 255, np.uint8)
    Image.fromarray(np.dstack([pixels, alpha])).save(path, lossless=True)
    return path


@pytest.mark.parametrize("georeference", [True, False])
@pytest.mark.parametrize("kind", ["side-car", "mask file"])
@pytest.mark.parametrize(("name", "channels"), [("a.tif", 3), ("a.png", 3), ("a.png", 4), ("a.webp", 3)])
def test_what_a_side_car_declares_holds_for_every_reader(tmp_path, name, channels, kind, georeference):
    path = write_image(tmp_path / name, channels)
    if kind == "side-car":
        write_nodata_side_car(path, 3)
    else:
        write_mask_file(path, np.broadcast_to(INSIDE, (30, 40)))
    image = read_image(path, georeference=georeference)
    np.testing.assert_array_equal(image.valid, np.broadcast_to(INSIDE, (30, 40)))
    assert not has_notice(image, "taken for ground")


@pytest.mark.parametrize("size", [(15, 20), (60, 80), None])
@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_a_mask_file_that_does_not_fit_is_an_error(tmp_path, name, size):
    path = write_image(tmp_path / name)
    if size is None:
        path.with_name(f"{name}.msk").write_text("no raster")
    else:
        write_mask_file(path, np.ones(size, bool))
    found = "no raster" if size is None else f"{size[0]} x {size[1]}"
    with pytest.raises(ImageReadError, match=rf"its size .* 30 x 40, found {found} in .*msk"):
        read_image(path)


def test_side_cars_of_a_format_that_gdal_does_not_read_are_told(tmp_path):
    path = tmp_path / "a.ico"
    Image.fromarray(noise(32, 32, 3)).save(path, sizes=[(32, 32)])
    assert not has_notice(read_image(path), "side-cars")
    write_nodata_side_car(path, 3)
    assert has_notice(read_image(path), "side-cars of a.ico (.aux.xml, .msk, world file) are not used")
