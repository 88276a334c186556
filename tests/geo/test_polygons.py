"""Polygons of finished maps, as files."""

import json
import sqlite3
import sys
from contextlib import closing
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine

from rskt_seg.errors import ConfigError, ImageReadError, LabelError
from rskt_seg.geo import map_rows, polygons, tracing
from rskt_seg.geo.area import measure_raster
from rskt_seg.geo.polygons import MinimumArea, write_polygons
from rskt_seg.legend import Legend, LegendEntry
from tests.full_disk import file_limit
from tests.geo.rasters import ROTATED, UTM, write_tiff
from tests.geo.sieving import sieve

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

LEGEND = Legend(
    (LegendEntry(1, "water", (1, 2, 3)), LegendEntry(4, "Straße", (4, 5, 6)), LegendEntry(9, "x", (7, 8, 9)))
)
DEGREES = {"crs": "EPSG:4326", "transform": Affine(1e-5 / 3, 0, 7.1, 0, -1e-5 / 3, 50.2)}
SOUTH_UP = {"crs": "EPSG:32632", "transform": Affine(0.5, 0, 300000, 0, 0.5, 5600000)}
TURNED = {"crs": "EPSG:32632", "transform": ROTATED}
PLACES = [UTM, DEGREES, SOUTH_UP, TURNED]


def write_map(folder, seed=0, shape=(40, 30), place=UTM, size=3):
    """Write ids in patches and confidence, and return both."""
    rng = np.random.default_rng(seed)
    patches = rng.choice(np.array([1, 4, 9, 255], np.uint8), (shape[0] // size + 1, shape[1] // size + 1))
    ids = np.kron(patches, np.ones((size, size), np.uint8))[: shape[0], : shape[1]]
    confidence = np.where(ids == 255, 255, rng.integers(0, 255, shape)).astype(np.uint8)
    write_tiff(folder / "ids.tif", ids[None], nodata=255, **place)
    write_tiff(folder / "confidence.tif", confidence[None], nodata=255, **place)
    return ids, confidence


def write(folder, name="map.gpkg", **options):
    return write_polygons(folder / name, folder / "ids.tif", LEGEND, **options)


def read(path):
    """Geometries, attributes and the CRS of a GeoPackage."""
    meta, _, geometry, values = pyogrio.raw.read(path, layer=path.stem)
    return shapely.from_wkb(geometry), dict(zip(meta["fields"], values, strict=True)), meta["crs"]


def drawn(geometry, ids, shape, transform):
    shapes = list(zip(geometry, ids.tolist(), strict=True))
    return rasterize(shapes, shape, fill=255, transform=transform, dtype="uint8")


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 999),
    place=st.sampled_from(PLACES),
    step=st.integers(1, 700),
    batch=st.integers(9, 90),
    band=st.integers(1, 200),
)
def test_polygons_are_the_map_whatever_is_read_and_written_at_once(tmp_path, seed, place, step, batch, band):
    ids, confidence = write_map(tmp_path, seed, place=place, size=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_rows, "_PIXELS", step)
        patch.setattr(polygons, "_BATCH", batch)
        patch.setattr(tracing, "_BAND", band)
        summary = write(tmp_path, confidence_path=tmp_path / "confidence.tif")
    geometry, found, crs = read(tmp_path / "map.gpkg")
    assert (len(geometry), summary.notices) == (summary.polygons, ()) and crs == place["crs"]
    assert np.array_equal(drawn(geometry, found["class_id"], ids.shape, place["transform"]), ids)
    assert shapely.is_valid(geometry).all() and shapely.is_ccw(shapely.get_exterior_ring(geometry)).all()
    areas = measure_raster(tmp_path / "ids.tif", LEGEND)
    for entry, area in zip(LEGEND.entries, areas.classes, strict=True):
        own = found["class_id"] == entry.id
        assert set(found["class_name"][own]) <= {entry.name}
        assert found["pixels"][own].sum() == area.pixels
        assert found["area_m2"][own].sum() == area.square_metres  # exactly
        scores = (found["mean_confidence"] * found["pixels"])[own].sum()
        assert scores == pytest.approx(confidence[ids == entry.id].sum() / 254)


