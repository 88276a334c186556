"""Areas of a map that is seen some rows at a time, their outlines, and the sieve of small ones."""

import tracemalloc

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rasterio.features import rasterize

from rskt_seg.geo import tracing
from rskt_seg.geo.regions import RegionStream
from rskt_seg.geo.rings import insert_points
from rskt_seg.geo.tracing import trace
from tests.geo.sieving import areas_of, sieve

NONE = 3
maps = st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(
    lambda shape: arrays.arrays(np.int64, shape, elements=st.sampled_from([0, 0, 0, 1, 2, NONE]))
)
steps = st.lists(st.integers(1, 14), min_size=1, max_size=14)


def outlines(values, rows, metres=None, band=1, **options):
    """Class, pixels, first pixel, metres and polygon of each area, of a map read in steps of these rows."""
    stream, found, top = RegionStream(values.shape[1], NONE, **options), [], 0
    for step in [*rows, *[len(values)] * len(values)]:
        part = slice(top, top + step)
        if top < len(values):
            found.append(stream.add(values[part], None if metres is None else metres[part]))
        top += step
    found.append(stream.finish())
    areas = []
    for regions, corners in found:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tracing, "_BAND", band)
            rings = trace(corners, clockwise=False)
        facts = (regions.classes, regions.pixels, regions.first, regions.metres)
        areas += zip(*(fact.tolist() for fact in facts), polygons(rings), strict=True)
    return sorted(areas, key=lambda area: area[2]), stream


def polygons(rings):
    points = np.stack([rings.x, rings.y], axis=1).astype(float)
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, points, (rings.ring_starts, rings.region_starts)
    )


def drawn(areas, shape):
    shapes = [(polygon, value) for value, *_, polygon in areas]
    return rasterize(shapes, shape, fill=NONE, dtype="int32") if shapes else np.full(shape, NONE)


@settings(max_examples=80)
@given(maps, steps)
def test_polygons_are_the_map_and_valid_and_one_for_each_area(values, rows):
    areas, _ = outlines(values, rows)
    assert np.array_equal(drawn(areas, values.shape), values)
    assert all(polygon.is_valid and not polygon.exterior.is_ccw for *_, polygon in areas)
    assert all(polygon.area == pixels for _, pixels, _, _, polygon in areas)
    numbers = areas_of(values, NONE).ravel()
    assert sorted(first for _, _, first, _, _ in areas) == sorted(
        int(np.flatnonzero(numbers == k)[0]) for k in np.unique(numbers[numbers >= 0])
    )


@settings(max_examples=80)
@given(maps, steps, st.integers(2, 9))
def test_areas_that_are_too_small_get_the_class_of_their_longest_border(values, rows, minimum):
    areas, _ = outlines(values, rows, minimum=minimum)
    expected = sieve(values, NONE, minimum)
    assert np.array_equal(drawn(areas, values.shape), expected)
    assert len(areas) == areas_of(expected, NONE).max() + 1
    assert all(polygon.is_valid and polygon.area == pixels for _, pixels, _, _, polygon in areas)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            [[0, 0, 0, 0], [1, 2, 2, 1], [1, 1, 1, 1]],
            [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]],
        ),  # 4 sides to 2
        ([[1, 1, 1], [1, 2, 0], [0, 0, 0]], [[1, 1, 1], [1, 0, 0], [0, 0, 0]]),  # of equals the first class
        ([[0, 0, 0, 2, 1]], [[0, 0, 0, 0, 0]]),  # in two rounds
        ([[2, 1, NONE, 0, 0, 0]], [[2, 1, NONE, 0, 0, 0]]),  # no neighbour is large enough
    ],
)
def test_the_rules_of_the_sieve(values, expected):
    assert np.array_equal(sieve(np.array(values), NONE, 3), expected)
    for rows in ([1], [9]):
        assert np.array_equal(
            drawn(outlines(np.array(values), rows, minimum=3)[0], np.shape(values)), expected
        )


