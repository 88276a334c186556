"""Blending on a grid of cells: the same bits for every part of a scene."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError
from rskt_seg.inference.cells import RunningMeans, plan_windows, taper
from rskt_seg.windows import Window


@st.composite
def plans(draw):
    cell = draw(st.sampled_from([1, 2, 3, 4, 10]))
    size = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    side, overlap = draw(st.integers(cell, 60)), draw(st.sampled_from([0, 0.2, 1 / 3, 0.5, 0.75]))
    return plan_windows(size, side, overlap, cell=cell, taper=draw(st.sampled_from(["hann", "mean"])))


@st.composite
def areas(draw, height, width):
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Window(top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))


def whole(plan):
    return Window(0, 0, plan.rows, plan.columns)


def means(plan, area, maps_of):
    running = RunningMeans(plan, 2, area)
    for window in plan.windows(area):
        running.add(window, maps_of(window))
    return running.mean()


def noise_of(window):
    generator = torch.Generator().manual_seed(1000 * window.top + window.left)
    return torch.rand(2, window.height, window.width, generator=generator)


def grown(cells, plan):
    """The cells with their neighbours inside the scene."""
    top, left = max(cells.top - 1, 0), max(cells.left - 1, 0)
    bottom, right = min(cells.bottom + 1, plan.rows), min(cells.right + 1, plan.columns)
    return Window(top, left, bottom - top, right - left)


@given(plans(), st.data())
def test_a_pixel_has_the_same_bits_in_every_part_that_contains_it(plan, data):
    window = data.draw(areas(plan.height, plan.width))
    c = plan.cell
    cells = Window(
        window.top // c,
        window.left // c,
        -(-window.bottom // c) - window.top // c,
        -(-window.right // c) - window.left // c,
    )
    part = means(plan, grown(cells, plan), noise_of).pixels(window)
    all_of_it = means(plan, whole(plan), noise_of).pixels(Window(0, 0, plan.height, plan.width))
    assert torch.equal(part, all_of_it[:, window.rows, window.columns])


@given(plans())
def test_windows_that_agree_are_blended_to_what_they_agree_on(plan):
    scene = torch.rand(2, plan.rows, plan.columns)
    blended = means(plan, whole(plan), lambda window: scene[:, window.rows, window.columns])
    assert torch.equal(blended.maps, scene)


@given(plans())
def test_windows_cover_every_cell_and_stay_inside(plan):
    covered = np.zeros((plan.rows, plan.columns), int)
    for window in plan.windows(whole(plan)):
        assert window.bottom <= plan.rows
        assert window.right <= plan.columns
        covered[window.slices] += 1
    assert covered.min() >= 1


@given(plans())
def test_cells_become_pixels_as_pytorch_resizes_them(plan):
    blended = means(plan, whole(plan), noise_of)
    size = plan.rows * plan.cell, plan.columns * plan.cell
    expected = F.interpolate(blended.maps[None], size, mode="bilinear", align_corners=False)[0]
    found = blended.pixels(Window(0, 0, plan.height, plan.width))
    torch.testing.assert_close(found, expected[:, : plan.height, : plan.width], rtol=0, atol=2e-5)


def test_neighbouring_windows_fade_into_each_other():
    weights = taper(96, "hann")
    assert weights.max() == 1024
    assert weights[0] == weights[-1] == 1
    assert torch.equal(weights, weights.flip(0))
    assert (weights == weights.round()).all()
    assert (taper(5, "mean") == 1).all()


def test_the_border_of_a_window_hardly_counts_where_another_covers_it():
    weights, overlap = taper(384, "hann"), 128
    assert weights[0] / weights[384 - overlap] < 0.002


def test_the_first_half_of_an_overlap_belongs_to_the_window_before():
    plan = plan_windows((1, 20), 12, 1 / 3)
    values = {0: 0.0, 8: 1.0}
    found = means(plan, whole(plan), lambda window: torch.full((2, 1, 12), values[window.left])).maps[0, 0]
    assert (found[:8] == 0).all()
    assert (found[12:] == 1).all()
    assert (found[8:12].diff() > 0).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"overlap": 0.8}, "0..0.75"),
        ({"overlap": -0.1}, "0..0.75"),
        ({"side": 3, "cell": 4}, "at least 4 px"),
        ({"taper": "box"}, "hann, mean"),
    ],
)
def test_what_cannot_be_planned_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        plan_windows((10, 10), **{"side": 8, "overlap": 0.5} | values)
