"""Laws of the benchmark's report."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.benchmark import (
    chance_iou,
    classes_csv,
    json_report,
    markdown_report,
    subset_miou,
    summary_table,
    table_csv,
    text_report,
)
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.metrics.protocols import FIGURES, PROTOCOLS, protocol_scores
from rskt_seg.metrics.report import SUMMARY
from rskt_seg.metrics.results import BenchmarkReference, PaperRows, Reference, Run, SetResult

CLASSES = ("building", "road", "water", "sand")
SEEN = (True, False, False, True)
RUN = Run(
    "model_final.pth", "ab" * 32, ("DLRSD_train_sem_seg",), {"MODEL": {"DEVICE": "cpu"}}, {"torch": "2"}
)


def result(name: str, seed: int = 0, present: int = 3, **changes) -> SetResult:
    rng = np.random.default_rng([len(name), seed])
    matrix = ConfusionMatrix(4)
    matrix.update(rng.integers(0, 4, (9, 9)), rng.integers(0, present, (9, 9)))
    return SetResult(name, CLASSES, SEEN, matrix.scores(), 9, "images 0 labels 1", **changes)


RESULTS = [result("DLRSD_all_sem_seg", in_domain=True), result("VDD_all_sem_seg", note="as is")]


def closed_result(name: str, protocol: str, **changes) -> SetResult:
    """Of a model with fixed classes, on a set with a published protocol."""
    classes = PROTOCOLS[protocol].num_classes
    rng = np.random.default_rng([len(name), classes])
    matrix = ConfusionMatrix(classes)
    matrix.update(rng.integers(0, classes, (9, 9)), rng.integers(0, classes, (9, 9)))
    names = tuple(f"class {k}" for k in range(classes))
    figures = protocol_scores(matrix, protocol)
    return SetResult(name, names, None, matrix.scores(), 9, "images 0 labels 1", protocol=figures, **changes)


PRINTED = BenchmarkReference(
    source="A paper, table 1: trained on DLRSD",
    labels={"trained_on": "DLRSD", "backbone": "ViT-B"},
    columns={"DLRSD_all_sem_seg": "DLRSD", "VDD_all_sem_seg": "VDD"},
    figures={"mIoU": {"DLRSD": 84.12, "VDD": 32.11}, "mACC": {"DLRSD": 90.53, "VDD": None}},
    means={"mIoU": 53.64, "mACC": 70.10},  # as printed, whatever the figures
)
PAPER = Reference("BiCoR-Seg, table 2", 85.38, 91.94, 92.10)
CLOSED = [
    closed_result("Vaihingen_geoseg_padded_test_sem_seg", "geoseg_isprs", paper=PAPER),
    closed_result("LoveDA_geoseg_val_sem_seg", "geoseg_loveda"),
]


def table_of(output: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines()]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=6).filter(any))
def test_chance_is_the_score_of_expected_counts(pixels):
    total, classes = sum(pixels), len(pixels)
    for count, expected in zip(pixels, chance_iou(np.array(pixels)), strict=True):
        hit, predicted = count / classes, total / classes
        if count:
            assert expected == pytest.approx(100 * hit / (count + predicted - hit))
        else:
            assert math.isnan(expected)


def test_chance_agrees_with_guessing():
    label = np.repeat([0, 0, 0, 1, 2], 40_000)
    matrix = ConfusionMatrix(4)
    matrix.update(np.random.default_rng(0).integers(0, 4, label.shape), label)
    scores = matrix.scores()
    assert scores.IoU == pytest.approx(chance_iou(scores.pixels), abs=0.3, nan_ok=True)
    with pytest.raises(DatasetError, match="without labelled pixels"):
        chance_iou(np.zeros(3, int))


def test_seen_and_unseen_are_means_over_their_classes_with_ground_truth():
    one = result("a", present=3)
    iou = one.scores.IoU
    assert subset_miou(one, True) == (pytest.approx(iou[0]), 1)  # sand is seen, but has no ground truth
    assert subset_miou(one, False) == (pytest.approx((iou[1] + iou[2]) / 2), 2)
    none, count = subset_miou(replace(one, seen=(True,) * 4), False)
    assert math.isnan(none) and count == 0


def test_the_table_has_a_row_for_each_set_and_means_over_those():
    header, _, first, second, mean = table_of(summary_table(RESULTS, RUN, "markdown"))
    assert header == ["dataset", "images", *SUMMARY, "seen", "unseen", "chance"]
    assert first[0] == "DLRSD_all_sem_seg *" and second[0] == "VDD_all_sem_seg"
    assert mean[0] == "mean of 2" and mean[1] == "18"
    for k, key in enumerate(SUMMARY, start=2):
        values = [getattr(r.scores, key) for r in RESULTS]
        assert [first[k], second[k], mean[k]] == [f"{v:.2f}" for v in (*values, sum(values) / 2)]
    assert first[6] == f"{RESULTS[0].scores.IoU[0]:.2f} (1)"
    unseen = [subset_miou(r, False)[0] for r in RESULTS]
    assert mean[7] == f"{sum(unseen) / 2:.2f} (2 sets)"
    assert len(table_of(summary_table(RESULTS[:1], RUN, "markdown"))) == 3
    one_of_two = [RESULTS[0], replace(RESULTS[1], seen=(True,) * len(RESULTS[1].classes), images=1)]
    assert table_of(summary_table(one_of_two, RUN, "markdown"))[-1][7].endswith(" (1 set)")
    assert f"\n{RESULTS[1].name}: 1 image, " in text_report(one_of_two, replace(RUN, rotated=1))
    assert "by the name of the one 1 place on\n" in text_report(one_of_two, replace(RUN, rotated=1))
    with pytest.raises(DatasetError, match="no result"):
        summary_table([], RUN)


def test_the_papers_numbers_stand_beside_the_registrations_it_scored_and_its_mean_beside_all_of_them():
    run = replace(RUN, published=PaperRows((PRINTED,)))
    names = list(PRINTED.columns)
    whole = table_of(summary_table([result(name) for name in names], run, "markdown"))
    assert whole[0][-2:] == ["paper mIoU", "paper mACC"]
    assert [line[-2:] for line in whole[2:]] == [["84.12", "90.53"], ["32.11", "-"], ["53.64", "70.10"]]
    other = table_of(summary_table([result("DLRSD_all_sem_seg"), result("VDD_other")], run, "markdown"))
    assert [line[-2:] for line in other[2:]] == [["84.12", "90.53"], ["-", "-"], ["-", "-"]]
    note = "paper: A paper, table 1: trained on DLRSD; - where the set is not the registration"
    assert note in text_report(RESULTS, run) and "table 1" not in text_report(RESULTS, RUN)


MEANS = BenchmarkReference(
    source="A paper, table 2 (DLRSD, R-I)",
    labels={"trained_on": "DLRSD", "components": "R-I"},
    columns={"DLRSD_all_sem_seg": "DLRSD", "VDD_all_sem_seg": "VDD"},
    figures={},
    means={"mIoU": 48.06, "fwIoU": None, "mACC": 61.72},
)


def test_means_that_a_paper_prints_stand_beside_those_over_the_same_sets():
    run = replace(RUN, published=PaperRows((PRINTED, MEANS, replace(MEANS, source="A paper, table 5 (3)"))))
    miou, macc = (sum(getattr(r.scores, key) for r in RESULTS) / 2 for key in ("mIoU", "mACC"))
    line = f"mean mIoU {miou:.2f} (paper: 48.06), mean mACC {macc:.2f} (paper: 61.72): A paper, table"
    for report in (text_report, markdown_report):
        notes = report(RESULTS, run).replace("\\", "")
        assert f"{line} 2 (DLRSD, R-I)\n" in notes and f"{line} 5 (3)\n" in notes and "table 1" in notes
    # Among more sets the mean is still that over its own, which are then named.
    more = text_report([*RESULTS, result("uavid_all_sem_seg")], run)
    assert f"{line} 2 (DLRSD, R-I), over DLRSD, VDD\n" in more
    # Without one of them there is no mean to compare.
    alone = text_report(RESULTS[:1], replace(RUN, published=PaperRows((MEANS,))))
    assert "(paper: " not in alone
    told = f"paper: {MEANS.source} does not compare: it is of DLRSD_all_sem_seg, VDD_all_sem_seg\n"
    assert told in alone
    content = json.loads(json_report(RESULTS, run))
    assert [row["mean_mIoU"] for row in content["published"]] == [53.64, 48.06, 48.06]
    assert content["datasets"]["DLRSD_all_sem_seg"]["paper"] == {"mIoU": 84.12, "mACC": 90.53}


def test_no_figure_of_a_paper_stands_beside_a_set_that_is_not_the_published_one():
    drawn = replace(RESULTS[0], unpublished="its scenes are drawn (x.json)")
    run = replace(RUN, published=PaperRows((PRINTED, MEANS)))
    told = "paper: no figure stands beside DLRSD_all_sem_seg: its scenes are drawn (x.json)\n"
    one = [drawn, RESULTS[1]]
    lines = table_of(summary_table(one, run, "markdown"))
    assert [line[-2:] for line in lines[2:]] == [["-", "-"], ["32.11", "-"], ["-", "-"]]
    text = text_report(one, run)
    assert told in text and "84.12" not in text and "(paper: " not in text
    content = json.loads(json_report(one, run))
    assert content["datasets"]["DLRSD_all_sem_seg"]["paper"] is None
    assert [row["source"] for row in content["published"]] == [PRINTED.source]
    both = [replace(each, unpublished="it has 9 images, the published set 2100") for each in RESULTS]
    text = text_report(both, run)
    assert text.count("paper: no figure stands beside") == 2 and "does not compare" not in text
    assert "paper mIoU" not in text and json.loads(json_report(both, run))["published"] == []
    assert "paper" not in text_report(both, RUN)  # there is no figure to leave out
    closed = [replace(CLOSED[0], unpublished="it has 9 images"), CLOSED[1]]
    text = text_report(closed, RUN)
    assert "91.94" not in text and f"no figure stands beside {CLOSED[0].name}: it has 9 images" in text
    assert "91.94" not in json_report(closed, RUN) and "91.94" in json_report(CLOSED, RUN)


def test_a_report_without_figures_of_a_paper_says_why():
    run = replace(RUN, published=PaperRows((), "A paper, table 1: B does not compare: layers is 3, there 5"))
    text = text_report(RESULTS, run)
    assert text.count(f"\npaper: {run.published.why_none}\n") == 1
    assert "paper mIoU" not in text and "paper" not in text_report(RESULTS, RUN)
    assert json.loads(json_report(RESULTS, run))["not_compared"] == run.published.why_none
    # Figures of sets that were not evaluated make no columns of dashes.
    other = replace(RUN, published=PaperRows((PRINTED,)))
    text = text_report([result("UDD5_all_sem_seg")], other)
    assert (
        "paper mIoU" not in text
        and "paper: A paper, table 1: trained on DLRSD does not compare: it is of" in text
    )


def test_the_text_says_what_one_must_know():
    output = text_report(RESULTS, RUN)
    assert "*: the set contains images the model was trained on" in output
    assert "VDD_all_sem_seg: as is" in output
    assert "ab" * 32 in output and "torch 2" in output and "images 0 labels 1" in output
    assert "CONTROL" not in output
    assert "CONTROL, not a result" in text_report(RESULTS, replace(RUN, rotated=1))
    assert "*: the set" not in text_report(RESULTS[1:], RUN)


def test_markdown_has_the_classes_of_each_set_and_marks_the_unseen():
    output = markdown_report(RESULTS, RUN)
    assert output.count("### DLRSD_all_sem_seg") == output.count("### VDD_all_sem_seg") == 1
    assert "| road (unseen) " in output and "| building " in output


def test_names_and_notes_are_text_in_markdown_and_no_formulas_in_csv():
    named = replace(
        result("VDD_all_sem_seg", note="see [x](http://a.b)"),
        classes=("=1+1", "road|path", "<b>water</b>", "[a](b)"),
    )
    page = markdown_report([named], RUN)
    for shown in (r"road\|path", r"\<b\>water\</b\>", r"\[a\](b)", r"see \[x\](http\://a.b)"):
        assert shown in page
    rows = list(csv.DictReader(io.StringIO(classes_csv([named]))))
    assert [row["class"] for row in rows] == ["'=1+1", *named.classes[1:]]


def test_csv_and_json_hold_the_exact_numbers():
    rows = list(csv.DictReader(io.StringIO(table_csv(RESULTS))))
    classes = list(csv.DictReader(io.StringIO(classes_csv(RESULTS))))
    content = json.loads(json_report(RESULTS, replace(RUN, published=PaperRows((PRINTED,)))))
    assert [row["dataset"] for row in rows] == [r.name for r in RESULTS] == list(content["datasets"])
    for row, one in zip(rows, RESULTS, strict=True):
        stored = content["datasets"][one.name]
        assert float(row["mIoU"]) == stored["mIoU"] == one.scores.mIoU
        assert float(row["unseen_mIoU"]) == stored["unseen"]["mIoU"] == subset_miou(one, False)[0]
        assert row["contains_training_images"] == str(one.in_domain)
        assert stored["classes"]["sand"] == {"IoU": None, "ACC": None, "F1": None, "pixels": 0, "seen": True}
    assert len(classes) == 8
    assert classes[3]["IoU"] == "" and float(classes[1]["IoU"]) == RESULTS[0].scores.IoU[1]
    assert content["mean"]["datasets"] == 2
    assert content["datasets"]["VDD_all_sem_seg"]["paper"] == {"mIoU": 32.11, "mACC": None}
    means = {"mean_mIoU": 53.64, "mean_mACC": 70.10}
    labels = {"trained_on": "DLRSD", "backbone": "ViT-B"}
    about = {"source": PRINTED.source, "sets": list(PRINTED.columns)}
    assert content["published"] == [{**about, **labels, **PRINTED.figures, **means}]
    assert content["not_compared"] is None and json.loads(json_report(RESULTS, RUN))["published"] == []
    assert content["weights"]["sha256"] == "ab" * 32


def test_fixed_classes_have_no_seen_or_unseen_and_chance_is_not_drawn_beside_them():
    header, _, first, second, mean = table_of(summary_table(CLOSED, RUN, "markdown"))
    protocol, paper = ([f"{word} {key}" for key in FIGURES] for word in ("protocol", "paper"))
    assert header == ["dataset", "images", *SUMMARY, *protocol, *paper]
    figures = [f"{getattr(CLOSED[0].protocol, key):.2f}" for key in FIGURES]
    assert first[6:] == [*figures, "85.38", "91.94", "92.10"]
    assert second[9:] == ["-", "-", "-"] and mean[6:] == ["-"] * 6
    notes = text_report(CLOSED, RUN)
    assert "seen" not in notes and "chance" not in notes
    assert "Vaihingen_geoseg_padded_test_sem_seg: paper: BiCoR-Seg, table 2" in notes
    assert "mIoU and mF1 over class 0, class 1, class 2, class 3, class 4; class 5 is trained" in notes
    assert "unseen" not in markdown_report(CLOSED, RUN)


def test_an_open_vocabulary_model_keeps_its_columns_beside_those_of_a_protocol():
    mixed = [RESULTS[0], replace(CLOSED[0], seen=(True,) * 6, paper=None)]
    header, _, first, second, mean = table_of(summary_table(mixed, RUN, "markdown"))
    assert header[6:] == ["seen", "unseen", "chance", *(f"protocol {key}" for key in FIGURES)]
    assert first[9:] == mean[9:] == ["-"] * 3
    assert second[9] == f"{CLOSED[0].protocol.mIoU:.2f}"
    assert len(table_of(summary_table(RESULTS, RUN, "markdown"))[0]) == 9  # no protocol, no columns


def test_csv_and_json_hold_the_protocol_and_what_the_paper_prints():
    rows = list(csv.DictReader(io.StringIO(table_csv([*CLOSED, RESULTS[0]]))))
    assert [row["protocol"] for row in rows] == ["geoseg_isprs", "geoseg_loveda", ""]
    assert float(rows[0]["protocol_mF1"]) == CLOSED[0].protocol.mF1
    assert rows[2]["protocol_OA"] == "" and rows[0]["seen_mIoU"] == "" and rows[0]["seen_classes"] == "0"
    assert {row["seen"] for row in csv.DictReader(io.StringIO(classes_csv(CLOSED)))} == {""}
    content = json.loads(json_report([*CLOSED, RESULTS[0]], RUN))["datasets"]
    padded, val, other = content.values()
    assert padded["protocol"]["mIoU"] == CLOSED[0].protocol.mIoU
    assert padded["paper"]["OA"] == 92.10 and val["paper"] is None
    assert "seen" not in padded and "seen" in other and other["protocol"] is None
    assert padded["classes"]["class 0"]["seen"] is None
