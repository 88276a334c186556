"""Polygons as labels, against the polygon that the centre of each pixel lies in."""

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import shapes as polygonize
from rasterio.warp import transform as project

from rskt_seg.errors import DatasetError, LabelError, RSKTSegError
from rskt_seg.geo.burning import burn_shapes
from tests.data.own_preparation.sources import (
    ORIGIN,
    UTM,
    colors_of,
    only_labels,
    prepare,
    write_description,
    write_tif,
)

X, Y = ORIGIN
HOUSE = shapely.box(X + 5.2, Y - 20.3, X + 15.6, Y - 4.1)
FIELD = shapely.Polygon(
    [(X + 10.13, Y - 2.21), (X + 44.37, Y - 9.19), (X + 40.11, Y - 37.23), (X + 12.17, Y - 30.29)],
    [[(X + 25.12, Y - 12.17), (X + 35.21, Y - 12.33), (X + 30.19, Y - 25.27)]],
)  # no side meets the centre of a pixel
KINDS = ["house", "field"]


def write_vector(path, polygons, kinds=None, crs=UTM, layer=None, attribute="kind"):
    """A vector file of the format of its ending; coordinates are given in UTM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if crs not in (UTM, None):
        polygons = shapely.transform(polygons, lambda xy: np.array(project(UTM, crs, xy[:, 0], xy[:, 1])).T)
    fields = (
        {} if kinds is None else {attribute: np.array(kinds, object if isinstance(kinds[0], str) else None)}
    )
    drivers = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".shp": "ESRI Shapefile", ".fgb": "FlatGeobuf"}
    pyogrio.raw.write(
        path, shapely.to_wkb(np.array(polygons)), list(fields.values()), list(fields), crs=crs, layer=layer,
        driver=drivers[path.suffix], geometry_type="Unknown" if path.suffix != ".shp" else "Polygon",
        append=path.exists(),
    )  # fmt: skip
    return path


def image(folder, name="a", **place):
    write_tif(folder / f"images/{name}.tif", np.moveaxis(colors_of(1), 2, 0), **place)


def labels_of(folder, **labels):
    keys = {"form": "vector", "path": "a.gpkg", "attribute": "kind"} | labels
    keys = {key: value for key, value in keys.items() if value is not None}
    return only_labels(prepare(write_description(folder, labels=keys), folder / "out", overwrite=True))["a"]


def refusal(folder, **labels):
    with pytest.raises(RSKTSegError) as error:
        labels_of(folder, **labels)
    assert isinstance(error.value, DatasetError | LabelError) and "\n" not in str(error.value)
    return str(error.value)


def by_centres(polygons, ids, fill=255, size=(40, 50)):
    """The id of the last polygon that holds the centre of each pixel."""
    rows, columns = np.indices(size)
    points = shapely.points(X + columns.ravel() + 0.5, Y - rows.ravel() - 0.5)
    found = np.full(points.shape, fill)
    for polygon, number in zip(polygons, ids, strict=True):
        found[shapely.contains(polygon, points)] = number
    return found.reshape(size)


@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp", "fgb"])
def test_pixels_have_the_class_of_the_polygon_that_holds_their_centre(tmp_path, ending):
    image(tmp_path)
    crs = "EPSG:4326" if ending == "geojson" else UTM
    write_vector(tmp_path / f"a.{ending}", [HOUSE, FIELD], KINDS, crs)
    expected = by_centres([HOUSE, FIELD], [1, 0])
    assert (labels_of(tmp_path, path=f"a.{ending}") == expected).all()


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326"])
def test_polygons_of_another_crs_are_projected(tmp_path, crs):
    image(tmp_path)
    write_vector(tmp_path / "a.gpkg", [FIELD], ["field"], crs)
    assert (labels_of(tmp_path) != by_centres([FIELD], [0])).mean() < 0.002


def test_the_class_that_is_listed_first_wins_and_ignored_polygons_over_all(tmp_path):
    image(tmp_path)
    cloud = shapely.box(X + 8, Y - 10, X + 20, Y - 6)
    write_vector(tmp_path / "a.gpkg", [HOUSE, cloud, FIELD], ["house", "cloud", "field"])
    found = labels_of(tmp_path, ignore=["cloud"], priority=["house", "field"])
    assert (found == by_centres([FIELD, HOUSE, cloud], [0, 1, 255])).all()
    found = labels_of(tmp_path, ignore=["cloud"])
    assert (found == by_centres([HOUSE, FIELD, cloud], [1, 0, 255])).all()


def test_ground_outside_of_polygons_is_ignored_or_the_background(tmp_path):
    image(tmp_path)
    write_vector(tmp_path / "a.gpkg", [HOUSE])
    found = labels_of(tmp_path, attribute=None, background="field")
    assert (found == by_centres([HOUSE], [1], fill=0)).all()


def test_all_touched_adds_the_pixels_that_a_polygon_reaches(tmp_path):
    image(tmp_path)
    write_vector(tmp_path / "a.gpkg", [HOUSE], ["house"])
    rows, columns = np.indices((40, 50))
    cells = shapely.box(X + columns, Y - rows - 1, X + columns + 1, Y - rows)
    expected = np.where(shapely.intersects(cells, HOUSE), 1, 255)
    assert (labels_of(tmp_path, all_touched=True) == expected).all()


def test_numbers_of_an_attribute_are_mapped_by_value(tmp_path):
    image(tmp_path)
    write_vector(tmp_path / "a.gpkg", [HOUSE, FIELD], [3.0, 4.0])
    found = labels_of(tmp_path, values={"house": 3, "field": [4, 5]})
    assert (found == by_centres([HOUSE, FIELD], [1, 0])).all()
    assert "values of no class: '4' (1)" in refusal(tmp_path, values={"house": 3})


def test_each_image_may_have_a_file_of_its_own(tmp_path):
    image(tmp_path)
    image(tmp_path, "b", origin=(X + 100, Y))
    write_vector(tmp_path / "v/a.geojson", [HOUSE], ["house"], "EPSG:4326")
    near = shapely.transform(FIELD, lambda points: points + (100, 0))
    write_vector(tmp_path / "v/b.geojson", [near], ["field"], "EPSG:4326")
    keys = {"form": "vector", "path": "v", "attribute": "kind", "background": "field"}
    found = only_labels(prepare(write_description(tmp_path, labels=keys), tmp_path / "out"))
    assert (found["a"] == by_centres([HOUSE], [1], fill=0)).all() and (found["b"] == 0).all()
    (tmp_path / "v/b.geojson").unlink()
    write_vector(tmp_path / "v/b.geojson", [FIELD], ["field"], "EPSG:4326")
    assert "b.geojson: no polygon lies on an image" in refusal(tmp_path, path="v", background="field")


def test_every_vector_file_that_cannot_be_right_is_one_line(tmp_path):
    image(tmp_path)
    path = tmp_path / "a.gpkg"
    assert "does not exist" in refusal(tmp_path)
    write_vector(path, [HOUSE], ["house"], layer="one")
    assert "no attribute 'knid'; present: kind" in refusal(tmp_path, attribute="knid")
    assert "no layer 'two'; present: one" in refusal(tmp_path, layer="two")
    write_vector(path, [FIELD], ["field"], layer="two")
    assert "2 layers (one, two)" in refusal(tmp_path)
    assert (labels_of(tmp_path, layer="two") == by_centres([FIELD], [0])).all()
    path.write_bytes(b"no vector file")
    assert "cannot be read as a vector file" in refusal(tmp_path)
    others = {
        "far": ([shapely.box(X + 900, Y, X + 950, Y + 9)], "no polygon lies on an image"),
        "lines": ([shapely.LineString([(X, Y), (X + 9, Y - 9)])], "no polygons: LineString (1)"),
        "empty": ([], "has no features"),
    }
    (tmp_path / "none.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    assert "layer none has no features" in refusal(tmp_path, path="none.geojson")
    (tmp_path / "table.csv").write_text("kind\nhouse\n")
    assert "layer table has no geometry" in refusal(tmp_path, path="table.csv")
    for name, (geometry, expected) in others.items():
        write_vector(tmp_path / f"{name}.gpkg", geometry, ["house"] if geometry else ["x"][:0] or None)
        given = {"attribute": None, "background": "field"} if not geometry else {}
        assert expected in refusal(tmp_path, path=f"{name}.gpkg", **given)


def test_a_changed_attribute_beside_the_shapes_is_prepared_again(tmp_path):
    image(tmp_path)
    write_vector(tmp_path / "a.shp", [HOUSE], ["house"])
    path = write_description(
        tmp_path, labels={"form": "vector", "path": "a.shp", "attribute": "kind", "background": "house"}
    )
    prepare(path, tmp_path / "out")
    before = (tmp_path / "a.shp").stat()
    (tmp_path / "a.dbf").write_bytes((tmp_path / "a.dbf").read_bytes().replace(b"house", b"field"))
    assert (tmp_path / "a.shp").stat() == before
    assert (only_labels(prepare(path, tmp_path / "out"))["a"] == by_centres([HOUSE], [0], fill=1)).all()


def test_both_sides_need_a_crs(tmp_path):
    image(tmp_path, crs=None)
    write_vector(tmp_path / "a.gpkg", [HOUSE], ["house"])
    assert "has no CRS, so where polygons lie on it" in refusal(tmp_path)
    image(tmp_path)
    write_vector(tmp_path / "b.fgb", [HOUSE], ["house"], crs=None)
    assert "has no CRS, so its place on the images" in refusal(tmp_path, path="b.fgb")
    assert "states the CRS EPSG:32632, not EPSG:32633" in refusal(tmp_path, crs="EPSG:32633")
    assert (labels_of(tmp_path, crs=UTM) == labels_of(tmp_path)).all()
    assert (labels_of(tmp_path, path="b.fgb", crs=UTM) == by_centres([HOUSE], [1])).all()
    with pytest.raises(RSKTSegError, match="is no CRS"):
        labels_of(tmp_path, path="b.fgb", crs="UTM zone")


def test_polygons_to_tiles_to_polygons_keep_their_areas_within_their_outline(tmp_path):
    image(tmp_path)
    write_vector(tmp_path / "a.gpkg", [FIELD], ["field"])
    keys = {"form": "vector", "path": "a.gpkg", "attribute": "kind", "background": "house"}
    path = write_description(tmp_path, labels=keys, tiles={"size": 16})
    summary = prepare(path, tmp_path / "out")
    found = []
    for file in (summary.folder / "all/labels").iterdir():
        with rasterio.open(file) as tile:
            ids = tile.read(1)
            found += [
                shapely.geometry.shape(shape)
                for shape, value in polygonize(ids, mask=ids == 0, transform=tile.transform)
            ]
    again = shapely.union_all(found)
    assert shapely.symmetric_difference(again, FIELD).area <= 0.75 * FIELD.length
    assert again.hausdorff_distance(FIELD) < np.sqrt(2)


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.floats(-3, 23)] * 2), min_size=3, max_size=6), st.integers(0, 254))
def test_shapes_in_pixels_hold_the_centres_inside(points, number):
    polygon = shapely.Polygon(points)
    if not polygon.is_valid:
        return
    rows, columns = np.indices((20, 20))
    centres = shapely.points(columns.ravel() + 0.5, rows.ravel() + 0.5)
    certain = (shapely.distance(polygon.boundary, centres) > 1e-6).reshape(20, 20)
    expected = np.where(shapely.contains(polygon, centres).reshape(20, 20), number, 255)
    found = burn_shapes([(shapely.geometry.mapping(polygon), number)], (20, 20), 255)
    assert (found == expected)[certain].all()
