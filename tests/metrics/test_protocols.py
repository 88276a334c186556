"""The protocols of published codes, against naive loops, torchmetrics and what those codes computed."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_jaccard_index,
)

from rskt_seg.data.catalog import SPLITS
from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import UNCLASSIFIED, ConfusionMatrix
from rskt_seg.metrics.protocols import (
    FIGURES,
    PROTOCOLS,
    check_protocol,
    describe_protocol,
    explain_scores,
    find_protocol,
    protocol_as_dict,
    protocol_scores,
)

torch.set_num_threads(1)
FIXTURES = Path(__file__).parents[1] / "parity"
ISPRS = ("impervious", "building", "low vegetation", "tree", "car", "clutter")


def counted(prediction, label, classes: int) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes)
    matrix.update(np.asarray(prediction), np.asarray(label))
    return matrix


@st.composite
def maps(draw, classes: int, unclassified: bool = True):
    """Prediction and label in which any class may be absent from either; one pixel at least is labelled."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=7))
    used = st.sampled_from(draw(st.lists(st.integers(0, classes - 1), min_size=1, unique=True)))
    labelled = st.sampled_from(draw(st.lists(st.integers(0, classes - 1), min_size=1, unique=True)))
    prediction = draw(hnp.arrays(np.uint8, shape, elements=used | st.just(255) if unclassified else used))
    label = draw(hnp.arrays(np.uint8, shape, elements=labelled | st.just(255)))
    label[0, 0] = draw(labelled)
    return prediction, label


def triples(prediction, label, classes: int) -> list[tuple[int, int, int]]:
    """True positives, false positives and false negatives of each class, pixel by pixel."""
    counts = [[0, 0, 0] for _ in range(classes)]
    for p, t in zip(prediction.ravel().tolist(), label.ravel().tolist(), strict=True):
        if t >= classes:
            continue
        if p == t:
            counts[t][0] += 1
            continue
        counts[t][2] += 1
        if p < classes:
            counts[p][1] += 1
    return [tuple(row) for row in counts]


def quotient(a: float, b: float) -> float:
    return a / b if b else math.nan


def geoseg(prediction, label, classes: int, reported: int) -> tuple[float, float, float]:
    """Section by section as GeoSeg computes it: precision and recall without epsilon, then nan-means."""
    ious, f1s = [], []
    for tp, fp, fn in triples(prediction, label, classes)[:reported]:
        precision, recall = quotient(tp, tp + fp), quotient(tp, tp + fn)
        ious.append(quotient(tp, tp + fp + fn))
        f1s.append(quotient(2 * precision * recall, precision + recall))
    means = []
    for values in (ious, f1s):
        defined = [value for value in values if not math.isnan(value)]
        means.append(quotient(sum(defined), len(defined)))
    return *means, accuracy(prediction, label, classes)


def fctl(prediction, label, classes: int, first: int, skip: tuple = ()) -> tuple[float, float, float]:
    """FCtL's mean over the classes from `first` on, where NaN counts as 0."""
    rows = triples(prediction, label, classes)[first:]
    ious = [quotient(tp, tp + fp + fn) for tp, fp, fn in rows]
    f1s = [quotient(2 * tp, 2 * tp + fp + fn) for tp, fp, fn in rows]
    means = [sum(0 if math.isnan(v) else v for v in values) / len(rows) for values in (ious, f1s)]
    return *means, accuracy(prediction, label, classes, skip)


def ctfa(prediction, label, classes: int) -> tuple[float, float, float]:
    """Means over the classes that are labelled somewhere; without a hit precision, recall and F1 are 0."""
    ious, f1s = [], []
    for tp, fp, fn in triples(prediction, label, classes):
        if tp + fn == 0:
            continue
        precision, recall = (tp / (tp + fp) if tp else 0.0), tp / (tp + fn)
        ious.append(tp / (tp + fp + fn))
        f1s.append(2 * precision * recall / (precision + recall) if tp else 0.0)
    return sum(ious) / len(ious), sum(f1s) / len(f1s), accuracy(prediction, label, classes)


