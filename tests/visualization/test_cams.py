"""Pictures of CAMs show every stage of every class that is present, and the labels that follow."""

from dataclasses import replace
from functools import partial

import matplotlib.axes
import numpy as np
import pytest

from rskt_seg.inference.cams import TileCams
from rskt_seg.visualization import draw_cams
from rskt_seg.windows import Window
from tests.visualization import pixels
from tests.visualization.pixels import heat

COLORS = np.array([(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (250, 0, 250)], np.uint8)
share_of = partial(pixels.share_of, tolerance=2)


def levels(number, value, cells=(5, 6)):
    return np.full((number, *cells), value, np.float32)


def a_view(foreground=("ship", "harbor", "plane", "road"), present=("ship",), **changes):
    """A black tile of 40 x 48 px with one value for each stage, and a class id for each label map."""
    labels, pixels = np.zeros((40, 48), np.uint8), changes.pop("pixels", np.zeros((40, 48, 3), np.uint8))
    view = TileCams(
        window=Window(8, 16, 40, 48),
        pixels=pixels,
        valid=np.ones(pixels.shape[:2], bool),
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


@pytest.fixture
def spied(monkeypatch):
    """`show(view)`: the headline of the picture, and its axes with titles, pictures and legend."""
    from rskt_seg.visualization import cams

    figures, real = [], cams.render
    monkeypatch.setattr(cams, "render", lambda figure: (figures.append(figure), real(figure))[1])

    def show(view):
        figures.clear()
        draw_cams(view, COLORS)
        (figure,) = figures
        axes = [axis for axis in figure.axes if isinstance(axis, matplotlib.axes.Axes)]
        return figure._suptitle.get_text(), axes

    return show


def legend_of(axes):
    """What the legend says: name -> colour."""
    (legend,) = [axis.get_legend() for axis in axes if axis.get_legend()]
    return {
        text.get_text().strip(): tuple(np.rint(np.array(patch.get_facecolor()[:3]) * 255).astype(int))
        for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
    }


def test_the_three_stages_are_on_one_scale_from_0_to_1_and_equally_large():
    (picture,) = draw_cams(a_view(), COLORS)
    shares = [share_of(picture, heat(value)) for value in (0.25, 0.5, 0.75)]
    assert picture.dtype == np.uint8 and min(shares) > 0.05 and max(shares) < 1.2 * min(shares)


def test_every_present_class_has_a_row_with_its_own_maps():
    one = share_of(draw_cams(a_view(), COLORS)[0], heat(0.25))
    view = a_view(present=("ship", "plane"))
    view.initial[3] = 0.9
    (picture,) = draw_cams(view, COLORS)
    first, second = share_of(picture, heat(0.25)), share_of(picture, heat(0.9))
    assert 0.8 < first / second < 1.25 and first < 0.8 * one  # one row in three, not in two
    assert share_of(picture, heat(0.75)) == pytest.approx(2 * first, rel=0.25)


def test_label_maps_are_in_the_colours_of_the_classes_and_the_truth_is_drawn_if_known():
    (plain,) = draw_cams(a_view(), COLORS)
    assert share_of(plain, COLORS[1]) > 0.05 and share_of(plain, COLORS[2]) > 0.05
    assert share_of(plain, COLORS[3]) == 0  # no map and no legend has it
    (known,) = draw_cams(a_view(truth=np.full((40, 48), 3, np.uint8)), COLORS)
    assert share_of(known, COLORS[3]) > 0.05


def test_the_truth_of_a_class_is_outlined_in_its_row():
    white = []
    for place in (1, 2):  # "ship", which has a row, and "harbor", which has none
        truth = np.zeros((40, 48), np.uint8)
        truth[10:30, 12:36] = place
        (picture,) = draw_cams(a_view(truth=truth), COLORS)
        white.append(share_of(picture, (255, 255, 255), tolerance=30))
    assert white[0] - white[1] > 0.001


def test_what_hangs_over_the_tile_is_not_drawn():
    view = a_view(pixels=np.zeros((33, 48, 3), np.uint8), pseudo_labels=np.ones((33, 48), np.uint8))
    view.initial[1] = 0.1
    view.initial[1, 4] = 1.0  # 32 to 40 px, of which one row is in the tile
    (picture,) = draw_cams(replace(view, prediction=view.pseudo_labels), COLORS)
    hot = (picture[:, :, 0].astype(int) - picture[:, :, 2] > 60) & (picture[:, :, 1] < 60)
    assert hot.mean() < 0.01


@pytest.mark.parametrize(("classes", "pages"), [(8, 1), (9, 2)])
def test_there_is_a_page_for_every_eight_classes(classes, pages):
    names = [f"class {t}" for t in range(classes)]
    colors = np.resize(COLORS, (classes + 1, 3))
    pictures = draw_cams(a_view(names, names), colors)
    assert len(pictures) == pages
    rows = [picture.shape[0] for picture in pictures]
    assert all(rows[0] == each for each in rows[1:-1]) and rows[-1] <= rows[0]


@pytest.mark.parametrize("truth", [None, np.full((40, 48), 3, np.uint8)])
def test_without_any_class_the_labels_stand_beside_the_image(truth):
    (picture,) = draw_cams(a_view(present=(), truth=truth), COLORS)
    assert picture.shape[1] > 3 * picture.shape[0]
    assert share_of(picture, COLORS[1]) > 0.08 and share_of(picture, COLORS[2]) > 0.08
    assert share_of(picture, heat(0.5)) == 0 and share_of(picture, (0, 0, 0)) > 0.08
    assert (share_of(picture, COLORS[3]) > 0.08) == (truth is not None)


def test_ignored_pixels_are_grey_and_names_may_hold_a_dollar_sign():
    view = a_view(("$ship$", "b$"), ("$ship$",), pseudo_labels=np.full((40, 48), 255, np.uint8))
    (picture,) = draw_cams(view, COLORS[:3])
    assert share_of(picture, (225, 225, 225)) > 0.05


def test_large_and_thin_tiles_can_be_drawn():
    for shape in ((1, 1), (3, 700), (1500, 8)):
        labels = np.zeros(shape, np.uint8)
        cells = [-(-side // 8) for side in shape]
        maps = {stage: levels(5, 0.5, cells) for stage in ("initial", "refined", "final")}
        known = {"pseudo_labels": labels, "prediction": labels + 1, "truth": labels}
        (picture,) = draw_cams(a_view(pixels=np.zeros((*shape, 3), np.uint8), **maps, **known), COLORS)
        assert min(picture.shape[:2]) > 100


HIDDEN = (7, 120, 60)


def half_a_view(**changes):
    """The view without data in its right half, whose pixels have a colour of their own in the file."""
    view = a_view(truth=np.full((40, 48), 3, np.uint8), **changes)
    view.pixels[:, 24:], view.valid[:, 24:] = HIDDEN, False
    for labels in (view.pseudo_labels, view.prediction, view.truth):
        labels[:, 24:] = 255
    return view


def test_where_there_are_no_data_the_image_is_as_it_is_and_nothing_is_painted_over_it():
    (whole,), (half,) = (
        draw_cams(a_view(truth=half_a_view().truth), COLORS),
        draw_cams(half_a_view(), COLORS),
    )
    for value in (0.25, 0.5, 0.75):
        assert share_of(half, heat(value)) == pytest.approx(share_of(whole, heat(value)) / 2, rel=0.1)
    # As much of it as is black: the image, three heat maps over it, and the image again would make it more.
    covered = sum(share_of(half, heat(value)) for value in (0.25, 0.5, 0.75)) + share_of(half, (0, 0, 0))
    assert share_of(half, HIDDEN) == pytest.approx(covered, rel=0.15)


def test_where_there_are_no_data_label_maps_are_empty_and_the_legend_says_so(spied):
    _, axes = spied(half_a_view())
    titles = {axis.get_title().split(",")[0]: axis.images[-1] for axis in axes if axis.images}
    for title, place in (("Ground truth", 3), ("Pseudo label", 1), ("Prediction", 2)):
        shown = np.asarray(titles[title].get_array())
        assert (shown[:, :24] == COLORS[place]).all() and (shown[:, 24:] == 255).all()
    frames = [patch.get_bbox().bounds for axis in axes for patch in axis.patches]
    assert frames == [(0, 0, 48, 40)] * 3  # else an empty side would look like a smaller map
    legend = legend_of(axes)
    assert list(legend) == ["ship", "harbor", "plane", "no data"] and legend["no data"] == (255, 255, 255)


def test_a_truth_that_is_not_labelled_is_another_thing_than_no_data(spied):
    view = half_a_view()
    view.truth[:20] = 255
    _, axes = spied(view)
    legend = legend_of(axes)
    assert list(legend) == ["ship", "harbor", "plane", "no class", "no data"]
    (truth,) = [axis.images[-1] for axis in axes if axis.get_title() == "Ground truth"]
    assert tuple(np.asarray(truth.get_array())[0, 0]) == legend["no class"] != legend["no data"]
    view.valid[:] = True
    assert "no data" not in legend_of(spied(view)[1])


@pytest.mark.parametrize("present", [(), ("ship", "plane")])
def test_a_tile_without_data_says_so_and_has_no_row_of_heat(spied, present):
    empty = np.full((40, 48), 255, np.uint8)
    nothing = {"valid": np.zeros((40, 48), bool), "prediction": empty, "pseudo_labels": empty}
    view = a_view(present=present, chosen_by="prediction", **nothing)
    headline, axes = spied(view)
    assert headline == "No data in this tile; rows 8 to 47, columns 16 to 63"
    assert {axis.get_title() for axis in axes} == {"Image", "Pseudo label", "Prediction", ""}
    assert list(legend_of(axes)) == ["no data"]


def test_every_stage_stands_under_its_own_title(spied):
    _, axes = spied(a_view(refines=False))
    drawn = {axis.get_title(): axis.images[-1] for axis in axes if axis.get_title() and axis.images}
    for title, value in (("Initial CAM", 0.25), ("After USR (off)", 0.5), ("After VPE", 0.75)):
        assert (drawn[title].get_array() == value).all()
        assert tuple(drawn[title].get_extent()) == (0, 48, 40, 0)


def test_label_maps_stand_under_their_titles_with_the_share_of_scored_pixels_that_is_right(spied):
    truth = np.ones((40, 48), np.uint8)
    truth[:20] = 255  # not labelled: right and wrong alike
    labels = np.ones((40, 48), np.uint8)
    labels[30:] = 255  # ignored by the pseudo label
    labels[20:25] = 2
    _, axes = spied(a_view(truth=truth, pseudo_labels=labels))
    titles = {axis.get_title(): axis.images[-1] for axis in axes if axis.get_title() and axis.images}
    assert {"Ground truth", "Pseudo label, 50% right", "Prediction, 0% right"} <= set(titles)
    # The prediction is 2 throughout: one colour, another than that of the pseudo label.
    for title, classes in (("Prediction, 0% right", [2]), ("Ground truth", [1])):
        shown = np.unique(np.asarray(titles[title].get_array())[-1].reshape(-1, 3), axis=0)
        assert np.array_equal(shown, COLORS[classes])


def test_the_headline_says_which_classes_from_where_and_which_part_of_the_image(spied):
    text, _ = spied(a_view(present=("ship", "plane"), chosen_by="truth"))
    assert text == (
        "Image-level label: ship, plane (the classes of the ground truth); rows 8 to 47, columns 16 to 63"
    )
    text, _ = spied(a_view(present=(), chosen_by="prediction"))
    assert text.startswith("Image-level label: no class (the classes of the prediction); rows 8 to 47")


def test_the_legend_names_the_classes_that_are_shown_or_present_and_no_other(spied):
    _, axes = spied(a_view(present=("plane",)))
    (legend,) = [axis.get_legend() for axis in axes if axis.get_legend()]
    assert [text.get_text().strip() for text in legend.get_texts()] == ["ship", "harbor", "plane"]
