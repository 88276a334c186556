"""Areas of the classes of a finished map, read some rows at a time."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from rskt_seg.errors import ImageReadError, LabelError
from rskt_seg.geo import map_rows
from rskt_seg.geo.area import measure_classes, measure_raster, pixel_areas
from rskt_seg.legend import Legend, LegendEntry
from tests.geo.rasters import UTM, write_tiff
from tests.geo.test_area import grid

LEGEND = Legend(tuple(LegendEntry(k, f"class {k}", (k, k, k)) for k in (1, 4, 250)))
PLACES = [None, grid(UTM["crs"], UTM["transform"]), grid("EPSG:4326", Affine(1e-3, 0, 7, 0, -1e-3, 60))]


def write_ids(path, seed=0, shape=(70, 30), **options):
    values = np.random.default_rng(seed).choice(np.array([1, 4, 250, 255], np.uint8), shape)
    write_tiff(path, values[None], nodata=255, **options)
    return values


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pixels=st.integers(1, 3000), place=st.sampled_from(PLACES), seed=st.integers(0, 99))
def test_any_ids_are_measured_as_an_array_of_them_whatever_the_rows_at_once(tmp_path, pixels, place, seed):
    values = write_ids(tmp_path / "a.tif", seed, **({} if place is None else place.profile()))
    expected = measure_classes(
        np.searchsorted([1, 4, 250], values), values != 255, [entry.name for entry in LEGEND.entries], place
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_rows, "_PIXELS", pixels)
        assert measure_raster(tmp_path / "a.tif", LEGEND) == expected


@given(st.permutations(range(60)), st.floats(0.001, 10))
@settings(max_examples=20, deadline=None)
def test_sums_of_areas_do_not_depend_on_the_order(order, size):
    areas = pixel_areas(grid("EPSG:3857", Affine(size, 0, 0, 0, -size, 9e6)), (60, 7))
    cells = areas.block(np.arange(60), np.arange(7))
    sums = {float(np.cumsum(values.ravel())[-1]) for values in (cells, cells[order], cells[::-1])}
    assert sums == {float(cells.sum())}
    assert cells.mean() == pytest.approx(areas.nodes.mean(), rel=1e-6)


def test_values_that_are_no_class_are_named(tmp_path):
    values = write_ids(tmp_path / "a.tif", **UTM)
    values[50, 3] = 7
    write_tiff(tmp_path / "a.tif", values[None], nodata=255, **UTM)
    with pytest.raises(LabelError, match=r"ids of the 3 classes or 255 for nodata; found 7 in rows 0 to 69"):
        measure_raster(tmp_path / "a.tif", LEGEND)


def test_what_is_no_map_is_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", np.zeros((1, 4, 4), np.float32), **UTM)
    with pytest.raises(LabelError, match="found float32"):
        measure_raster(tmp_path / "a.tif", LEGEND)
    (tmp_path / "b.tif").write_bytes(b"II*\0")
    for name in ("b.tif", "c.tif"):
        with pytest.raises(ImageReadError, match=name):
            measure_raster(tmp_path / name, LEGEND)
