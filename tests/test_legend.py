"""Legends of label maps."""

import numpy as np
import pytest

from rskt_seg.class_colors import class_colors
from rskt_seg.errors import LabelError
from rskt_seg.legend import Legend, LegendEntry
from rskt_seg.palette import palette


def entry(number):
    return LegendEntry(number, f"class {number}", (1, 2, 3))


def test_classes_are_numbered_from_zero_and_keep_their_colours():
    legend = Legend.of(["water", "road"], palette(2))
    assert [(each.id, each.name) for each in legend.entries] == [(0, "water"), (1, "road")]
    assert [each.color for each in legend.entries] == [tuple(color) for color in palette(2).tolist()]


def test_without_colours_the_names_decide():
    assert [each.color for each in Legend.of(["water", "x"]).entries] == class_colors(["water", "x"])


@pytest.mark.parametrize(("last", "dtype", "nodata"), [(254, np.uint8, 255), (255, np.uint16, 65535)])
def test_the_highest_id_decides_the_type_so_that_nodata_stays_free(last, dtype, nodata):
    legend = Legend((entry(3), entry(last)))
    assert legend.dtype is dtype
    assert legend.nodata == nodata


@pytest.mark.parametrize("ids", [(), (1, 0), (0, 0), (-1,), (65535,)])
def test_ids_that_no_map_can_hold_are_refused(ids):
    with pytest.raises(LabelError):
        Legend(tuple(map(entry, ids)))


def test_every_name_needs_a_colour():
    with pytest.raises(LabelError, match="2 and 1"):
        Legend.of(["a", "b"], palette(1))
