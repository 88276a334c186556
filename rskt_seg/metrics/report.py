"""Scores of several datasets as a table for people and as JSON for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import Scores
from rskt_seg.metrics.protocols import ProtocolScores, protocol_as_dict

SUMMARY = ("mIoU", "mACC", "fwIoU", "pACC")
"""The columns of the published tables, in percent."""
PER_CLASS = ("IoU", "ACC", "F1")
_FORMATS = {"plain": "simple", "markdown": "github"}


def means(results: Mapping[str, Scores]) -> dict[str, float]:
    """Unweighted means over the datasets of `results`, as in the paper's tables (percent).

    Raises `DatasetError` when there is no result.
    """
    if not results:
        raise DatasetError("there is no result to report: no dataset was evaluated")
    return {key: math.fsum(getattr(s, key) for s in results.values()) / len(results) for key in SUMMARY}


def table(results: Mapping[str, Scores], style: str = "plain", digits: int = 2) -> str:
    """A row of mIoU, mACC, fwIoU and pACC (percent) for each dataset, and their means below several.

    `style` is "plain" or "markdown". The means cover exactly the datasets of `results`, and say how
    many they are. Raises `DatasetError` when there is no result or no such style.
    """
    rows = [[name, *(getattr(scores, key) for key in SUMMARY)] for name, scores in results.items()]
    average = means(results)
    if len(results) > 1:
        rows.append([f"mean of {len(results)}", *average.values()])
    return render(("dataset", *SUMMARY), rows, style, digits)


def class_table(scores: Scores, class_names: Sequence[str], style: str = "plain", digits: int = 2) -> str:
    """A row of IoU, accuracy, F1 (percent) and labelled pixels for each class; `-` where it is absent.

    Raises `DatasetError` unless there is one name for each class.
    """
    _check_names(scores, class_names)
    columns = [getattr(scores, key).tolist() for key in PER_CLASS]
    rows = [list(row) for row in zip(class_names, *columns, scores.pixels.tolist(), strict=True)]
    return render(("class", *PER_CLASS, "pixels"), rows, style, digits)


def to_json(
    results: Mapping[str, Scores],
    class_names: Mapping[str, Sequence[str]],
    protocols: Mapping[str, ProtocolScores] | None = None,
) -> str:
    """`{"datasets": {name: {...}}, "mean": {...}}`, indented; absent classes are null.

    For each dataset: the summary and mF1 in percent, pixel counts, for each class name of
    `class_names[dataset]` its IoU, ACC, F1 and pixels, and under "protocol" the figures of its published
    protocol where `protocols` has them. Raises `DatasetError` when there is no result or
    when the names of a dataset are missing or not one for each class.
    """
    if missing := [name for name in results if name not in class_names]:
        raise DatasetError(f"class names are missing for {', '.join(missing)}")
    datasets = {name: scores_as_dict(scores, class_names[name]) for name, scores in results.items()}
    for name, scores in (protocols or {}).items():
        datasets[name]["protocol"] = protocol_as_dict(scores, class_names[name])
    report = {"datasets": datasets, "mean": means(results)}
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)


def scores_as_dict(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """The summary, mF1 and pixel counts of one dataset, and under "classes" those of each class, for JSON.

    Absent classes are None. Raises `DatasetError` unless there is one name for each class.
    """
    _check_names(scores, class_names)
    classes = {
        name: {key: _or_null(float(getattr(scores, key)[k])) for key in PER_CLASS}
        | {"pixels": int(scores.pixels[k])}
        for k, name in enumerate(class_names)
    }
    summary = {key: getattr(scores, key) for key in (*SUMMARY, "mF1")}
    counts = {"labelled_pixels": int(scores.pixels.sum()), "unclassified_pixels": scores.unclassified}
    return summary | counts | {"classes": classes}


def _check_names(scores: Scores, class_names: Sequence[str]) -> None:
    if len(class_names) != len(scores.IoU):
        raise DatasetError(
            f"one name for each class was expected: {len(scores.IoU)} classes, found {len(class_names)} names"
        )


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def render(headers: Sequence[str], rows: list[list[Any]], style: str = "plain", digits: int = 2) -> str:
    """A table whose first column is words and whose others are numbers; NaN is `-`.

    Raises `DatasetError` for a style other than "plain" and "markdown".
    """
    if style not in _FORMATS:
        raise DatasetError(f"unknown table style {style!r}; known: {', '.join(_FORMATS)}")
    cells = [[_cell(value, digits) for value in row] for row in rows]
    if style == "markdown":
        cells = [[text.replace("|", "\\|") for text in row] for row in cells]
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate(cells, headers, tablefmt=_FORMATS[style], colalign=align, disable_numparse=True)


def _cell(value: Any, digits: int) -> str:
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