def test_a_geopackage_holds_the_colours_of_the_classes_for_qgis(tmp_path):
    write_map(tmp_path)
    write(tmp_path)
    with closing(sqlite3.connect(tmp_path / "map.gpkg")) as base:
        columns = "f_table_schema, f_table_name, f_geometry_column, useAsDefault, styleQML"
        ((schema, table, column, default, style),) = base.execute(f"SELECT {columns} FROM layer_styles")
        ((geometry,),) = base.execute("SELECT column_name FROM gpkg_geometry_columns")
    assert (schema, table, column, default) == ("", "map", geometry, 1)
    root = ElementTree.fromstring(style)
    assert root.findtext("layerGeometryType") == "2"
    categories = root.findall("renderer-v2/categories/category")
    assert root.find("renderer-v2").get("attr") == "class_id"
    assert [(each.get("value"), each.get("label")) for each in categories] == [
        ("1", "water"), ("4", "Straße"), ("9", "x")
    ]  # fmt: skip
    fills = root.findall("renderer-v2/symbols/symbol/layer/Option/Option[@name='color']")
    assert [each.get("value") for each in fills] == ["1,2,3,255", "4,5,6,255", "7,8,9,255"]


def test_without_a_transform_polygons_lie_where_qgis_shows_the_raster_and_areas_are_unknown(tmp_path):
    ids, _ = write_map(tmp_path, place={"crs": "EPSG:32632"})
    assert "in pixels" in write(tmp_path).notices[0]
    geometry, found, crs = read(tmp_path / "map.gpkg")
    assert np.array_equal(drawn(geometry, found["class_id"], ids.shape, Affine(1, 0, 0, 0, -1, 0)), ids)
    assert np.isnan(found["area_m2"]).all() and np.isnan(found["mean_confidence"]).all()
    assert crs is None or "Undefined" in crs or "unknown" in crs.lower()
    with pytest.raises(ConfigError, match=r"ids\.tif: the minimum area 5 is in square metres"):
        write(tmp_path, min_area=5)


@pytest.mark.parametrize(("minimum", "pixels"), [("12 px", 12), (2.5, 10), ("2.5 m2", 10)])
def test_small_areas_go_to_their_neighbours(tmp_path, minimum, pixels):
    ids, _ = write_map(tmp_path, size=2)
    told = write(tmp_path, min_area=minimum).notices
    geometry, found, _ = read(tmp_path / "map.gpkg")
    small = int((found["pixels"] < pixels).sum())  # amid pixels without data
    assert any(f"{small} polygon" in line for line in told) == (small > 0)
    expected = sieve(ids, 255, pixels)
    assert np.array_equal(drawn(geometry, found["class_id"], ids.shape, UTM["transform"]), expected)
    assert found["pixels"].sum() == (ids != 255).sum() and not np.array_equal(ids, expected)


def test_a_minimum_above_every_area_changes_nothing_and_that_is_told(tmp_path):
    write_map(tmp_path)
    before = write(tmp_path).polygons
    found = write(tmp_path, min_area="1e9 px")
    assert found.polygons == before > 1
    assert found.notices[-1].startswith(f"{before} polygons below the minimum area stay")


@pytest.mark.parametrize("text", ["px", "-3", "1,5", "12 km", "1.2.3", float("nan"), "inf"])
def test_a_minimum_that_is_no_area_is_refused(text):
    with pytest.raises(ConfigError, match="square metres, such as 50, or pixels"):
        MinimumArea.parse(text)


def test_simplified_borders_stay_common(tmp_path):
    y, x = np.mgrid[:120, :100]
    ids = np.where(np.hypot(y - 60, x - 40) < 30, 1, np.where(2 * x > y, 4, 9)).astype(np.uint8)
    write_tiff(tmp_path / "ids.tif", ids[None], nodata=255, **UTM)
    write(tmp_path)
    exact, before, _ = read(tmp_path / "map.gpkg")
    write(tmp_path, "simple.gpkg", simplify=1.0)
    simple, after, _ = read(tmp_path / "simple.gpkg")
    assert shapely.coverage_is_valid(simple) and shapely.is_valid(simple).all()
    assert shapely.get_num_coordinates(simple).sum() < 0.3 * shapely.get_num_coordinates(exact).sum()
    assert np.array_equal(before["pixels"], after["pixels"])
    outside = shapely.union_all(exact).symmetric_difference(shapely.union_all(simple)).area
    assert shapely.area(simple).sum() == pytest.approx(shapely.union_all(simple).area) and outside < 100


