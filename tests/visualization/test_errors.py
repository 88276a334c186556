"""Pictures of errors mark what is wrong, and nothing else."""

import numpy as np
import pytest

from rskt_seg.visualization import draw_errors
from tests.visualization.pixels import share_of

RED, BLUE = (214, 39, 40), (31, 80, 210)
DARK = np.ones((60, 60, 3), np.uint8)


def test_of_two_classes_the_second_has_its_false_positives_red_and_negatives_blue():
    truth = np.zeros((60, 60), np.uint8)
    truth[:, 30:] = 1
    found = draw_errors(DARK, np.ones_like(truth), truth, ("background", "building"))
    missed = draw_errors(DARK, np.zeros_like(truth), truth, ("background", "building"))
    assert share_of(found, RED) > 0.3 and share_of(missed, BLUE) > 0.3
    for picture, other in ((found, BLUE), (missed, RED)):
        assert share_of(picture, other) < 0.02  # the legend alone


def test_right_and_unscored_pixels_have_no_error():
    truth = np.random.default_rng(0).integers(0, 4, (60, 60)).astype(np.uint8)
    names = ("a", "b", "c", "d")
    legend = share_of(draw_errors(DARK, truth, truth, names), RED)
    assert legend < 0.01
    nothing = np.full_like(truth, 255)
    for labels, other in ((truth, nothing), (nothing, truth)):
        assert share_of(draw_errors(DARK, labels, other, names), RED) < 0.02


def test_of_several_classes_each_that_occurs_has_its_panel_after_one_for_all():
    truth = np.zeros((60, 60), np.uint8)
    labels = truth.copy()
    labels[:20] = 2
    picture = draw_errors(DARK, labels, truth, ("a", "b", "c", "d"))
    # All: 20 rows red. a: 20 rows blue. c: 20 rows red. b and d occur in neither map.
    assert 1.8 < share_of(picture, RED) / share_of(picture, BLUE) < 2.2
    every = draw_errors(DARK, (labels + np.arange(60)) % 4, truth, ("a", "b", "c", "d"))
    assert every.shape[0] > 1.5 * picture.shape[0]


@pytest.mark.parametrize("size", [(1, 1), (2475, 71), (3, 200)])
def test_errors_of_images_of_any_shape_are_drawn(size):
    labels = np.random.default_rng(1).integers(0, 3, size).astype(np.uint8)
    picture = draw_errors(np.zeros((*size, 3), np.uint8), labels, (labels + 1) % 3, ("a $b_{$", "c", "d"))
    assert picture.shape[2] == 3 and share_of(picture, RED) > 0.01
