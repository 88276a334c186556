"""Areas on the ground: against closed forms, known scales of projections, and each other."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from rskt_seg.geo import Georeference, area
from rskt_seg.geo.area import measure_classes, pixel_areas, pixel_size
from rskt_seg.geo.ellipsoid import Ellipsoid

MAJOR, FLATTENING = 6378137.0, 1 / 298.257223563
SQUARED = FLATTENING * (2 - FLATTENING)
EARTH = 510_065_621.7e6
WEB_MERCATOR_EDGE = math.pi * MAJOR
latitudes = st.floats(-80, 80)


def radii(latitude):
    """Radii of curvature of WGS 84 along the meridian and across it."""
    root = math.sqrt(1 - SQUARED * math.sin(latitude) ** 2)
    return MAJOR * (1 - SQUARED) / root**3, MAJOR / root


def grid(crs, transform):
    return Georeference(CRS.from_user_input(crs), transform)


def pixels(crs, transform, shape):
    """Areas of all pixels of a grid."""
    found = pixel_areas(grid(crs, transform), shape)
    assert found.method == "geodesic" and found.notices == ()
    return found.block(np.arange(shape[0]), np.arange(shape[1]))


def around(x, y, size):
    """A grid of 3 x 3 pixels of this size, with (x, y) in the middle."""
    return Affine(size, 0, x - 1.5 * size, 0, -size, y + 1.5 * size)


def test_the_cells_of_a_grid_of_degrees_cover_the_ellipsoid():
    cells = pixels("EPSG:4326", Affine(1, 0, -180, 0, -1, 90), (180, 360))
    assert cells.sum() == pytest.approx(EARTH, rel=1e-9)
    assert np.allclose(cells, cells[::-1]) and cells[0, 0] < cells[89, 0] / 100
    centred = pixels("EPSG:4326", Affine(1, 0, -180.5, 0, -1, 90.5), (181, 360))  # rows around both poles
    assert centred.sum() == pytest.approx(EARTH, rel=1e-9)


@given(st.floats(-math.pi / 2, math.pi / 2), st.sampled_from([0.0, 1e-9, FLATTENING, 0.1]))
def test_a_zone_of_an_ellipsoid_is_the_integral_of_its_curvature(latitude, flattening):
    squared = flattening * (2 - flattening)
    at, weights = np.polynomial.legendre.leggauss(40)
    along = latitude / 2 * (at + 1)
    strips = MAJOR**2 * (1 - squared) * np.cos(along) / (1 - squared * np.sin(along) ** 2) ** 2
    expected = latitude / 2 * (weights * strips).sum()
    found = Ellipsoid(MAJOR, flattening).zone(np.array([latitude]))[0]
    assert found == pytest.approx(expected, rel=1e-7, abs=1)


@settings(max_examples=30)
@given(latitudes, st.floats(1e-6, 0.5))
def test_cells_in_degrees_have_the_area_of_their_curvature(latitude, size):
    along, across = radii(math.radians(latitude))
    side = math.radians(size)
    expected = along * across * 2 * math.cos(math.radians(latitude)) * math.sin(side / 2) * side
    found = pixels("EPSG:4326", around(7, latitude, size), (3, 3))[1, 1]
    assert found == pytest.approx(expected, rel=1e-4)


@settings(max_examples=30)
@given(latitudes, st.floats(0.01, 1000))
def test_web_mercator_is_undone_at_every_latitude(latitude, size):
    phi = math.radians(latitude)
    along, across = radii(phi)
    y = MAJOR * math.asinh(math.tan(phi))
    expected = size**2 * along * across * (math.cos(phi) / MAJOR) ** 2
    assert pixels("EPSG:3857", around(1e6, y, size), (3, 3))[1, 1] == pytest.approx(expected, rel=1e-4)
    height, width = pixel_size(grid("EPSG:3857", around(1e6, y, size)), (3, 3))
    assert height * width == pytest.approx(expected, rel=1e-4)


@settings(max_examples=30)
@given(latitudes)
def test_mercator_and_equidistant_cylindrical_grids_of_a_sphere_shrink_by_the_cosine(latitude):
    radius, phi = 6371000, math.radians(latitude)
    mercator = around(0, radius * math.asinh(math.tan(phi)), 10)
    assert pixels(f"+proj=merc +R={radius} +lon_0=100", mercator, (3, 3))[1, 1] == pytest.approx(
        100 * math.cos(phi) ** 2, rel=1e-4
    )
    scaled = around(0, radius * 0.8 * math.asinh(math.tan(phi)), 10)
    assert pixels(f"+proj=merc +R={radius} +k=0.8", scaled, (3, 3))[1, 1] == pytest.approx(
        100 * (math.cos(phi) / 0.8) ** 2, rel=1e-4
    )
    plate_carree = around(0, radius * phi, 10)
    assert pixels(f"+proj=eqc +R={radius}", plate_carree, (3, 3))[1, 1] == pytest.approx(
        100 * math.cos(phi), rel=1e-4
    )


def test_the_world_in_web_mercator_ends_at_85_degrees():
    side = 2 * WEB_MERCATOR_EDGE / 512
    world = pixels("EPSG:3857", Affine(side, 0, -WEB_MERCATOR_EDGE, 0, -side, WEB_MERCATOR_EDGE), (512, 512))
    edge = math.atan(math.sinh(math.pi))
    expected = 4 * math.pi * Ellipsoid(MAJOR, FLATTENING).zone(np.array([edge]))[0]
    assert world.sum() == pytest.approx(expected, rel=1e-4)


@given(st.floats(200_000, 800_000))
@settings(max_examples=20)
def test_utm_has_the_scale_of_the_transverse_mercator_series(easting):
    along, across = radii(math.radians(50))
    offset = (easting - 500_000) / 0.9996
    scale = 0.9996 * (1 + offset**2 / (2 * along * across) + offset**4 / (24 * (along * across) ** 2))
    found = pixels("EPSG:32632", around(easting, 5_538_630.7, 0.5), (3, 3))[1, 1]
    assert found == pytest.approx(0.25 / scale**2, rel=1e-5)


@pytest.mark.parametrize(
    ("crs", "transform", "shape"),
    [
        ("EPSG:3035", Affine(4000, 0, 2_600_000, 0, -4000, 5_400_000), (900, 1000)),
        ("+proj=laea +lat_0=90 +lon_0=170", Affine(5000, 0, -2.5e6, 0, -5000, 2.5e6), (1000, 1000)),
        ("EPSG:6933", Affine(1000, 0, -17_000_000, 0, -1000, 7_000_000), (700, 300)),
        ("EPSG:5070", Affine(30, 17, 0, 11, -30, 2_000_000), (100, 100)),
        ("+proj=sinu +R=6371007.181", Affine(463, 0, 0, 0, -463, 5_559_752), (200, 200)),
    ],
)
def test_grids_of_equal_area_keep_theirs_even_around_a_pole(crs, transform, shape):
    found = pixels(crs, transform, shape)
    assert np.allclose(found, abs(transform.determinant), rtol=1e-4)


def test_units_axes_and_directions_of_a_grid_do_not_matter():
    metres = pixels("EPSG:32618", around(583_960, 4_507_523, 1), (3, 3))[1, 1]
    feet = pixels("EPSG:2263", around(981_106, 195_544, 1 / 0.3048006096), (3, 3))[1, 1]
    assert feet == pytest.approx(metres, rel=1e-3)
    kilometres = pixels("+proj=utm +zone=18 +units=km", around(583.960, 4507.523, 0.001), (3, 3))[1, 1]
    assert kilometres == pytest.approx(metres, rel=1e-7)
    north_up = around(583_960, 4_507_523, 1)
    for turned in (Affine.rotation(30), Affine.scale(1, -1), Affine.shear(0, 20)):
        assert pixels("EPSG:32618", north_up @ turned, (3, 3))[1, 1] == pytest.approx(metres, rel=1e-6)
    grads = pixels("EPSG:4807", around(0, 52, 1e-4), (3, 3))[1, 1]
    degrees = pixels("+proj=longlat +a=6378249.2 +b=6356515", around(0, 46.8, 9e-5), (3, 3))[1, 1]
    assert grads == pytest.approx(degrees, rel=1e-9)
    in_france = pixels("EPSG:27572", around(600_000, 2_200_000, 10), (3, 3))[1, 1]  # its base is in grads
    assert in_france == pytest.approx(100 / 0.99987742**2, rel=1e-5)


@pytest.mark.parametrize(
    ("crs", "like"),
    [("EPSG:7415", "EPSG:28992"), ("EPSG:4326+5773", "EPSG:4326"), ("EPSG:4979", "EPSG:4326")],
)
def test_heights_and_other_datums_do_not_matter(crs, like):
    place = around(150_000, 450_000, 1) if like == "EPSG:28992" else around(5, 50, 1e-5)
    assert np.allclose(pixels(crs, place, (3, 3)), pixels(like, place, (3, 3)), rtol=1e-9)
    bound = "+proj=utm +zone=32 +ellps=bessel +towgs84=598,73,418,0.2,0.04,-2.4,6.7"
    free = "+proj=utm +zone=32 +ellps=bessel"
    utm = around(300_000, 5_600_000, 1)
    assert np.allclose(pixels(bound, utm, (3, 3)), pixels(free, utm, (3, 3)), rtol=1e-9)


def test_grids_turned_against_the_parallels_agree_with_the_closed_form():
    level = pixels("EPSG:4326", Affine(0.5, 0, 0, 0, -0.5, 80), (300, 4))
    upright = pixels("EPSG:4326", Affine(0, 0.5, 0, -0.5, 0, 80), (4, 300))
    assert np.allclose(upright, level.T, rtol=1e-4)
    pole = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6371229"
    rotated = pixels(pole, Affine(0.1, 0, -20, 0, -0.1, 20), (400, 500))
    expected = 6371229**2 * math.radians(50) * 2 * math.sin(math.radians(20))
    assert rotated.sum() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("crs", "transform", "size"),
    [
        ("EPSG:3857", Affine(1500, 0, -2e7, 0, -1500, 1.9e7), 25000),
        ("EPSG:3413", Affine(500, 0, -4e6, 0, -500, 4e6), 16000),
        ("EPSG:32632", Affine(10, 3, 3e5, 3, -10, 5.6e6), 10980),
    ],
)
def test_interpolated_areas_are_those_of_pixels_measured_alone(crs, transform, size):
    whole = pixel_areas(grid(crs, transform), (size, size))
    assert whole.nodes.size < 2**15
    for row, column in np.random.default_rng(0).integers(0, size, (40, 2)):
        alone = pixel_areas(grid(crs, transform @ Affine.translation(column, row)), (1, 1)).nodes[0, 0]
        assert whole.block(np.array([row]), np.array([column]))[0, 0] == pytest.approx(alone, rel=1e-4)


def test_a_system_without_ellipsoid_has_areas_in_its_plane_with_a_notice():
    found = pixel_areas(grid('LOCAL_CS["site",UNIT["foot",0.3048]]', Affine(2, 1, 0, 0, -3, 0)), (4, 5))
    assert found.method == "plane" and np.allclose(found.nodes, 6 * 0.3048**2)
    (notice,) = found.notices
    assert "no ellipsoid" in notice and "plane of the map" in notice


@pytest.mark.parametrize(
    ("georeference", "text"),
    [
        (None, None),
        (Georeference(CRS.from_epsg(32632)), None),
        (Georeference(None, Affine(2, 0, 0, 0, -2, 0)), None),
        (grid("EPSG:4978", Affine(1, 0, 0, 0, -1, 0)), "neither an ellipsoid nor a known unit"),
        (grid('LOCAL_CS["x",UNIT["unknown",1]]', Affine(1, 0, 0, 0, -1, 0)), "nor a known unit"),
        (grid("+proj=geos +h=35785831", Affine(1e5, 0, -6e6, 0, -1e5, 6e6)), "no place on the ground"),
        (grid("EPSG:4326", Affine(1, 0, 0, 0, -1, 100)), "no place on the ground"),
        (grid("+proj=eqc", Affine(1e5, 0, 0, 0, -1e5, 1.2e7)), "no place on the ground"),
    ],
)
def test_areas_that_cannot_be_known_are_not_invented(georeference, text):
    found = pixel_areas(georeference, (120, 120))
    assert found.method is None and np.isnan(found.nodes).all()
    assert [text in notice for notice in found.notices] == ([] if text is None else [True])
    summary = measure_classes(np.zeros((4, 5), np.uint8), np.ones((4, 5), bool), ["a"], None)
    assert summary.total.square_metres is None and summary.total.hectares is None and summary.method is None


def test_classes_and_nodata_add_up_to_the_ground_of_the_grid(monkeypatch):
    monkeypatch.setattr(area, "_CHUNK", 100)
    labels = np.random.default_rng(0).integers(0, 3, (60, 20)).astype(np.uint8)
    labels[:30] %= 2  # "south" is in the lower half only
    valid = np.ones((60, 20), bool)
    valid[5:9], labels[5:9] = False, 255
    place = grid("EPSG:3857", Affine(1e5, 0, 0, 0, -1e5, 9e6))
    summary = measure_classes(labels, valid, ["a", "b", "south"], place)
    cells = pixels("EPSG:3857", place.transform, (60, 20))
    for index, found in enumerate(summary.classes):
        assert found.pixels == (labels == index).sum() and found.share == found.pixels / (56 * 20)
        assert found.square_metres == pytest.approx(cells[labels == index].sum())
        assert found.hectares == pytest.approx(found.square_metres / 10_000)
    assert summary.nodata.pixels == 80 and summary.total.pixels == 1120 and summary.nodata.share is None
    assert summary.total.square_metres + summary.nodata.square_metres == pytest.approx(cells.sum())
    assert summary.total.share == 1 and summary.method == "geodesic"