def test_classes_can_be_left_out(tmp_path):
    write_map(tmp_path)
    write(tmp_path, skip_ids=[4, 9])
    assert set(read(tmp_path / "map.gpkg")[1]["class_id"]) == {1}
    with pytest.raises(ConfigError, match=r"found \[5\]"):
        write(tmp_path, skip_ids=[5])


def test_a_map_without_data_has_no_polygons(tmp_path):
    write_tiff(tmp_path / "ids.tif", np.full((1, 5, 6), 255, np.uint8), nodata=255, **UTM)
    assert write(tmp_path).polygons == 0
    geometry, _, crs = read(tmp_path / "map.gpkg")
    assert len(geometry) == 0 and crs == "EPSG:32632"


def test_geojson_is_in_degrees_with_all_digits(tmp_path):
    ids, _ = write_map(tmp_path, place=DEGREES)
    write(tmp_path, "map.geojson")
    features = json.loads((tmp_path / "map.geojson").read_text(encoding="utf-8"))["features"]
    geometry = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in features]
    found = np.array([feature["properties"]["class_id"] for feature in features])
    assert np.array_equal(drawn(geometry, found, ids.shape, DEGREES["transform"]), ids)
    assert features[0]["properties"]["mean_confidence"] is None
    write_tiff(tmp_path / "ids.tif", np.full((1, 5, 6), 255, np.uint8), nodata=255, **DEGREES)
    write(tmp_path, "map.geojson")
    assert json.loads((tmp_path / "map.geojson").read_text()) == {"type": "FeatureCollection", "features": []}
    write_map(tmp_path)
    with pytest.raises(ConfigError, match=r"EPSG:4326\), and the map is in EPSG:32632; write a \.gpkg"):
        write(tmp_path, "map.geojson")


def test_geoparquet_states_its_crs(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    ids, _ = write_map(tmp_path)
    write(tmp_path, "map.parquet")
    table = parquet.read_table(tmp_path / "map.parquet")
    about = json.loads(table.schema.metadata[b"geo"])
    crs = CRS.from_dict(about["columns"][about["primary_column"]]["crs"])
    geometry = shapely.from_wkb(table["geometry"].to_pylist())
    assert crs == CRS.from_epsg(32632)
    found = drawn(geometry, table["class_id"].to_numpy(), ids.shape, UTM["transform"])
    assert np.array_equal(found, ids) and table["mean_confidence"].null_count == len(table)


@pytest.mark.parametrize(("package", "extra"), [("shapely", "vector"), ("pyogrio", "vector")])
def test_a_missing_library_is_one_line_that_names_the_extra(tmp_path, monkeypatch, package, extra):
    write_map(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"pip install 'rskt_seg\[{extra}\]'") as caught:
        write(tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "map.gpkg").exists()


def test_rasters_and_formats_that_do_not_fit_are_refused(tmp_path):
    ids, _ = write_map(tmp_path)
    with pytest.raises(ConfigError, match=r"map\.shp: expected a file of polygons \.gpkg"):
        write(tmp_path, "map.shp")
    with pytest.raises(ConfigError, match="above 0; found 0"):
        write(tmp_path, simplify=0)
    write_tiff(tmp_path / "confidence.tif", np.zeros((1, 40, 29), np.uint8), **UTM)
    with pytest.raises(ImageReadError, match=r"expected uint8 shares of \(40, 30\)"):
        write(tmp_path, confidence_path=tmp_path / "confidence.tif")
    ids[30, 3] = 7
    write_tiff(tmp_path / "ids.tif", ids[None], nodata=255, **UTM)
    with pytest.raises(LabelError, match="found 7"):
        write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"ids.tif", "confidence.tif"}


@pytest.mark.parametrize("size", [0, 40_000, 110_000])
def test_a_full_disk_is_an_error_and_leaves_the_former_file(tmp_path, size):
    write_map(tmp_path)
    write(tmp_path)
    former = (tmp_path / "map.gpkg").read_bytes()
    write_map(tmp_path, shape=(300, 200), size=1)
    with (
        pytest.raises(OSError, match=r"map\.gpkg .*could not be written|written completely"),
        file_limit(size),
    ):
        write(tmp_path)
    assert (tmp_path / "map.gpkg").read_bytes() == former
    assert {path.name for path in tmp_path.iterdir()} == {"ids.tif", "confidence.tif", "map.gpkg"}
