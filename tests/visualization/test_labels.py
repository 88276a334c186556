"""Overlays, label maps and legends show every class in its colour."""

import numpy as np
import pytest

from rskt_seg.palette import palette
from rskt_seg.visualization import colorize, draw_labels, draw_legend, draw_overlay
from tests.visualization.pixels import share_of

NAMES = ("building", "low vegetation", "water")
COLORS = palette(3)


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def labels(height, width, classes=3):
    return np.random.default_rng(1).integers(0, classes, (height, width)).astype(np.uint8)


def test_each_id_is_drawn_in_its_colour_and_nodata_in_grey():
    picture = colorize(np.array([[0, 2, 255]], np.uint8), COLORS)
    assert np.array_equal(picture[0, :2], COLORS[[0, 2]]) and np.ptp(picture[0, 2]) == 0


def test_an_overlay_mixes_image_and_class_colour_inside_a_class():
    photo, ids = image(600, 20), np.full((600, 20), 1, np.uint8)
    mixed = draw_overlay(photo, ids, COLORS, alpha=0.25)
    assert abs(mixed - (photo * 0.75 + COLORS[1] * 0.25)).max() <= 0.51
    assert np.array_equal(draw_overlay(photo, ids, COLORS, alpha=0), photo)


def test_an_overlay_shows_class_borders_in_full_colour_and_nodata_as_the_image():
    photo, ids = image(8, 9), np.zeros((8, 9), np.uint8)
    ids[:, 5:] = 255
    mixed = draw_overlay(photo, ids, COLORS)
    assert np.array_equal(mixed[:, 5:], photo[:, 5:])
    assert (mixed[:, 4] == COLORS[0]).all() and not (mixed[:, 3] == COLORS[0]).all()


def test_an_overlay_leaves_the_background_clear_and_outlines_what_stands_before_it_on_all_sides():
    photo, ids = image(12, 14), np.full((12, 14), 1, np.uint8)
    ids[3:8, 4:10] = 2
    mixed = draw_overlay(photo, ids, COLORS, background=1)
    assert np.array_equal(mixed[ids == 1], photo[ids == 1])
    outline = ids == 2
    outline[4:7, 5:9] = False
    assert (mixed[outline] == COLORS[2]).all()
    assert abs(mixed[4:7, 5:9] - (photo[4:7, 5:9] * 0.55 + COLORS[2] * 0.45)).max() <= 0.51


@pytest.mark.parametrize("size", [(60, 80), (1, 1), (2475, 71), (1, 300), (3, 2)])
def test_a_label_picture_of_any_shape_has_its_colours(size):
    picture = draw_labels(image(*size), labels(*size), NAMES, COLORS)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and min(picture.shape[:2]) > 100
    assert all(share_of(picture, color) > 0 for color in COLORS)


def test_errors_are_red_where_prediction_and_truth_differ_and_nowhere_else():
    red = (214, 39, 40)
    truth = labels(60, 60)
    right = draw_labels(None, truth, NAMES, COLORS, truth=truth)
    wrong = draw_labels(None, (truth + 1) % 3, NAMES, COLORS, truth=truth)
    assert share_of(right, red) == 0 and share_of(wrong, red) > 0.15
    nothing = draw_labels(None, (truth + 1) % 3, NAMES, COLORS, truth=np.full_like(truth, 255))
    assert share_of(nothing, red) == 0


def test_the_legend_lists_only_what_occurs_once_classes_are_many():
    ids, names = np.zeros((40, 40), np.uint8), [f"class {k}" for k in range(41)]
    few = draw_labels(None, ids, names, palette(41))
    all_listed = draw_labels(None, ids, names[:40], palette(40))
    assert share_of(few, palette(41)[7]) == 0 < share_of(all_listed, palette(40)[7])


def test_the_legend_says_what_pixels_of_no_class_are():
    ids = labels(60, 60)
    ids[:30] = 255
    named = [draw_labels(None, ids, NAMES, COLORS, unlabelled=name) for name in ("no data", "not seen")]
    assert not np.array_equal(*named)


def test_names_are_drawn_as_they_are():
    plain = draw_legend(["a $b_{$ c^"], COLORS[:1])  # as a formula it would be an error
    assert plain.shape[0] > 20 and share_of(plain, COLORS[0]) > 0
    assert (
        draw_legend([f"class {k}" for k in range(90)], palette(90)).shape[1]
        > draw_legend(NAMES, COLORS).shape[1]
    )
