"""Pictures of CAMs show every stage of every class that is present, and the labels that follow."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from rskt_seg.inference.cam_maps import cam_pictures
from rskt_seg.inference.cams import CamView
from rskt_seg.inference.windows import Window

COLORS = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (250, 0, 250)], np.uint8)


def share_of(picture, color, tolerance=2):
    return (abs(picture.astype(int) - np.array(color)) <= tolerance).all(axis=2).mean()


def heat(value):
    """The colour of a heat value drawn over black."""
    return np.array(matplotlib.colormaps["turbo"](value)[:3]) * 255 * 0.6


def levels(number, value, cells=(5, 6)):
    return np.full((number, *cells), value, np.float32)


def a_view(foreground=("ship", "harbor", "plane", "road"), present=("ship",), **changes):
    """A black tile of 40 x 48 px with one value for each stage, and a class id for each label map."""
    labels = np.zeros((40, 48), np.uint8)
    view = CamView(
        window=Window(8, 16, 40, 48),
        pixels=np.zeros((40, 48, 3), np.uint8),
        class_names=("background", *foreground),
        foreground=tuple(foreground),
        present=tuple(present),
        chosen_by="request",
        stride=8,
        initial=levels(1 + len(foreground), 0.25),
        refined=levels(1 + len(foreground), 0.5),
        final=levels(1 + len(foreground), 0.75),
        refines=True,
        compares=True,
        pseudo_labels=labels + 1,
        prediction=labels + 2,
    )
    return replace(view, **changes)


def test_the_three_stages_are_on_one_scale_from_0_to_1_and_equally_large():
    (picture,) = cam_pictures(a_view(), COLORS)
    shares = [share_of(picture, heat(value)) for value in (0.25, 0.5, 0.75)]
    assert picture.dtype == np.uint8 and min(shares) > 0.05 and max(shares) < 1.2 * min(shares)


def test_every_present_class_has_a_row_with_its_own_maps():
    one = share_of(cam_pictures(a_view(), COLORS)[0], heat(0.25))
    view = a_view(present=("ship", "plane"))
    view.initial[3] = 0.9
    (picture,) = cam_pictures(view, COLORS)
    first, second = share_of(picture, heat(0.25)), share_of(picture, heat(0.9))
    assert 0.8 < first / second < 1.25 and first < 0.8 * one  # one row in three, not in two
    assert share_of(picture, heat(0.75)) == pytest.approx(2 * first, rel=0.25)


def test_label_maps_are_in_the_colours_of_the_classes_and_the_truth_is_drawn_if_known():
    (plain,) = cam_pictures(a_view(), COLORS)
    assert share_of(plain, COLORS[1]) > 0.05 and share_of(plain, COLORS[2]) > 0.05
    assert share_of(plain, COLORS[3]) == 0  # no map and no legend has it
    (known,) = cam_pictures(a_view(truth=np.full((40, 48), 3, np.uint8)), COLORS)
    assert share_of(known, COLORS[3]) > 0.05


def test_the_truth_of_a_class_is_outlined_in_its_row():
    white = []
    for place in (1, 2):  # "ship", which has a row, and "harbor", which has none
        truth = np.zeros((40, 48), np.uint8)
        truth[10:30, 12:36] = place
        (picture,) = cam_pictures(a_view(truth=truth), COLORS)
        white.append(share_of(picture, (255, 255, 255), 30))
    assert white[0] - white[1] > 0.001


def test_what_hangs_over_the_tile_is_not_drawn():
    view = a_view(pixels=np.zeros((33, 48, 3), np.uint8), pseudo_labels=np.ones((33, 48), np.uint8))
    view.initial[1] = 0.1
    view.initial[1, 4] = 1.0  # 32 to 40 px, of which one row is in the tile
    (picture,) = cam_pictures(replace(view, prediction=view.pseudo_labels), COLORS)
    hot = (picture[:, :, 0].astype(int) - picture[:, :, 2] > 60) & (picture[:, :, 1] < 60)
    assert hot.mean() < 0.01


@pytest.mark.parametrize(("classes", "pages"), [(8, 1), (9, 2)])
def test_there_is_a_page_for_every_eight_classes(classes, pages):
    names = [f"class {t}" for t in range(classes)]
    colors = np.resize(COLORS, (classes + 1, 3))
    pictures = cam_pictures(a_view(names, names), colors)
    assert len(pictures) == pages
    rows = [picture.shape[0] for picture in pictures]
    assert all(rows[0] == each for each in rows[1:-1]) and rows[-1] <= rows[0]


@pytest.mark.parametrize("truth", [None, np.full((40, 48), 3, np.uint8)])
def test_without_any_class_the_labels_stand_beside_the_image(truth):
    (picture,) = cam_pictures(a_view(present=(), truth=truth), COLORS)
    assert picture.shape[1] > 3 * picture.shape[0]
    assert share_of(picture, COLORS[1]) > 0.08 and share_of(picture, COLORS[2]) > 0.08
    assert share_of(picture, heat(0.5)) == 0 and share_of(picture, (0, 0, 0)) > 0.08
    assert (share_of(picture, COLORS[3]) > 0.08) == (truth is not None)


def test_ignored_pixels_are_grey_and_names_may_hold_a_dollar_sign():
    view = a_view(("$ship$", "b$"), ("$ship$",), pseudo_labels=np.full((40, 48), 255, np.uint8))
    (picture,) = cam_pictures(view, COLORS[:3])
    assert share_of(picture, (225, 225, 225)) > 0.05


def test_large_and_thin_tiles_can_be_drawn():
    for shape in ((1, 1), (3, 700), (1500, 8)):
        labels = np.zeros(shape, np.uint8)
        cells = [-(-side // 8) for side in shape]
        maps = {stage: levels(5, 0.5, cells) for stage in ("initial", "refined", "final")}
        known = {"pseudo_labels": labels, "prediction": labels + 1, "truth": labels}
        (picture,) = cam_pictures(a_view(pixels=np.zeros((*shape, 3), np.uint8), **maps, **known), COLORS)
        assert min(picture.shape[:2]) > 100
