"""Areas of a mask at the border of an image, which is seen some rows at a time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from rskt_seg.geo.areas import BorderAreas


@st.composite
def masks(draw):
    """(H, W) bool with areas of many shapes, also such as join again in a later row."""
    shape = draw(st.integers(1, 25)), draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    return rng.random(shape) < draw(st.sampled_from([0.1, 0.45, 0.6, 0.8, 1.0]))


@given(masks(), st.integers(1, 25))
def test_the_pixels_of_areas_at_the_border_are_counted_whatever_the_number_of_rows_at_a_time(mask, rows):
    numbers, _ = ndimage.label(mask)
    border = {*numbers[0], *numbers[-1], *numbers[:, 0], *numbers[:, -1]} - {0}
    areas = BorderAreas(*mask.shape)
    for start in range(0, len(mask), rows):
        areas.add(mask[start : start + rows])
    assert areas.pixels == np.isin(numbers, list(border)).sum()