def accuracy(prediction, label, classes: int, skip: tuple = ()) -> float:
    pairs = list(zip(prediction.ravel().tolist(), label.ravel().tolist(), strict=True))
    pairs = [(p, t) for p, t in pairs if t < classes and t not in skip]
    return quotient(sum(p == t for p, t in pairs), len(pairs))


ORACLES = {
    "geoseg_isprs": lambda p, t: geoseg(p, t, 6, 5),
    "geoseg_loveda": lambda p, t: geoseg(p, t, 7, 7),
    "fctl_deepglobe": lambda p, t: fctl(p, t, 7, 1),
    "fctl_deepglobe_known": lambda p, t: fctl(p, t, 7, 1, skip=(0,)),
    "deepglobe": lambda p, t: fctl(p, t, 6, 0),
    "fctl_inria": lambda p, t: fctl(p, t, 2, 1),
    "wsss_isaid": lambda p, t: ctfa(p, t, 16),
    "wsss_potsdam": lambda p, t: ctfa(p, t, 6),
}
BACKGROUND = {"wsss_isaid": 0, "wsss_potsdam": 5}


def test_every_protocol_has_an_oracle_here():
    assert PROTOCOLS.keys() == ORACLES.keys()


def test_every_protocol_that_a_dataset_names_exists_and_has_its_number_of_classes():
    named = {split.name: split for split in SPLITS if split.protocol}
    assert {split.protocol for split in named.values()} == PROTOCOLS.keys() - {"fctl_deepglobe_known"}
    for name, split in named.items():
        assert check_protocol(split.protocol, len(split.class_set)).reported, name


def test_the_classes_left_out_of_means_are_clutter_the_unknown_and_what_is_no_building():
    left_out = {}
    for split in SPLITS:
        if split.protocol:
            reported = PROTOCOLS[split.protocol].reported
            names = [name for k, name in enumerate(split.class_set.names) if k not in reported]
            left_out.setdefault(split.protocol, set()).add(tuple(names))
    assert left_out == {
        "geoseg_isprs": {("Clutter/background",)},
        "geoseg_loveda": {()},
        "deepglobe": {()},
        "fctl_deepglobe": {("unknown",)},
        "fctl_inria": {("not building",)},
        "wsss_isaid": {()},
        "wsss_potsdam": {()},
    }


def test_the_background_of_a_protocol_is_the_class_of_its_datasets_that_is_called_so():
    named = {split.protocol: split.class_set.names for split in SPLITS if split.protocol}
    found = {
        name: named[name][protocol.background]
        for name, protocol in PROTOCOLS.items()
        if protocol.background is not None
    }
    assert found == {"wsss_isaid": "background", "wsss_potsdam": "Clutter/background"}


@pytest.mark.parametrize("name", ORACLES)
@given(data=st.data())
def test_the_figures_are_those_of_a_loop_over_pixels(name, data):
    classes = PROTOCOLS[name].num_classes
    prediction, label = data.draw(maps(classes))
    oracle = ORACLES[name](prediction, label)
    assume(not math.isnan(oracle[2]))  # otherwise no pixel enters OA; an error, below
    scores = protocol_scores(counted(prediction, label, classes), name)
    found = [getattr(scores, key) for key in FIGURES]
    assert found == pytest.approx([100 * value for value in oracle], nan_ok=True)


@given(maps(6, unclassified=False))
def test_where_every_class_is_hit_torchmetrics_agrees(arrays):
    prediction, label = arrays
    prediction[0, :1], label[0, :1] = 0, 0
    both = np.arange(6, dtype=np.uint8)
    prediction, label = np.append(prediction, both), np.append(label, both)
    kept = label != 255
    p, t = torch.from_numpy(prediction[kept]).long(), torch.from_numpy(label[kept]).long()
    scores = protocol_scores(counted(prediction, label, 6), "geoseg_isprs")
    iou = multiclass_jaccard_index(p, t, 6, average="none")[:5].mean()
    f1 = multiclass_f1_score(p, t, 6, average="none")[:5].mean()
    oa = multiclass_accuracy(p, t, 6, average="micro")
    expected = [100 * float(value) for value in (iou, f1, oa)]
    assert [getattr(scores, key) for key in FIGURES] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", BACKGROUND)
