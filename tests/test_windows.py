import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError
from rskt_seg.inference.blend import blend, blend_bands
from rskt_seg.windows import Window, sliding_sizes, sliding_stride, window_grid, window_starts

SIDES = st.integers(1, 40)


@st.composite
def grids(draw):
    height, width, size = draw(SIDES), draw(SIDES), draw(st.integers(1, 16))
    return height, width, size, draw(st.integers(1, size))


@given(grids())
def test_windows_cover_every_pixel_and_stay_inside(grid):
    height, width, size, _ = grid
    hits = np.zeros((height, width), int)
    for window in window_grid(*grid):
        assert window.height == min(size, height) and window.width == min(size, width)
        assert 0 <= window.top <= height - window.height and 0 <= window.left <= width - window.width
        hits[window.rows, window.columns] += 1
    assert hits.min() >= 1


@given(grids())
def test_steps_are_the_stride_except_the_last_which_is_shorter(grid):
    length, _, size, stride = grid
    steps = np.diff(window_starts(length, size, stride))
    assert (steps[:-1] == stride).all() and (steps[-1:] <= stride).all() and (steps > 0).all()


def test_the_published_grid_is_four_windows_of_384_with_a_step_of_256():
    assert sliding_stride(384) == 256
    assert window_grid(640, 640, 384, 256) == (
        Window(0, 0, 384, 384),
        Window(0, 256, 384, 384),
        Window(256, 0, 384, 384),
        Window(256, 256, 384, 384),
    )


def test_sliding_sizes_are_published_for_both_full_models_and_scale_for_others():
    assert sliding_sizes(384) == sliding_sizes(336) == (384, 640)
    assert sliding_sizes(96) == (96, 160)
    assert len(window_grid(160, 160, 96, sliding_stride(96))) == 4


@pytest.mark.parametrize(("length", "size", "stride"), [(10, 4, 0), (10, 4, 5), (0, 4, 2)])
def test_a_grid_that_would_leave_gaps_is_refused(length, size, stride):
    with pytest.raises(ConfigError, match="stride"):
        window_starts(length, size, stride)


def naive_blend(tiles, classes, height, width):
    total, count = torch.zeros(classes, height, width), torch.zeros(height, width)
    for window, scores in tiles:
        total[:, window.rows, window.columns] += scores
        count[window.rows, window.columns] += 1
    return total / count


@given(grids(), st.integers(1, 3))
def test_blending_is_the_mean_of_all_windows_over_a_pixel(grid, classes):
    height, width, *_ = grid
    generator = torch.Generator().manual_seed(height * 41 + width)
    tiles = [
        (window, torch.rand(classes, window.height, window.width, generator=generator))
        for window in window_grid(*grid)
    ]
    blended = blend(tiles, width)
    torch.testing.assert_close(blended, naive_blend(tiles, classes, height, width), rtol=0, atol=1e-6)


@given(grids())
def test_cutting_a_map_and_blending_it_again_changes_nothing(grid):
    height, width, *_ = grid
    whole = torch.arange(height * width, dtype=torch.float32).view(1, height, width)
    tiles = [(window, whole[:, window.rows, window.columns]) for window in window_grid(*grid)]
    assert torch.equal(blend(tiles, width), whole)


@given(grids())
def test_bands_come_in_order_and_are_no_taller_than_a_window(grid):
    height, width, size, _ = grid
    tiles = ((window, torch.ones(1, window.height, window.width)) for window in window_grid(*grid))
    row = 0
    for top, band in blend_bands(tiles, width):
        assert top == row and 1 <= band.shape[1] <= size
        row += band.shape[1]
    assert row == height


def test_a_band_is_not_changed_by_the_windows_after_it():
    tiles = [(w, torch.ones(1, 4, 4)) for w in window_grid(12, 4, 4, 2)]
    bands = [band for _, band in blend_bands(tiles, 4)]
    assert all(torch.equal(band, torch.ones_like(band)) for band in bands)


@pytest.mark.parametrize(
    "windows",
    [
        [Window(0, 0, 4, 3)],
        [Window(0, 0, 4, 4), Window(5, 0, 4, 4)],
        [Window(2, 0, 4, 4), Window(0, 0, 4, 4)],
    ],
)
def test_windows_with_gaps_or_out_of_order_are_refused(windows):
    with pytest.raises(ValueError, match=r"uncovered|row by row"):
        blend([(w, torch.ones(1, w.height, w.width)) for w in windows], 4)
