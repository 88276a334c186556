import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from rskt_seg.palette import palette, to_lab
from rskt_seg.visualization.figures import NOTHING
from rskt_seg.visualization.labels import colorize, label_picture, legend, overlay
from rskt_seg.visualization.maps import cost_picture

NAMES = ("building", "low vegetation", "water")
COLORS = palette(3)


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def labels(height, width, classes=3):
    return np.random.default_rng(1).integers(0, classes, (height, width)).astype(np.uint8)


def share_of(picture, color):
    return (picture == color).all(axis=2).mean()


def test_a_class_keeps_its_colour_whatever_the_number_of_classes():
    assert np.array_equal(palette(40)[:17], palette(17)) and palette(17).dtype == np.uint8
    assert palette(5000).shape == (5000, 3)


@pytest.mark.parametrize(("number", "least"), [(8, 40), (17, 25), (60, 12)])
def test_colours_are_far_from_each_other_and_from_grey(number, least):
    lab = to_lab(palette(number))
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(number)
    assert distance.min() > least
    assert np.hypot(lab[:, 1], lab[:, 2]).min() > 25


@pytest.mark.parametrize("place", [0, 7, 19])
def test_a_background_is_grey_and_far_from_every_class_and_from_no_class_and_all_others_keep_theirs(place):
    plain, colors = palette(20), palette(20, background=place)
    others = np.arange(20) != place
    assert np.ptp(colors[place]) == 0 and np.array_equal(colors[others], plain[others])
    lab = to_lab(np.concatenate([colors, NOTHING[None], [[255] * 3, [0] * 3]]).astype(np.uint8))
    distance = np.linalg.norm(lab - lab[place], axis=1)
    assert np.delete(distance, place).min() > 25


def test_lab_has_the_known_values_of_white_black_and_red():
    lab = to_lab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    np.testing.assert_allclose(lab, [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]], atol=0.02)


def test_each_id_is_drawn_in_its_colour_and_nodata_in_grey():
    picture = colorize(np.array([[0, 2, 255]], np.uint8), COLORS)
    assert np.array_equal(picture[0, :2], COLORS[[0, 2]]) and np.ptp(picture[0, 2]) == 0


def test_an_overlay_mixes_image_and_class_colour_inside_a_class():
    photo, ids = image(600, 20), np.full((600, 20), 1, np.uint8)
    mixed = overlay(photo, ids, COLORS, alpha=0.25)
    assert abs(mixed - (photo * 0.75 + COLORS[1] * 0.25)).max() <= 0.51
    assert np.array_equal(overlay(photo, ids, COLORS, alpha=0), photo)


def test_an_overlay_shows_class_borders_in_full_colour_and_nodata_as_the_image():
    photo, ids = image(8, 9), np.zeros((8, 9), np.uint8)
    ids[:, 5:] = 255
    mixed = overlay(photo, ids, COLORS)
    assert np.array_equal(mixed[:, 5:], photo[:, 5:])
    assert (mixed[:, 4] == COLORS[0]).all() and not (mixed[:, 3] == COLORS[0]).all()


def test_an_overlay_leaves_the_background_clear_and_outlines_what_stands_before_it_on_all_sides():
    photo, ids = image(12, 14), np.full((12, 14), 1, np.uint8)
    ids[3:8, 4:10] = 2
    mixed = overlay(photo, ids, COLORS, background=1)
    assert np.array_equal(mixed[ids == 1], photo[ids == 1])
    outline = ids == 2
    outline[4:7, 5:9] = False
    assert (mixed[outline] == COLORS[2]).all()
    assert abs(mixed[4:7, 5:9] - (photo[4:7, 5:9] * 0.55 + COLORS[2] * 0.45)).max() <= 0.51


@pytest.mark.parametrize("size", [(60, 80), (1, 1), (2475, 71), (1, 300), (3, 2)])
def test_a_label_picture_of_any_shape_has_its_colours(size):
    picture = label_picture(labels(*size), COLORS, NAMES, image=image(*size))
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and min(picture.shape[:2]) > 100
    assert all(share_of(picture, color) > 0 for color in COLORS)


def test_errors_are_red_where_prediction_and_truth_differ_and_nowhere_else():
    red = (214, 39, 40)
    truth = labels(60, 60)
    right = label_picture(truth, COLORS, NAMES, truth=truth)
    wrong = label_picture((truth + 1) % 3, COLORS, NAMES, truth=truth)
    assert share_of(right, red) == 0 and share_of(wrong, red) > 0.15
    nothing = label_picture((truth + 1) % 3, COLORS, NAMES, truth=np.full_like(truth, 255))
    assert share_of(nothing, red) == 0


def test_the_legend_lists_only_what_occurs_once_classes_are_many():
    few = label_picture(np.zeros((40, 40), np.uint8), palette(41), [f"class {k}" for k in range(41)])
    all_listed = label_picture(np.zeros((40, 40), np.uint8), palette(40), [f"class {k}" for k in range(40)])
    assert share_of(few, palette(41)[7]) == 0 < share_of(all_listed, palette(40)[7])


def test_names_are_drawn_as_they_are():
    plain = legend(["a $b_{$ c^"], COLORS[:1])  # as a formula it would be an error
    assert plain.shape[0] > 20 and share_of(plain, COLORS[0]) > 0
    assert legend([f"class {k}" for k in range(90)], palette(90)).shape[1] > legend(NAMES, COLORS).shape[1]


@pytest.mark.parametrize("classes", [1, 8, 9])
def test_cost_maps_show_high_and_low_costs_of_every_row(classes):
    maps = [np.zeros((classes, 6, 6)) for _ in range(3)]
    for costs in maps:
        costs[:, 3:] = 1
    names = [f"class {k}" for k in range(classes)]
    picture = cost_picture(image(50, 50), maps, ["CLIP", "DINO", "Fused"], names)
    lowest, highest = (matplotlib.colormaps["viridis"](end, bytes=True)[:3] for end in (0.0, 1.0))
    assert share_of(picture, lowest) > 0.05 and share_of(picture, highest) > 0.05


def test_importing_the_package_loads_neither_matplotlib_nor_rasterio():
    code = (
        "import sys, rskt_seg.visualization.labels, rskt_seg.geo, rskt_seg.segmenter;"
        "import rskt_seg.commands.segment;"
        "print([m for m in ('matplotlib', 'rasterio', 'detectron2', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
