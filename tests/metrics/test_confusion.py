"""Laws of the confusion counts, with a naive loop and torchmetrics as oracles."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

from rskt_seg.errors import DatasetError, LabelError
from rskt_seg.metrics.confusion import UNCLASSIFIED, ConfusionMatrix

torch.set_num_threads(1)


@st.composite
def maps(draw, unclassified: bool = True):
    """Number of classes, prediction and label of one shape; the label holds at least one class."""
    num_classes = draw(st.integers(1, 6))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=8))
    ids = st.integers(0, num_classes - 1)
    predicted = ids | st.just(UNCLASSIFIED) if unclassified else ids
    prediction = draw(hnp.arrays(np.uint8, shape, elements=predicted))
    label = draw(hnp.arrays(np.uint8, shape, elements=ids | st.just(255)))
    label[0, 0] = draw(ids)
    return num_classes, prediction, label


def counted(num_classes, *rounds, ignore=255):
    matrix = ConfusionMatrix(num_classes, ignore)
    for prediction, label in rounds:
        matrix.update(prediction, label)
    return matrix


def naive_scores(num_classes: int, prediction: np.ndarray, label: np.ndarray) -> dict:
    """The published definitions, class by class and pixel by pixel, in exact fractions."""
    pixels = [(p, g) for p, g in zip(prediction.ravel().tolist(), label.ravel().tolist(), strict=True)]
    pixels = [(p, g) for p, g in pixels if g != 255]
    iou, acc, f1, weighted = {}, {}, {}, Fraction(0)
    for k in range(num_classes):
        hit = sum(p == g == k for p, g in pixels)
        truth = sum(g == k for _, g in pixels)
        guess = sum(p == k for p, _ in pixels)
        if truth:
            iou[k] = Fraction(hit, sum(k in pair for pair in pixels))
            acc[k] = Fraction(hit, truth)
            f1[k] = Fraction(2 * hit, truth + guess)
            weighted += iou[k] * Fraction(truth, len(pixels))
    return {
        "mIoU": sum(iou.values()) / len(iou),
        "fwIoU": weighted,
        "mACC": sum(acc.values()) / len(acc),
        "pACC": Fraction(sum(p == g for p, g in pixels), len(pixels)),
        "mF1": sum(f1.values()) / len(f1),
        "IoU": [iou.get(k, math.nan) for k in range(num_classes)],
        "ACC": [acc.get(k, math.nan) for k in range(num_classes)],
        "F1": [f1.get(k, math.nan) for k in range(num_classes)],
    }


def percent(value) -> float:
    return float(100 * value)


@settings(max_examples=100)
@given(maps())
def test_scores_equal_a_naive_loop_over_pixels(drawn):
    num_classes, prediction, label = drawn
    scores = counted(num_classes, (prediction, label)).scores()
    expected = naive_scores(num_classes, prediction, label)
    for key in ("mIoU", "fwIoU", "mACC", "pACC", "mF1"):
        assert getattr(scores, key) == pytest.approx(percent(expected[key]), abs=1e-9, rel=0)
    for key in ("IoU", "ACC", "F1"):
        wanted = [percent(value) for value in expected[key]]
        np.testing.assert_allclose(getattr(scores, key), wanted, rtol=0, atol=1e-9, equal_nan=True)
    assert scores.unclassified == ((prediction == UNCLASSIFIED) & (label != 255)).sum()
    assert scores.pixels.tolist() == [(label == k).sum() for k in range(num_classes)]


@settings(max_examples=60)
@given(maps(unclassified=False))
def test_counts_equal_torchmetrics_exactly_and_the_iou_drawn_from_them(drawn):
    num_classes, prediction, label = drawn
    num_classes = max(num_classes, 2)
    matrix = counted(num_classes, (prediction, label))
    tensors = [torch.from_numpy(array.astype(np.int64)) for array in (prediction, label)]
    oracle = multiclass_confusion_matrix(*tensors, num_classes=num_classes, ignore_index=255)
    assert np.array_equal(matrix.counts[:-1].T, oracle.numpy())
    assert not matrix.counts[-1].any()
    iou = multiclass_jaccard_index(*tensors, num_classes, average="none", ignore_index=255).numpy()
    scores = matrix.scores()
    present = scores.pixels > 0
    np.testing.assert_allclose(scores.IoU[present], 100 * iou[present], rtol=0, atol=1e-4)


def test_the_worked_example_gives_the_scores_of_the_main_branch_and_not_the_older_ones():
    label = np.array([[0, 0, 1, 1], [0, 0, 1, 255]], np.uint8)
    prediction = np.array([[0, 0, 1, 2], [0, 1, 1, 2]], np.uint8)
    scores = counted(3, (prediction, label)).scores()
    assert round(scores.mIoU, 4) == 62.5
    assert round(scores.fwIoU, 4) == 64.2857
    assert round(scores.mACC, 4) == 70.8333
    assert round(scores.pACC, 4) == 71.4286
    assert np.isnan([scores.IoU[2], scores.ACC[2], scores.F1[2]]).all()


def test_a_perfect_prediction_scores_100_and_one_without_a_class_scores_0():
    label = np.array([[0, 1, 1, 255]], np.uint8)
    perfect = counted(3, (np.where(label == 255, 0, label), label)).scores()
    assert (perfect.mIoU, perfect.fwIoU, perfect.mACC, perfect.pACC, perfect.mF1) == (100,) * 5
    nothing = counted(3, (np.full_like(label, UNCLASSIFIED), label)).scores()
    assert (nothing.mIoU, nothing.fwIoU, nothing.mACC, nothing.pACC, nothing.mF1) == (0,) * 5
    assert nothing.unclassified == 3


def test_an_unclassified_pixel_is_a_miss_of_its_class_and_a_false_positive_of_none():
    label = np.array([[0, 0, 1, 1]], np.uint8)
    scores = counted(2, (np.array([[0, 255, 1, 1]], np.uint8), label)).scores()
    assert scores.IoU.tolist() == [50.0, 100.0] and scores.ACC.tolist() == [50.0, 100.0]
    wrong = counted(2, (np.array([[0, 1, 1, 1]], np.uint8), label)).scores()
    assert wrong.IoU[1] < 100.0


@settings(max_examples=60)
@given(maps(), st.integers(0, 8), st.integers(0, 8))
def test_merging_any_parts_equals_the_whole(drawn, row, column):
    num_classes, prediction, label = drawn
    whole = counted(num_classes, (prediction, label))
    parts = ConfusionMatrix(num_classes)
    for rows in (slice(0, row), slice(row, None)):
        for columns in (slice(0, column), slice(column, None)):
            parts.merge(counted(num_classes, (prediction[rows, columns], label[rows, columns])))
    assert np.array_equal(parts.counts, whole.counts)
    restored = ConfusionMatrix.from_state(json.loads(json.dumps(whole.state())))
    assert np.array_equal(restored.counts, whole.counts) and restored.counts.dtype == np.int64
    assert restored.scores().mIoU == whole.scores().mIoU


@settings(max_examples=40)
@given(maps(), st.randoms(use_true_random=False))
def test_renaming_the_classes_permutes_the_scores_and_keeps_the_means(drawn, random):
    num_classes, prediction, label = drawn
    order = list(range(num_classes))
    random.shuffle(order)
    renamed = np.arange(256, dtype=np.uint8)
    renamed[:num_classes] = order
    first = counted(num_classes, (prediction, label)).scores()
    second = counted(num_classes, (renamed[prediction], renamed[label])).scores()
    np.testing.assert_array_equal(second.IoU[order], first.IoU)
    assert second.mIoU == pytest.approx(first.mIoU, abs=1e-9)
    assert second.fwIoU == pytest.approx(first.fwIoU, abs=1e-9)


def test_counting_in_parts_of_one_map_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    prediction, label = rng.integers(0, 5, (2, 61, 47))
    whole = counted(5, (prediction, label))
    monkeypatch.setattr("rskt_seg.metrics.confusion._CHUNK", 100)
    assert np.array_equal(counted(5, (prediction, label)).counts, whole.counts)
    assert whole.counts.sum() == label.size


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int32, np.int64])
def test_every_integer_type_and_the_largest_class_list_count_alike(kind):
    top = np.iinfo(kind).max if kind in (np.int8,) else 254
    prediction, label = np.array([[0, top, top]], kind), np.array([[0, 1, top]], kind)
    matrix = counted(255, (prediction, label), ignore=1)
    assert matrix.counts[top, top] == matrix.counts[0, 0] == 1 and matrix.counts.sum() == 2


def test_an_ignored_id_within_the_classes_is_left_out():
    label, prediction = np.array([[0, 0, 1, 2]]), np.array([[1, 0, 1, 1]])
    matrix = counted(3, (prediction, label), ignore=0)
    assert matrix.counts.sum() == 2 and np.isnan(matrix.scores().IoU[0])
    assert matrix.scores().IoU.tolist()[1:] == [50.0, 0.0]


def test_counts_do_not_wrap_where_32_bits_would():
    state = counted(2, (np.array([[0, 1]]), np.array([[0, 1]]))).state()
    state["counts"][0][0] = 2**40
    matrix = ConfusionMatrix.from_state(state)
    matrix.merge(matrix)
    assert matrix.counts[0, 0] == 2**41 and matrix.scores().pACC == 100


@pytest.mark.parametrize(
    ("prediction", "label", "kind", "words"),
    [
        ([[0, 1]], [[0], [1]], DatasetError, r"\(1, 2\) and \(2, 1\)"),
        ([[0, 1]], [[0, 3]], LabelError, "found 3 in 1 pixel"),
        ([[0, 1]], [[0, -1]], LabelError, "found -1"),
        ([[0, 1]], [[0, 254]], LabelError, "K = 3"),
        ([[0, 3]], [[0, 255]], DatasetError, "vocabulary.*found 3 in 1 pixel"),
        ([[0, -1]], [[0, 0]], DatasetError, "found -1"),
        ([[0.0, 1.0]], [[0, 1]], DatasetError, "float64"),
        ([[0, 1]], [[0.0, 1.0]], LabelError, "float64"),
        ([[True, False]], [[0, 1]], DatasetError, "bool"),
    ],
)
def test_ill_fitting_maps_are_refused_and_leave_the_counts_as_they_were(
    prediction, label, kind, words, monkeypatch
):
    monkeypatch.setattr("rskt_seg.metrics.confusion._CHUNK", 1)
    matrix = counted(3, (np.array([[0, 2]]), np.array([[0, 1]])))
    before = matrix.counts.copy()
    with pytest.raises(kind, match=words):
        matrix.update(np.array(prediction), np.array(label))
    assert np.array_equal(matrix.counts, before)


def test_scores_of_nothing_labelled_are_an_error():
    everything_ignored = counted(3, (np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)))
    for matrix in (ConfusionMatrix(3), everything_ignored):
        with pytest.raises(DatasetError, match="nothing to score"):
            matrix.scores()


def test_counts_of_other_classes_or_another_ignored_id_are_not_added():
    for other in (ConfusionMatrix(4), ConfusionMatrix(3, ignore=0)):
        with pytest.raises(DatasetError, match="cannot be added"):
            ConfusionMatrix(3).merge(other)


@pytest.mark.parametrize("num_classes", [0, -1, 256])
def test_a_number_of_classes_that_8_bit_ids_cannot_hold_is_refused(num_classes):
    with pytest.raises(DatasetError, match=str(num_classes)):
        ConfusionMatrix(num_classes)


@pytest.mark.parametrize(
    "damage",
    [
        {"counts": [[1, 2], [3, 4]]},
        {"counts": [[-1, 0], [0, 0], [0, 0]]},
        {"counts": [["x"]]},
        {"ignore": None},
    ],
)
def test_a_damaged_state_is_refused(damage):
    with pytest.raises(DatasetError):
        ConfusionMatrix.from_state(ConfusionMatrix(2).state() | damage)
    with pytest.raises(DatasetError):
        ConfusionMatrix.from_state({})
