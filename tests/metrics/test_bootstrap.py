"""The paired bootstrap over the images of a set."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.bootstrap import interval, resampled_miou
from rskt_seg.metrics.image_counts import mean_iou


def counts(images: int, classes: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    right = rng.integers(0, 9, (images, classes))
    return np.stack(
        [right, right + rng.integers(0, 9, right.shape), right + rng.integers(0, 9, right.shape)], 1
    )


@given(st.integers(1, 20), st.integers(1, 30), st.integers(1, 100))
def test_the_draws_depend_on_set_and_seed_and_on_nothing_else(images, resamples, chunk):
    first, second = counts(images), counts(images, seed=1)
    both = resampled_miou([first, second], "a", resamples, 5)
    assert np.array_equal(
        both, resampled_miou([first, second], "a", resamples, 5, chunk=chunk), equal_nan=True
    )
    turned = resampled_miou([second, first], "a", resamples, 5)
    assert np.array_equal(both[::-1], turned, equal_nan=True)
    alone = resampled_miou([first], "a", resamples, 5)
    assert np.array_equal(both[:1], alone, equal_nan=True)


def test_other_seeds_and_other_sets_draw_other_images():
    drawn = [resampled_miou([counts(9)], *choice)[0] for choice in product("ab", [40], [0, 1])]
    assert len({each.tobytes() for each in drawn}) == 4


def test_methods_are_scored_on_the_same_images():
    first = counts(15)
    same, again = resampled_miou([first, first.copy()], "a", 50)
    assert np.array_equal(same, again) and len(set(same)) > 1


def test_two_images_give_the_three_scores_that_can_be_drawn_as_often_as_they_should():
    # One class: image 0 is right in 1 of 2 pixels (IoU 50 %), image 1 in all 2.
    two = np.array([[[1], [1], [2]], [[2], [2], [2]]])
    (drawn,) = resampled_miou([two], "a", 4000)
    values, times = np.unique(drawn, return_counts=True)
    assert values.tolist() == [50, 75, 100]
    assert times / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert interval(drawn) == (50, 100)


def test_an_image_that_is_drawn_several_times_counts_several_times():
    # One class, a pixel an image, right in the first of three: IoU is the share of draws that are the first.
    three = np.array([[[1], [1], [1]], [[0], [0], [1]], [[0], [0], [1]]])
    (drawn,) = resampled_miou([three], "a", 4000)
    values, times = np.unique(drawn, return_counts=True)
    assert values == pytest.approx([0, 100 / 3, 200 / 3, 100])
    assert times / 4000 == pytest.approx(np.array([8, 12, 6, 1]) / 27, abs=0.03)


def test_the_interval_holds_the_middle_95_percent_of_what_is_defined():
    values = np.arange(1001) / 10
    assert interval(values) == pytest.approx((2.5, 97.5))
    assert interval(np.append(values, np.nan)) == pytest.approx((2.5, 97.5))
    assert interval(np.full(3, np.nan)) is None


def test_resamples_are_near_the_score_of_the_set():
    many = counts(400)
    (drawn,) = resampled_miou([many], "a", 300)
    low, high = interval(drawn)
    assert low < float(mean_iou(many.sum(axis=0))) < high and high - low < 5


def test_counts_of_other_numbers_of_images_are_refused():
    with pytest.raises(DatasetError, match=r"a: expected counts of the same images, found \[2, 3\]"):
        resampled_miou([counts(2), counts(3)], "a")
    with pytest.raises(DatasetError, match="expected counts of the same images"):
        resampled_miou([counts(0)], "a")
