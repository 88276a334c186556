"""Pictures of heatmaps, contexts and errors show what they are given, and nothing else."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from rskt_seg.inference.context_maps import ContextView, PatchContexts
from rskt_seg.visualization.maps import context_picture, error_picture, heatmap_pictures
from rskt_seg.windows import Window

RED, BLUE = (214, 39, 40), (31, 80, 210)
BLACK = np.zeros((50, 60, 3), np.uint8)


def share_of(picture, color, tolerance=0):
    return (abs(picture.astype(int) - np.array(color)) <= tolerance).all(axis=2).mean()


def heat(value):
    """The colour of a heat value drawn over black."""
    return np.array(matplotlib.colormaps["turbo"](value)[:3]) * 255 * 0.6


@pytest.mark.parametrize(("classes", "pages"), [(2, 1), (8, 1), (9, 2), (17, 3)])
def test_there_is_a_page_of_heatmaps_for_every_eight_classes(classes, pages):
    names = [f"class {t}" for t in range(classes)]
    pictures = heatmap_pictures(BLACK, np.full((2, classes, 13, 15), 0.5, np.float32), names)
    assert len(pictures) == pages
    assert all(picture.dtype == np.uint8 and min(picture.shape[:2]) > 100 for picture in pictures)


def test_all_heatmaps_share_the_scale_from_0_to_1():
    maps = np.full((1, 3, 10, 10), 0.25, np.float32)
    maps[:, 2] = 0.75
    (picture,) = heatmap_pictures(BLACK, maps, ["a", "b", "c"])
    low, high = share_of(picture, heat(0.25), 2), share_of(picture, heat(0.75), 2)
    assert low > 0.05 and high > 0.05 and 1.8 < low / high < 2.2


def test_every_page_shows_its_own_classes():
    maps = np.full((1, 10, 10, 10), 0.25, np.float32)
    maps[:, 8:] = 0.75
    first, second = heatmap_pictures(BLACK, maps, [f"class {t}" for t in range(10)])
    assert share_of(first, heat(0.25), 2) > 0.3 and share_of(second, heat(0.75), 2) > 0.3
    assert share_of(first, heat(0.75), 2) < 0.01 and share_of(second, heat(0.25), 2) < 0.01


def test_of_two_classes_the_second_has_its_false_positives_red_and_negatives_blue():
    truth = np.zeros((60, 60), np.uint8)
    truth[:, 30:] = 1
    found = error_picture(
        np.ones_like(truth), truth, ("background", "building"), np.ones((60, 60, 3), np.uint8)
    )
    missed = error_picture(
        np.zeros_like(truth), truth, ("background", "building"), np.ones((60, 60, 3), np.uint8)
    )
    assert share_of(found, RED) > 0.3 and share_of(missed, BLUE) > 0.3
    for picture, other in ((found, BLUE), (missed, RED)):
        assert share_of(picture, other) < 0.02  # the legend alone


def test_right_and_unscored_pixels_have_no_error():
    truth = np.random.default_rng(0).integers(0, 4, (60, 60)).astype(np.uint8)
    names = ("a", "b", "c", "d")
    image = np.ones((60, 60, 3), np.uint8)
    legend = share_of(error_picture(truth, truth, names, image), RED)
    assert legend < 0.01
    nothing = np.full_like(truth, 255)
    for labels, other in ((truth, nothing), (nothing, truth)):
        assert share_of(error_picture(labels, other, names, image), RED) < 0.02


def test_of_several_classes_each_that_occurs_has_its_panel_after_one_for_all():
    truth = np.zeros((60, 60), np.uint8)
    labels = truth.copy()
    labels[:20] = 2
    image = np.ones((60, 60, 3), np.uint8)
    picture = error_picture(labels, truth, ("a", "b", "c", "d"), image)
    # All: 20 rows red. a: 20 rows blue. c: 20 rows red. b and d occur in neither map.
    assert 1.8 < share_of(picture, RED) / share_of(picture, BLUE) < 2.2
    every = error_picture((labels + np.arange(60)) % 4, truth, ("a", "b", "c", "d"), image)
    assert every.shape[0] > 1.5 * picture.shape[0]


@pytest.mark.parametrize("size", [(1, 1), (2475, 71), (3, 200)])
def test_errors_of_images_of_any_shape_are_drawn(size):
    labels = np.random.default_rng(1).integers(0, 3, size).astype(np.uint8)
    picture = error_picture(labels, (labels + 1) % 3, ("a $b_{$", "c", "d"), np.zeros((*size, 3), np.uint8))
    assert picture.shape[2] == 3 and share_of(picture, RED) > 0.01


def contexts(weight=0.5, attention=0.2):
    pixels = np.zeros((32, 32, 3), np.uint8)
    window = Window(10, 12, 30, 30)
    attended, weighed = np.full((4, 4), attention, np.float32), np.full((4, 4), weight, np.float32)
    local = ContextView(window, pixels, attended, weighed)
    around = ContextView(Window(-5, -3, 60, 60), pixels, attended, weighed)
    enhancement = {3: np.full((4, 4), 0.1, np.float32), 5: np.full((4, 4), 0.4, np.float32)}
    return PatchContexts(
        window, (20, 25), (1, 1), (-0.5, 1.5), {"local": local, "medium": around}, enhancement
    )


def test_a_context_picture_boxes_the_patch_and_its_contexts():
    picture = context_picture(BLACK, contexts())
    for color in ((255, 212, 0), (0, 213, 255)):
        assert share_of(picture, color) > 1e-3
    assert share_of(picture, (255, 79, 216)) == 0  # there is no large context


def test_each_row_of_a_context_picture_has_a_scale_of_its_own():
    picture = context_picture(BLACK, contexts())
    top, quarter = share_of(picture, heat(1.0), 2), share_of(picture, heat(0.25), 2)
    # At the top: two maps of attention, two of weights, one of enhancement; a quarter of it: the other.
    assert 3.5 < top / quarter < 6.5


def test_rows_that_a_model_lacks_are_left_out():
    maps = contexts()
    full = context_picture(BLACK, maps)
    fewer = context_picture(BLACK, replace(maps, enhancement={}))
    bare = {name: replace(view, weight=None) for name, view in maps.contexts.items()}
    least = context_picture(BLACK, replace(maps, enhancement={}, contexts=bare))
    assert full.shape[0] > 1.2 * fewer.shape[0] > 1.2 * 1.2 * least.shape[0]
