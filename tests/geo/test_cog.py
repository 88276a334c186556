"""Cloud Optimized GeoTIFFs of finished maps."""

import warnings
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from rskt_seg.errors import ImageReadError
from rskt_seg.geo import Georeference
from rskt_seg.geo import cog as cogs
from rskt_seg.geo.cog import write_cog
from rskt_seg.geo.map_layers import NO_SHARE, SHARE_SCALE, MapLayer
from rskt_seg.legend import Legend, LegendEntry
from rskt_seg.palette import palette
from rskt_seg.windows import Window
from tests.full_disk import file_limit
from tests.geo.rasters import write_tiff
from tests.geo.test_write_labels import POINTS, POLYNOMIALS, ROTATED, UTM

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)

LEGEND = Legend(
    (
        LegendEntry(0, "water", (1, 2, 3)),
        LegendEntry(2, "Straße <a & b>", (4, 5, 6)),
        LegendEntry(7, "x", (7, 8, 9)),
    )
)
IDS = MapLayer.ids(LEGEND)
SOUTH_UP = Georeference(UTM.crs, Affine(0.5, 0, 300000, 0, 0.5, 5600000))
DEGREES = Georeference(CRS.from_epsg(4326), Affine(1e-5 / 3, 0, 7.1, 0, -1e-5 / 3, 50.2))
POLE = CRS.from_user_input("+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6371229")


def ids(height=700, width=600, seed=0):
    values = np.random.default_rng(seed).choice(np.array([0, 2, 7, 255], np.uint8), (height, width))
    return values


def cut(folder, array, rows=(), columns=()):
    """Write an array (C, H, W) as parts, cut before these rows and columns."""
    folder.mkdir(exist_ok=True, parents=True)
    _, height, width = array.shape
    tops, lefts = [0, *rows, height], [0, *columns, width]
    parts = []
    for top, bottom in pairwise(tops):
        for left, right in pairwise(lefts):
            window = Window(top, left, bottom - top, right - left)
            path = folder / f"{top}_{left}.tif"
            parts.append((window, write_tiff(path, array[:, *window.slices], compress="deflate")))
    return parts


def write(folder, array, layer=IDS, georeference=UTM, **cuts):
    path = folder / "out" / "map.tif"
    write_cog(path, cut(folder / "parts", array, **cuts), array.shape[1:], layer, georeference)
    return path


