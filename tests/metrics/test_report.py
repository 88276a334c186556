"""Laws of the score tables and of their JSON."""

import json

import numpy as np
import pytest

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import ConfusionMatrix, Scores
from rskt_seg.metrics.report import (
    SUMMARY,
    class_table,
    mean_scores,
    render_table,
    score_table,
    scores_json,
)

NAMES = ("Building", "Road|path", "Clutter/background")


def scores(prediction: list[int], label: list[int]) -> Scores:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([prediction]), np.array([label]))
    return matrix.scores()


GOOD = scores([0, 1, 1, 0], [0, 1, 1, 255])
POOR = scores([1, 1, 255, 0], [0, 1, 0, 1])


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("\\|", "&").strip("|").split("|")]


def test_the_plain_table_has_a_row_for_each_dataset_in_order_and_their_means():
    lines = score_table({"b": GOOD, "a": POOR}).splitlines()
    assert lines[0].split() == ["dataset", "mIoU", "mACC", "fwIoU", "pACC"]
    assert lines[2].split() == ["b", "100.00", "100.00", "100.00", "100.00"]
    assert lines[3].split() == ["a", *(f"{getattr(POOR, key):.2f}" for key in SUMMARY)]
    average = mean_scores({"b": GOOD, "a": POOR})
    assert lines[4].split() == ["mean", "of", "2", *(f"{average[key]:.2f}" for key in SUMMARY)]
    assert len(lines) == 5


def test_the_markdown_table_has_the_cells_of_the_plain_one():
    results = {"b": GOOD, "a": POOR}
    lines = score_table(results, "markdown").splitlines()
    assert all(line.startswith("|") and line.endswith("|") for line in lines)
    assert set(lines[1]) <= set("|-:")
    rows = [" ".join(cells(line)) for line in lines[2:]]
    assert [row.split() for row in rows] == [line.split() for line in score_table(results).splitlines()[2:]]


def test_a_single_dataset_has_no_row_of_means():
    assert "mean" not in score_table({"a": GOOD})


def test_means_are_unweighted_whatever_the_number_of_pixels():
    huge = scores([0] * 1000, [0] * 1000)
    average = mean_scores({"a": huge, "b": POOR})
    for key in SUMMARY:
        assert average[key] == pytest.approx((getattr(huge, key) + getattr(POOR, key)) / 2, abs=1e-9)


def test_a_dataset_whose_name_is_a_number_keeps_its_name():
    assert score_table({"007": GOOD}).splitlines()[2].startswith("007 ")


def test_digits_are_as_asked_for():
    assert score_table({"a": POOR}, digits=4).splitlines()[2].split()[1] == f"{POOR.mIoU:.4f}"


def test_the_class_table_shows_absent_classes_as_a_dash_and_escapes_bars():
    lines = class_table(GOOD, NAMES, "markdown").splitlines()
    assert cells(lines[2]) == ["Building", "100.00", "100.00", "100.00", "1"]
    assert cells(lines[3]) == ["Road&path", "100.00", "100.00", "100.00", "2"]
    assert cells(lines[4]) == ["Clutter/background", "-", "-", "-", "0"]


def test_marks_of_markdown_are_escaped_in_headers_too():
    table = render_table(["method", "to a|b"], [["a|b", 1.0]], "markdown").splitlines()
    assert [line.replace("\\|", "").count("|") for line in table] == [3, 3, 3]


def test_json_holds_every_figure_unrounded_and_null_for_absent_classes():
    report = json.loads(scores_json({"a": GOOD, "b": POOR}, {"a": NAMES, "b": NAMES}))
    assert list(report["datasets"]) == ["a", "b"]
    assert report["mean"] == mean_scores({"a": GOOD, "b": POOR})
    row = report["datasets"]["b"]
    assert {key: row[key] for key in (*SUMMARY, "mF1")} == {
        key: getattr(POOR, key) for key in (*SUMMARY, "mF1")
    }
    assert (row["labelled_pixels"], row["unclassified_pixels"]) == (4, 1)
    assert list(row["classes"]) == list(NAMES)
    assert row["classes"]["Road|path"]["IoU"] == POOR.IoU[1]
    assert row["classes"]["Clutter/background"] == {"IoU": None, "ACC": None, "F1": None, "pixels": 0}


def test_class_names_that_do_not_fit_are_refused():
    with pytest.raises(DatasetError, match="3 classes, found 2 names"):
        class_table(GOOD, NAMES[:2])
    with pytest.raises(DatasetError, match="3 classes, found 2 names"):
        scores_json({"a": GOOD}, {"a": NAMES[:2]})
    with pytest.raises(DatasetError, match="missing for a"):
        scores_json({"a": GOOD}, {})


def test_no_result_and_an_unknown_style_are_refused():
    for report in (score_table, mean_scores):
        with pytest.raises(DatasetError, match="no result"):
            report({})
    with pytest.raises(DatasetError, match="plain, markdown"):
        score_table({"a": GOOD}, "html")
