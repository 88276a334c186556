"""Colours of classes: what people expect, told apart, and the same in every vocabulary."""

from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.class_colors import LEAST_DISTANCE, NO_CLASS, class_colors, no_class_color
from rskt_seg.data import SPLITS
from rskt_seg.natural_colors import BACKGROUND, NATURAL, natural_color
from rskt_seg.palette import palette

CLASS_SETS = {split.class_set.name: split.class_set.names for split in SPLITS}
UNMEANT = [NO_CLASS, (255, 255, 255), (0, 0, 0)]
NAMES = sorted({name for names in CLASS_SETS.values() for name in names} | {f"thing {k}" for k in range(9)})


def lab_of(colors):
    """CIELAB by OpenCV, in place of the package's own."""
    return cv2.cvtColor(np.float32(colors)[None] / 255, cv2.COLOR_RGB2Lab)[0]


def least_distance(colors):
    lab = lab_of(colors)
    return (np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(len(lab))).min()


def is_told_apart(colors):
    """Whether all colours keep their distance from each other and from those that mean no class."""
    lab = lab_of([*colors, *UNMEANT])
    distance = np.linalg.norm(lab[: len(colors), None] - lab[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return not len(colors) or distance.min() > LEAST_DISTANCE - 0.5


def hue(color):
    return cv2.cvtColor(np.uint8([[color]]), cv2.COLOR_RGB2HSV)[0, 0] * [2, 1, 1]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("water", 190, 250), ("sea", 190, 250), ("tree", 90, 150), ("grass", 70, 130), ("forest", 90, 170),
     ("low vegetation", 70, 150), ("bare soil", 15, 45), ("sand", 15, 55), ("building", 0, 15)],
)  # fmt: skip
def test_land_cover_has_the_hue_that_people_expect(name, low, high):
    degrees, saturation, _ = hue(natural_color(name))
    assert low <= degrees <= high and saturation > 60


@pytest.mark.parametrize("name", ["road", "pavement", "impervious surface", "background", "clutter", "other"])
def test_what_is_sealed_and_what_is_no_object_is_grey(name):
    assert hue(natural_color(name))[1] < 25


def test_trees_are_darker_than_grass_and_the_sea_than_a_river():
    lightness = {name: lab_of([natural_color(name)])[0, 0] for name in ("tree", "grass", "sea", "river")}
    assert lightness["tree"] + 20 < lightness["grass"] and lightness["sea"] + 20 < lightness["river"]


@pytest.mark.parametrize(
    "names",
    [
        ("car", "Cars", "small red car", "parked cars at night"),
        ("low vegetation", "Low_Vegetation", "low-vegetation", "LowVegetation"),
        ("storage tank", "tanks", "oil tank", "white storage tanks"),
        ("paved road", "road", "ROADS", "road with trees", "road surface"),
        ("background", "Clutter/background", "Background clutter", "not building", "non-water"),
        ("forest", "forest land", "forested area forest"),
        ("harbor", "Harbours", "dock"),
        ("field", "field of wheat", "agricultural land", "rice fields"),
        ("grass", "tall grass"),
        ("bus", "buses", "school bus"),
    ],
)
def test_case_plural_hyphens_and_further_words_do_not_matter(names):
    assert len({natural_color(name) for name in names}) == 1 and natural_color(names[0]) is not None


@pytest.mark.parametrize("name", ["gizmo", "water gizmo", "of", "??", "land", "areas", "\u6c34"])
def test_nothing_is_known_of_other_names(name):
    assert natural_color(name) is None
    (color,) = class_colors([name])
    assert color not in NATURAL


@pytest.mark.parametrize("names", CLASS_SETS.values(), ids=CLASS_SETS)
def test_every_class_of_every_dataset_has_a_natural_colour_and_no_two_are_near(names):
    assert all(map(natural_color, names))
    assert is_told_apart(class_colors(names))