@settings(max_examples=40)
@given(maps, steps, st.sampled_from([0, 3, 6]), st.sets(st.sampled_from(range(NONE))), st.integers(0, 99))
def test_areas_are_the_same_whatever_rows_are_read_at_once(values, rows, minimum, skipped, seed):
    metres = np.random.default_rng(seed).integers(1, 5, values.shape) / 4
    options = {"minimum": minimum, "in_metres": True, "skipped": skipped}
    whole, _ = outlines(values, [len(values)], metres, band=10**6, **options)
    assert outlines(values, rows, metres, **options)[0] == whole
    expected = sieve(values, NONE, minimum, metres)
    wanted = ~np.isin(expected, [*skipped, NONE])
    assert sum(area[3] for area in whole) == metres[wanted].sum()
    assert not {value for value, *_ in whole} & skipped


@settings(max_examples=50)
@given(maps, steps, st.sampled_from([0, 4]))
def test_with_the_junctions_borders_are_common_point_by_point(values, rows, minimum):
    stream, top, found = RegionStream(values.shape[1], NONE, minimum=minimum, with_junctions=True), 0, []
    for step in [*rows, *[len(values)] * len(values)]:
        if top < len(values):
            found.append(stream.add(values[top : top + step]))
        top += step
    found.append(stream.finish())
    points = np.concatenate(stream.junctions)
    whole = []
    for _, corners in found:
        rings = trace(corners, clockwise=True)
        more = insert_points(rings, *points.T)
        assert shapely.equals(polygons(rings), polygons(more)).all()
        whole += list(polygons(more))
    assert shapely.coverage_is_valid(np.array(whole, object))


def test_a_pixel_that_touches_its_area_by_a_corner_alone_bounds_a_hole():
    values = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1]])
    (first, second, third), _ = outlines(values, [1])
    assert list(second[4].exterior.coords) == [(1, 1), (1, 2), (2, 2), (2, 1), (1, 1)]
    assert (len(first[4].interiors), third[1]) == (1, 1)
    assert first[4].is_valid and first[4].area == 7


def test_an_area_that_spans_the_map_takes_little_more_than_its_corners_and_its_rings(monkeypatch):
    monkeypatch.setattr(tracing, "_BAND", 1000)
    rng, waiting = np.random.default_rng(0), []
    stream = RegionStream(9, NONE)
    tracemalloc.start()
    try:
        for _ in range(120):
            stream.add((np.arange(9) < rng.integers(1, 9, (500, 1))).astype(int))
            waiting.append(tracemalloc.get_traced_memory()[0])
        _, corners = stream.finish()
        count = sum(len(part.y) for part in corners)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        rings = trace(corners, clockwise=True)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert len(rings.ring_starts) == 3 and len(rings.x) == count + 2 > 200_000
    assert (waiting[-1] - waiting[0]) / count < 12
    assert peak / count < 20


def test_complete_areas_are_given_up_at_once():
    stream = RegionStream(4, NONE)
    regions, _ = stream.add(np.array([[0, 0, 1, 1], [2, 2, 1, 1]]))
    assert regions.classes.tolist() == [0] and regions.pixels.tolist() == [2]
    regions, _ = stream.add(np.array([[2, 3, 3, 1]]))
    assert not len(regions.classes)
    regions, _ = stream.add(np.array([[3, 3, 3, 3]]))
    assert regions.classes.tolist() == [1, 2] and regions.pixels.tolist() == [5, 3]
    assert not len(stream.finish()[0].classes)


@pytest.mark.parametrize("minimum", [0, 3])
def test_what_waits_is_a_few_areas_whatever_the_rows_before(minimum):
    stream = RegionStream(40, NONE, minimum=minimum)
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(60):
        stream.add(np.repeat(np.repeat(rng.integers(0, NONE, (2, 10)), 4, axis=0), 4, axis=1))
        kept.append(len(stream._regions.classes))
    assert max(kept[30:]) <= 2 * max(kept[:10])