def test_parts_without_a_place_are_ordinary_and_nothing_warns_of_them(tmp_path):
    parts = cut(tmp_path / "parts", ids(40, 30)[None], rows=(20,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_cog(tmp_path / "map.tif", parts, (40, 30), IDS, UTM)


@pytest.mark.parametrize(
    "georeference",
    [
        None,
        UTM,
        ROTATED,
        SOUTH_UP,
        DEGREES,
        POINTS,
        POLYNOMIALS,
        Georeference(UTM.crs),
        Georeference(POLE, UTM.transform),
    ],
)
def test_a_map_lies_where_its_image_does(tmp_path, georeference):
    path = write(tmp_path, ids(40, 30)[None], georeference=georeference, rows=(16,))
    with rasterio.open(path) as dataset:
        found = Georeference.from_dataset(dataset)
        assert np.array_equal(dataset.read(1), ids(40, 30))
    if georeference in (POINTS, POLYNOMIALS):
        assert found.gcps_crs == georeference.gcps_crs and found.transform is None
        assert [(p.row, p.col, p.x, p.y, p.z) for p in found.gcps] == [
            (p.row, p.col, p.x, p.y, p.z) for p in georeference.gcps
        ]
        assert (found.rpcs and found.rpcs.to_dict()) == (georeference.rpcs and georeference.rpcs.to_dict())
    else:
        assert found == georeference


def test_it_is_cloud_optimized_with_overviews_of_nearest_pixels(tmp_path):
    path = write(tmp_path, ids(1100, 1500)[None], rows=(512,), columns=(1024,))
    with rasterio.open(path) as dataset:
        structure = dataset.tags(ns="IMAGE_STRUCTURE")
        assert structure["LAYOUT"] == "COG" and structure["PREDICTOR"] == "2"
        assert dataset.block_shapes == [(512, 512)] and dataset.profile["compress"] == "deflate"
        assert dataset.overviews(1) == [2, 4]
    with rasterio.open(path, overview_level=1) as overview:
        assert set(np.unique(overview.read(1))) <= {0, 2, 7, 255}
        assert overview.colormap(1)[2] == (4, 5, 6, 255)


def test_ids_carry_names_and_colours_and_no_black_for_what_is_no_class(tmp_path):
    with rasterio.open(write(tmp_path, ids()[None])) as dataset:
        table = dataset.colormap(1)
        assert (dataset.nodata, dataset.dtypes, dataset.descriptions) == (255, ("uint8",), ("class id",))
        assert {key: dataset.tags(1)[key] for key in ("CLASS_0", "CLASS_2", "CLASS_7")} == {
            "CLASS_0": "water", "CLASS_2": "Straße <a & b>", "CLASS_7": "x"
        }  # fmt: skip
        assert "CLASS_1" not in dataset.tags(1)
    assert [table[k] for k in (0, 2, 7)] == [(1, 2, 3, 255), (4, 5, 6, 255), (7, 8, 9, 255)]
    assert table[255][3] == 0
    assert {table[k] for k in range(256)} - {table[k] for k in (0, 2, 7, 255)} == {(225, 225, 225, 255)}


def test_qgis_finds_a_style_with_the_classes_alone(tmp_path):
    path = write(tmp_path, ids()[None])
    assert {each.name for each in path.parent.iterdir()} == {"map.tif", "map.qml"}
    entries = ElementTree.parse(path.with_suffix(".qml")).findall(
        "pipe/rasterrenderer/colorPalette/paletteEntry"
    )
    assert [(each.get("value"), each.get("label"), each.get("color")) for each in entries] == [
        ("0", "water", "#010203"), ("2", "Straße <a & b>", "#040506"), ("7", "x", "#070809")
    ]  # fmt: skip


def test_more_than_255_classes_take_16_bits(tmp_path):
    legend = Legend.of([f"class {k}" for k in range(300)], palette(300))
    array = np.random.default_rng(0).choice(np.array([0, 256, 299, 65535], np.uint16), (1, 20, 30))
    with rasterio.open(write(tmp_path, array, MapLayer.ids(legend), columns=(16,))) as dataset:
        assert np.array_equal(dataset.read(), array) and dataset.nodata == 65535
        assert dataset.colormap(1)[299] == (*palette(300)[299].tolist(), 255)
        assert dataset.tags(1)["CLASS_299"] == "class 299"


@pytest.mark.parametrize("names", [None, ("water", "road", "tree"), tuple(f"c{k}" for k in range(130))])
def test_shares_are_read_as_0_to_1(tmp_path, names):
    layer = MapLayer.confidence() if names is None else MapLayer.scores(names)
    array = np.random.default_rng(0).integers(0, 256, (len(layer.bands), 24, 40)).astype(np.uint8)
    with rasterio.open(write(tmp_path, array, layer, rows=(16,))) as dataset:
        assert dataset.descriptions == (names or ("confidence",))
        assert np.array_equal(dataset.read(), array) and set(dataset.nodatavals) == {NO_SHARE}
        assert set(dataset.scales) == {SHARE_SCALE} and set(dataset.offsets) == {0}
        assert 254 * dataset.scales[0] == 1
        assert dataset.block_shapes[0][0] == (512 if len(layer.bands) <= 64 else 256)


cuts = st.lists(st.integers(1, 89), max_size=3, unique=True).map(sorted)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=cuts, columns=cuts)
def test_the_bytes_of_a_map_do_not_tell_how_it_was_cut(tmp_path, rows, columns):
    array = ids(90, 90)[None]
    whole = write(tmp_path / "whole", array).read_bytes()
    assert write(tmp_path / "cut", array, rows=rows, columns=columns).read_bytes() == whole


@pytest.mark.parametrize("change", ["gap", "overlap", "beyond"])
def test_parts_that_do_not_cover_the_map_once_are_refused(tmp_path, change):
    parts = cut(tmp_path, ids(40, 40)[None], rows=(20,))
    (_, first), (window, second) = parts
    if change == "gap":
        parts, size = parts[:1], (40, 40)
    elif change == "overlap":
        parts, size = [(window, first), (window, second)], (40, 40)
    else:
        size = (39, 40)
    with pytest.raises(ValueError, match="cover"):
        write_cog(tmp_path / "map.tif", parts, size, IDS, UTM)


@pytest.mark.parametrize("change", ["size", "dtype", "bands", "missing", "cut"])
def test_a_part_that_does_not_fit_or_cannot_be_read_is_named(tmp_path, change):
    parts = cut(tmp_path / "parts", ids(400, 40)[None], rows=(200,))
    path = parts[1][1]
    if change == "size":
        write_tiff(path, ids(100, 40)[None])
    elif change == "dtype":
        write_tiff(path, ids(200, 40)[None].astype(np.uint16))
    elif change == "bands":
        write_tiff(path, np.stack([ids(200, 40)] * 2))
    elif change == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageReadError, match=r"200_0\.tif"):
        write_cog(tmp_path / "map.tif", parts, (400, 40), IDS, UTM)
    assert [each.name for each in tmp_path.iterdir()] == ["parts"]


@pytest.mark.parametrize("part", [0, 0.1, 0.6, 0.99])
def test_a_full_disk_is_an_error_and_leaves_the_former_files(tmp_path, part):
    path = write(tmp_path, ids(seed=1)[None])
    former = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    parts = cut(tmp_path / "parts", ids(seed=2)[None])
    with pytest.raises(OSError), file_limit(int(part * len(former["map.tif"]))):
        write_cog(path, parts, ids().shape, IDS, UTM)
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == former


def test_pixels_that_changed_on_their_way_are_noticed(tmp_path, monkeypatch):
    described = cogs.mosaic

    def swapped(parts, *rest):
        windows, paths = zip(*parts, strict=True)
        return described(list(zip(windows, reversed(paths), strict=True)), *rest)

    monkeypatch.setattr(cogs, "mosaic", swapped)
    with pytest.raises(OSError, match="its pixels in"):
        write(tmp_path, ids(40, 40)[None], rows=(20,))
    assert not list((tmp_path / "out").iterdir())


def test_what_gdal_kept_beside_a_former_map_goes(tmp_path):
    path = write(tmp_path, ids(30, 20)[None], georeference=Georeference(POLE, UTM.transform))
    assert (path.parent / "map.tif.aux.xml").exists()
    write(tmp_path, ids(30, 20)[None])
    assert {each.name for each in path.parent.iterdir()} == {"map.tif", "map.qml"}