def test_entries_of_the_table_never_come_near_to_each_other_nor_to_made_up_colours():
    made_up = palette(64, np.array([*UNMEANT, *NATURAL], np.uint8))
    assert is_told_apart([*NATURAL, *made_up])
    words = [name for names in NATURAL.values() for name in names.split(", ")]
    assert len(words) == len(set(words)) and all(word == word.casefold() for word in words)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(NAMES), unique=True, max_size=60))
def test_colours_keep_their_distance_and_only_a_clash_changes_one(names):
    colors = class_colors(names)
    assert class_colors(names) == colors
    assert is_told_apart(colors)
    for name, color in zip(names, colors, strict=True):
        (alone,) = class_colors([name])
        if color != alone:
            others = [each for each in colors if each != color]
            assert np.linalg.norm(lab_of(others) - lab_of([alone]), axis=1).min() < LEAST_DISTANCE + 0.5


def test_the_first_of_equal_classes_has_the_colour_and_the_others_variants_of_it():
    colors = class_colors(["car", "building", "moving car", "static car"])
    assert colors[0] == natural_color("car") and colors[1] == natural_color("building")
    lab = lab_of(colors)
    assert np.linalg.norm(lab[[2, 3]] - lab[0], axis=1).max() < 30


def test_a_natural_colour_is_not_taken_by_a_variant_of_an_earlier_class():
    names = ["vegetation", "plants", "green vegetation", "trees", "grass", "park"]
    colors = class_colors(names)
    assert [colors[k] for k in (0, 3, 4, 5)] == [natural_color(names[k]) for k in (0, 3, 4, 5)]


def test_variants_keep_away_from_white_black_and_the_grey_of_no_class():
    kinds = ("new", "old", "wet", "dry", "deep", "thin", "drifting", "dirty", "melting", "powder", "fresh")
    for thing in ("snow", "shadow", "cloud", "pavement"):
        assert is_told_apart(class_colors([f"{kind} {thing}" for kind in kinds]))


def test_names_of_which_nothing_is_known_have_colours_of_their_own():
    assert len({class_colors([f"thing {k}"])[0] for k in range(20)}) > 8


def test_given_colours_stay_and_the_others_keep_away_from_them():
    given_colors = [None, natural_color("water"), (1, 2, 3), (1, 2, 4), None]
    colors = class_colors(["water", "road", "a", "b", "tree"], given_colors)
    assert colors[1:4] == given_colors[1:4] and colors[4] == natural_color("tree")
    assert least_distance(colors[:3] + colors[4:]) > LEAST_DISTANCE - 0.5


def test_the_background_is_dark_grey_whatever_its_name():
    assert class_colors(["tree", "road"], background=1)[1] == BACKGROUND
    assert class_colors(["tree", "road"], [None, (1, 2, 3)], background=1)[1] == (1, 2, 3)
    colors = class_colors(["background", "road"], background=1)
    assert BACKGROUND in colors and least_distance(colors) > LEAST_DISTANCE - 0.5


@pytest.mark.parametrize(("number", "least"), [(60, 15.5), (120, 14), (256, 12), (1000, 7)])
def test_more_classes_are_as_far_apart_as_there_is_room(number, least):
    assert least_distance(class_colors([f"thing {k}" for k in range(number)])) > least


def test_colours_repeat_where_there_are_more_classes_than_colours():
    colors = class_colors([f"thing {k}" for k in range(7000)])
    assert len(colors) == 7000 and 5000 < len(set(colors)) < 7000
    assert max(Counter(colors).values()) <= 3


def test_pixels_without_a_class_have_a_grey_that_no_class_is_near_to():
    assert no_class_color([]) == no_class_color(class_colors(NAMES)) == NO_CLASS
    for taken in ([NO_CLASS], [NO_CLASS, (190, 190, 190)], [NO_CLASS, (96, 96, 96), (150, 150, 150)]):
        grey = no_class_color(taken)
        assert len(set(grey)) == 1 and np.linalg.norm(lab_of(taken) - lab_of([grey]), axis=1).min() > 15.5
    assert len(set(no_class_color([(k, k, k) for k in range(0, 256, 2)]))) == 1
