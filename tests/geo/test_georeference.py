"""Where an image lies on the ground, as read from its file."""

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from rskt_seg.geo import read_image
from rskt_seg.geo.georeference import Georeference
from tests.geo.rasters import UTM, has_notice, noise, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)


def test_the_grid_of_a_georeferenced_photograph_is_kept(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(5, 8, 3)).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.pgw").write_text("2\n0\n0\n-2\n500\n900\n")
    image = read_image(tmp_path / "a.png")
    assert image.valid.shape == (5, 8) and has_notice(image, "orientation tag not applied")
    assert image.georeference.transform == Affine(2, 0, 499, 0, -2, 901)


def test_a_place_is_that_of_the_upper_left_corner():
    place = Georeference.at(32632, (500_000, 5_300_000), 0.5)
    assert place.crs.to_epsg() == 32632
    assert place.transform == Affine(0.5, 0, 500_000, 0, -0.5, 5_300_000)


def test_ground_control_points_are_read(tmp_path):
    points = [GroundControlPoint(r, c, 7 + c / 100, 50 - r / 100) for r, c in ((0, 0), (0, 9), (9, 0))]
    path = write_tiff(tmp_path / "a.tif", noise(3, 9, 9), gcps=points, crs="EPSG:4326")
    georeference = read_image(path).georeference
    assert georeference.transform is None and len(georeference.gcps) == 3
    assert georeference.gcps_crs == rasterio.CRS.from_epsg(4326)


@pytest.mark.parametrize("orientation", [1, 6])
def test_without_its_georeference_a_raster_has_the_same_pixels(tmp_path, orientation):
    path = write_tiff(tmp_path / "a.tif", noise(3, 20, 30), nodata=9, **UTM)
    with Image.open(path) as image:
        image.save(path, tiffinfo={**image.tag_v2, 274: orientation})
    with_it, without = read_image(path), read_image(path, georeference=False)
    assert with_it.georeference is not None and with_it.pixels.shape == (20, 30, 3)
    np.testing.assert_array_equal(without.pixels, with_it.pixels)
    np.testing.assert_array_equal(without.valid, with_it.valid)
    assert without.notices == with_it.notices
