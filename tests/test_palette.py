"""Class colours are distinct, stable, and unlike the greys that stand for something else."""

import cv2
import numpy as np
import pytest

from rskt_seg.palette import palette, to_lab
from rskt_seg.visualization.figures import UNLABELLED_COLOR


def lab_of(colors):
    """CIELAB by OpenCV, which agrees with the definition to 0.3."""
    return cv2.cvtColor(np.float32(colors)[None] / 255, cv2.COLOR_RGB2Lab)[0]


def least_distance(colors):
    lab = lab_of(colors)
    return (np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(len(lab))).min()


def test_shorter_palettes_begin_longer_ones():
    assert np.array_equal(palette(40)[:17], palette(17)) and palette(17).dtype == np.uint8
    assert palette(1).shape == (1, 3) and palette(0).shape == (0, 3)


def test_colours_repeat_once_all_are_used():
    colors = palette(5000)
    assert colors.shape == (5000, 3) and len(np.unique(colors, axis=0)) == 2701
    assert np.array_equal(colors[2701:], colors[: 5000 - 2701])


@pytest.mark.parametrize(("number", "least"), [(8, 55), (17, 35), (60, 18), (100, 14), (256, 9)])
def test_colours_are_far_from_each_other_and_from_grey(number, least):
    colors = palette(number)
    assert least_distance(colors) > least
    assert np.hypot(*lab_of(colors).T[1:]).min() > 25
    assert np.linalg.norm(lab_of(colors) - lab_of(UNLABELLED_COLOR[None]), axis=1).min() > 25


def test_lab_has_the_known_values_of_white_black_and_red():
    lab = to_lab(np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.uint8))
    np.testing.assert_allclose(lab, [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]], atol=0.02)


def test_lab_is_that_of_opencv():
    colors = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)
    np.testing.assert_allclose(to_lab(colors), lab_of(colors), atol=0.5)
