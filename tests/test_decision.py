"""Laws of what becomes of the best class of a pixel and its score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.class_colors import class_colors
from rskt_seg.decision import make_decision, unchosen_notice
from rskt_seg.errors import VocabularyError
from rskt_seg.vocabulary import Vocabulary, make_vocabulary

NAMES = ("tree", "water", "road")
PLAIN = make_vocabulary(NAMES)
RICH = Vocabulary(
    NAMES,
    (("tree", "forest"), ("water",), ("road",)),
    colors=(None, (0, 0, 255), None),
    ids=(30, 10, 20),
    thresholds=(None, 0.9, 0.0),
)


def one(value, dtype):
    return np.array([[value]], dtype)


def test_without_background_and_threshold_a_map_has_the_winners():
    asked, decision = make_decision(PLAIN)
    best = np.array([[0, 1], [2, 0]])
    values = decision.apply(best, np.zeros((2, 2), np.float32))
    assert np.array_equal(values, best) and values.dtype == np.uint8
    assert asked == PLAIN and decision.other is None
    assert [each.name for each in decision.legend.entries] == list(NAMES)
    assert [each.color for each in decision.legend.entries] == class_colors(NAMES)


def test_given_ids_colours_and_thresholds_are_used_and_the_legend_is_in_the_order_of_ids():
    asked, decision = make_decision(RICH, threshold=0.5)
    best = np.array([[0, 0, 1, 1, 2]])
    score = np.array([[0.5, 0.49, 0.9, 0.8, 0.01]], np.float32)
    assert decision.apply(best, score).tolist() == [[30, 31, 10, 31, 20]]
    assert [(each.id, each.name) for each in decision.legend.entries] == [
        (10, "water"),
        (20, "road"),
        (30, "tree"),
        (31, "other"),
    ]
    assert decision.legend.entries[0].color == (0, 0, 255) and decision.legend.entries[3].color == (225,) * 3
    assert asked.names == NAMES and asked.synonyms == RICH.synonyms and asked.ids is None


def test_names_of_the_background_are_asked_for_last_and_written_as_no_class():
    asked, decision = make_decision(PLAIN, background=["sky, cloud", "shadow"])
    assert asked.names == (*NAMES, "sky", "cloud", "shadow") and asked.prompts("max") == asked.names
    values = decision.apply(np.arange(6).reshape(1, 6), np.ones((1, 6), np.float32))
    assert values.tolist() == [[0, 1, 2, 3, 3, 3]] and decision.other == 3
    assert [each.name for each in decision.legend.entries] == [*NAMES, "other"]


@given(st.integers(1, 6), st.integers(0, 3), st.floats(0, 1, width=32), st.integers(0, 99))
def test_a_pixel_has_its_winner_unless_that_is_background_or_scores_less(classes, hidden, threshold, seed):
    names = [f"class {k}" for k in range(classes)]
    rest = [f"rest {k}" for k in range(hidden)]
    asked, decision = make_decision(make_vocabulary(names), background=rest, threshold=threshold)
    generator = np.random.default_rng(seed)
    best = generator.integers(0, len(asked.names), (5, 7))
    score = generator.random((5, 7), np.float32)
    score[0] = threshold
    expected = np.where((best >= classes) | (score < threshold), classes, best)
    assert np.array_equal(decision.apply(best, score), expected)
    assert (decision.other is None) == (not hidden and not threshold)


def test_the_type_of_a_map_follows_from_its_highest_id():
    names = make_vocabulary([f"class {k}" for k in range(255)])
    assert make_decision(names)[1].legend.dtype is np.uint8
    _, decision = make_decision(names, threshold=0.5)
    values = decision.apply(one(7, np.int64), one(0.4, np.float32))
    assert values.dtype == np.uint16 and values.tolist() == [[255]] and decision.legend.nodata == 65535


def test_given_colours_are_kept_and_the_background_class_is_grey():
    names = tuple(f"class {k}" for k in range(12))
    groups = tuple((name,) for name in names)
    given_colors = tuple(class_colors(["water", "tree", "road", "sand"]))
    vocabulary = Vocabulary(names, groups, colors=(*given_colors, *[None] * 8))
    _, decision = make_decision(vocabulary, colors_background=11)
    colors = [each.color for each in decision.legend.entries]
    assert colors == class_colors(names, vocabulary.colors, 11)
    assert tuple(colors[:4]) == given_colors and colors[11] == (96, 96, 96)


def test_pixels_without_a_class_have_a_colour_of_their_own():
    grey = Vocabulary(("a", "b", "c"), (("a",), ("b",), ("c",)), colors=((225,) * 3, (96,) * 3, None))
    _, decision = make_decision(grey, colors_background=2, threshold=0.1)
    assert len({each.color for each in decision.legend.entries}) == 4


def test_a_class_called_other_is_not_confused_with_pixels_without_a_class():
    _, decision = make_decision(make_vocabulary(["tree", "Other"]), threshold=0.5)
    assert [each.name for each in decision.legend.entries] == ["tree", "Other", "no class"]


def test_a_single_class_with_a_threshold_is_not_questioned():
    assert make_decision(make_vocabulary(["tree"]))[0].doubts
    assert not make_decision(make_vocabulary(["tree"]), threshold=0.5)[0].doubts
    assert not make_decision(make_vocabulary(["tree"]), background=["sky"])[0].doubts


@pytest.mark.parametrize(
    ("vocabulary", "options", "message"),
    [
        (PLAIN, {"background": ["Water"]}, "'Water' is a name of a class and of the background"),
        (RICH, {"background": ["sky, Forest"]}, "'Forest' is a name of a class and of the background"),
        (PLAIN, {"background": "sky"}, "plain string"),
        (PLAIN, {"background": ["sky", "Sky"]}, "twice"),
        (PLAIN, {"background": ["sky"], "is_closed": True}, "fixed, so that it cannot be asked for 'sky'"),
        (PLAIN, {"threshold": 1.1}, "a threshold in 0..1; found 1.1"),
        (PLAIN, {"threshold": -0.1}, "a threshold in 0..1"),
        (PLAIN, {"threshold": float("nan")}, "a threshold in 0..1"),
        (PLAIN, {"threshold": "0.5"}, "a threshold in 0..1"),
        (Vocabulary(("a",), (("a",),), ids=(65534,)), {"threshold": 0.5}, "need an id above"),
    ],
)
def test_what_cannot_be_decided_is_refused_in_one_line(vocabulary, options, message):
    with pytest.raises(VocabularyError) as caught:
        make_decision(vocabulary, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_names_that_no_pixel_chose_are_told_in_one_line():
    assert unchosen_notice(NAMES, [5, 1, 2]) is None
    assert unchosen_notice(NAMES, [0, 1, 0]) == "2 of 3 names were the best of no pixel: 'tree', 'road'"
    many = [f"class {k}" for k in range(1000)]
    assert unchosen_notice(many, [0] * 999 + [1]).endswith("'class 9' and 989 more")
    assert unchosen_notice(NAMES, [0, 0, 0]).startswith("no pixel has data")