@given(data=st.data())
def test_of_the_labelled_classes_torchmetrics_agrees_with_and_without_background(name, data):
    classes = PROTOCOLS[name].num_classes
    prediction, label = data.draw(maps(classes, unclassified=False))
    kept = label != 255
    p, t = torch.from_numpy(prediction[kept]).long(), torch.from_numpy(label[kept]).long()
    scores = protocol_scores(counted(prediction, label, classes), name)
    labelled = torch.bincount(t, minlength=classes) > 0
    iou = multiclass_jaccard_index(p, t, classes, average="none")
    f1 = multiclass_f1_score(p, t, classes, average="none")[labelled].mean()
    oa = multiclass_accuracy(p, t, classes, average="micro")
    expected = [100 * float(value) for value in (iou[labelled].mean(), f1, oa)]
    assert [getattr(scores, key) for key in FIGURES] == pytest.approx(expected, rel=1e-5)
    labelled[BACKGROUND[name]] = False
    foreground = 100 * float(iou[labelled].mean())
    assert scores.mIoU_foreground == pytest.approx(foreground, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", BACKGROUND)
@given(data=st.data())
def test_the_figures_of_the_weakly_supervised_method_are_the_common_ones(name, data):
    classes = PROTOCOLS[name].num_classes
    matrix = counted(*data.draw(maps(classes)), classes)
    scores, common = protocol_scores(matrix, name), matrix.scores()
    assert (scores.mIoU, scores.mF1, scores.OA) == pytest.approx((common.mIoU, common.mF1, common.pACC))
    without = tuple(np.flatnonzero(np.isnan(common.IoU)).tolist())
    assert scores.no_iou == scores.no_f1 == without


@pytest.mark.parametrize("case", ["plain", "absent", "neverpred"])
def test_geosegs_own_figures_are_met(case):
    stored = np.load(FIXTURES / "bicor" / "unit_losses_metrics.npz")
    arrays = {
        key: stored[f"metric/{case}/{key}"] for key in ("pred", "gt", "oa", "miou_first5", "mf1_first5")
    }
    matrix = ConfusionMatrix(6, ignore=6)
    matrix.update(arrays["pred"], arrays["gt"])
    scores = protocol_scores(matrix, "geoseg_isprs")
    expected = [100 * arrays[key].item() for key in ("miou_first5", "mf1_first5", "oa")]
    assert [scores.mIoU, scores.mF1, scores.OA] == pytest.approx(
        expected, rel=1e-10
    )  # they divide by total + epsilon


def test_fctls_own_mean_is_met():
    stored = np.load(FIXTURES / "fctl" / "metrics_7cls.npz")
    matrix = ConfusionMatrix(7)
    matrix.counts[:-1] = stored["hist"].T  # published: rows are the truth
    scores = protocol_scores(matrix, "fctl_deepglobe")
    assert scores.mIoU == pytest.approx(100 * stored["miou_wo0"].item(), rel=1e-12)
    share = np.trace(stored["hist"]) / stored["hist"].sum()
    assert pytest.approx(100 * share) == scores.OA


@given(maps(2))
def test_of_buildings_alone_f1_follows_from_iou(arrays):
    scores = protocol_scores(counted(*arrays, 2), "fctl_inria")
    iou = scores.mIoU / 100
    assert scores.mF1 == pytest.approx(100 * 2 * iou / (1 + iou))


def test_a_class_that_is_never_labelled_but_predicted_has_iou_0_in_the_protocol_and_none_in_the_common_mean():
    matrix = counted([[0, 1, 2, 4]], [[0, 1, 2, 3]], 6)
    scores, common = protocol_scores(matrix, "geoseg_isprs"), matrix.scores()
    assert scores.mIoU == pytest.approx(100 * 3 / 5)  # three right, tree missed, car predicted
    assert scores.mF1 == 100 and scores.no_f1 == (3, 4)  # F1 of both is 0/0 and drops out
    assert scores.no_iou == ()
    assert common.mIoU == pytest.approx(100 * 3 / 4) and common.mF1 == pytest.approx(100 * 3 / 4)


def test_a_class_that_is_never_labelled_does_not_count_however_often_it_is_predicted():
    matrix = counted([[0, 1, 2, 4]], [[0, 1, 2, 3]], 6)
    scores = protocol_scores(matrix, "wsss_potsdam")
    assert scores.mIoU == scores.mF1 == pytest.approx(100 * 3 / 4)  # three right, tree missed
    assert scores.no_iou == scores.no_f1 == (4, 5)
    assert pytest.approx(100 * 3 / 4) == scores.OA


def test_background_is_in_all_figures_but_the_one_without_it():
    matrix = counted([[0, 0, 0, 1, 2, 0]], [[0, 0, 0, 1, 2, 2]], 16)
    scores = protocol_scores(matrix, "wsss_isaid")
    assert scores.mIoU == pytest.approx(100 * (3 / 4 + 1 + 1 / 2) / 3)
    assert scores.mIoU_foreground == pytest.approx(100 * (1 + 1 / 2) / 2)
    assert scores.mF1 == pytest.approx(100 * (6 / 7 + 1 + 2 / 3) / 3)
    assert pytest.approx(100 * 5 / 6) == scores.OA
    alone = protocol_scores(counted([[0, 3]], [[0, 0]], 16), "wsss_isaid")
    assert alone.mIoU == 50 and math.isnan(alone.mIoU_foreground)
    assert protocol_scores(counted([[0]], [[0]], 6), "geoseg_isprs").mIoU_foreground is None


def test_a_class_that_does_not_occur_drops_out_of_geosegs_means_and_is_0_in_fctls():
    matrix = counted([[1, 2]], [[1, 2]], 7)
    assert protocol_scores(matrix, "geoseg_loveda").mIoU == 100
    fused = protocol_scores(matrix, "fctl_deepglobe")
    assert fused.mIoU == fused.mF1 == pytest.approx(100 * 2 / 6)
    assert fused.no_iou == fused.no_f1 == (3, 4, 5, 6)


def test_clutter_is_in_oa_and_only_there():
    right = counted([[0, 1, 2, 3, 4, 5, 5]], [[0, 1, 2, 3, 4, 5, 5]], 6)
    wrong = counted([[0, 1, 2, 3, 4, 0, 5]], [[0, 1, 2, 3, 4, 5, 5]], 6)
    ours, theirs = (protocol_scores(matrix, "geoseg_isprs") for matrix in (right, wrong))
    assert (ours.mIoU, ours.OA) == (100, 100)
    assert pytest.approx(100 * 6 / 7) == theirs.OA
    assert theirs.mIoU == pytest.approx(100 * 4.5 / 5)  # a false positive of class 0
    assert ours.reported == (0, 1, 2, 3, 4)


def test_the_unknown_pixels_of_deepglobe_are_counted_in_oa_unless_left_out():
    matrix = counted([[1, 2, 3, 4, 5, 6, 1, 0]], [[1, 2, 3, 4, 5, 6, 0, 0]], 7)
    published, known = (protocol_scores(matrix, f"fctl_deepglobe{end}") for end in ("", "_known"))
    assert pytest.approx(100 * 7 / 8) == published.OA and known.OA == 100
    assert published.mIoU == known.mIoU == pytest.approx(100 * 5.5 / 6)  # predicted there: a false positive


def test_pixels_that_were_not_classified_are_missed_in_every_figure():
    matrix = counted([[0, 1, 2, 3, 4, UNCLASSIFIED]], [[0, 1, 2, 3, 4, 4]], 6)
    scores = protocol_scores(matrix, "geoseg_isprs")
    assert (scores.mIoU, scores.OA) == (pytest.approx(100 * 4.5 / 5), pytest.approx(100 * 5 / 6))


def test_what_cannot_be_scored_is_an_error():
    with pytest.raises(DatasetError, match=r"geoseg_isprs is for 6 classes; the dataset has 7"):
        protocol_scores(ConfusionMatrix(7), "geoseg_isprs")
    with pytest.raises(DatasetError, match=r"unknown evaluation protocol 'geoseg'; known: geoseg_isprs"):
        find_protocol("geoseg")
    with pytest.raises(DatasetError, match="no labelled pixel was seen"):
        protocol_scores(counted([[0]], [[255]], 6), "geoseg_isprs")
    with pytest.raises(DatasetError, match="no labelled pixel was seen"):
        protocol_scores(counted([[1]], [[0]], 7), "fctl_deepglobe_known")


def test_people_are_told_which_classes_are_in_the_means_and_which_have_no_value():
    line = describe_protocol("geoseg_isprs", ISPRS)
    assert "mIoU and mF1 over impervious, building, low vegetation, tree, car;" in line
    assert line.endswith("clutter is trained, counted in OA and left out of the means")
    assert "left out" not in describe_protocol("geoseg_loveda", [*ISPRS, "x"])
    names = ["unknown", *ISPRS]
    known = describe_protocol("fctl_deepglobe_known", names)
    assert "OA without pixels labelled unknown; unknown is trained and left out" in known
    some = explain_scores(protocol_scores(counted([[0, 0]], [[0, 1]], 6), "geoseg_isprs"), ISPRS)
    assert some[0] == "mIoU 25.00, mF1 66.67, OA 50.00" and some[1] == line
    assert some[2] == "IoU of low vegetation, tree, car is undefined and left out of the mean"
    assert some[3].startswith("F1 of building, low vegetation")
    whole = protocol_scores(counted([[0, 1, 2, 3, 4]], [[0, 1, 2, 3, 4]], 6), "geoseg_isprs")
    assert len(explain_scores(whole, ISPRS)) == 2
    nothing = protocol_scores(counted([[0]], [[1]], 7), "fctl_deepglobe")
    assert "counted as 0" in explain_scores(nothing, names)[2]


def test_people_and_json_get_the_mean_without_background_where_a_protocol_has_one():
    scores = protocol_scores(counted([[0, 1, 5, 5]], [[0, 1, 5, 1]], 6), "wsss_potsdam")
    lines = explain_scores(scores, ISPRS)
    assert lines[0] == "mIoU 66.67, mF1 77.78, OA 75.00"
    assert "over those of impervious, building, low vegetation, tree, car, clutter that have" in lines[1]
    assert lines[2] == "mIoU without clutter: 75.00"
    assert lines[3] == "IoU of low vegetation, tree, car is undefined and left out of the mean"
    stored = protocol_as_dict(scores, ISPRS)
    assert stored["mIoU_foreground"] == pytest.approx(75) and stored["mIoU"] == pytest.approx(200 / 3)
    nothing = protocol_scores(counted([[5]], [[5]], 6), "wsss_potsdam")
    assert protocol_as_dict(nothing, ISPRS)["mIoU_foreground"] is None
    assert "mIoU_foreground" not in protocol_as_dict(
        protocol_scores(counted([[0]], [[0]], 6), "geoseg_isprs"), ISPRS
    )


def test_for_json_a_mean_without_any_value_is_null_and_classes_are_names():
    scores = protocol_scores(counted([[5]], [[5]], 6), "geoseg_isprs")
    stored = protocol_as_dict(scores, ISPRS)
    assert stored["name"] == "geoseg_isprs" and stored["mIoU"] is stored["mF1"] is None
    assert stored["OA"] == 100
    assert stored["reported"] == stored["no_iou"] == stored["no_f1"] == list(ISPRS[:5])
