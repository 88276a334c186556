"""Scores of several datasets as a table for people and as JSON for programs."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import Scores
from rskt_seg.metrics.protocols import ProtocolScores, protocol_as_dict
from rskt_seg.quoting import markdown_text
from rskt_seg.wording import counted

SUMMARY = ("mIoU", "mACC", "fwIoU", "pACC")
"""The columns of the published tables, in percent."""
PER_CLASS = ("IoU", "ACC", "F1")
"""The scores of a single class, in percent."""
Cell = str | int | float
"""Content of one cell of a table."""
_FORMATS = {"plain": "simple", "markdown": "github"}


def mean_scores(results: Mapping[str, Scores]) -> dict[str, float]:
    """Average over datasets, unweighted, as in the tables of papers.

    Args:
        results: Name of each dataset -> its scores.

    Returns:
        The mean of each of `SUMMARY`, in percent.

    Raises:
        DatasetError: If there is no result.
    """
    if not results:
        raise DatasetError("there is no result to report: no dataset was evaluated")
    return {key: math.fsum(getattr(s, key) for s in results.values()) / len(results) for key in SUMMARY}


def score_table(results: Mapping[str, Scores], style: str = "plain", digits: int = 2) -> str:
    """Tabulate mIoU, mACC, fwIoU and pACC (percent): a row for each dataset, and their means below several.

    Args:
        results: Name of each dataset -> its scores. The means cover exactly these, and say how many they are.
        style: "plain" or "markdown".
        digits: Decimals of the scores.

    Returns:
        The table.

    Raises:
        DatasetError: If there is no result or no such style.
    """
    rows = [[name, *(getattr(scores, key) for key in SUMMARY)] for name, scores in results.items()]
    average = mean_scores(results)
    if len(results) > 1:
        rows.append([f"mean of {len(results)}", *average.values()])
    return render_table(("dataset", *SUMMARY), rows, style, digits)


def class_table(scores: Scores, class_names: Sequence[str], style: str = "plain", digits: int = 2) -> str:
    """Tabulate IoU, accuracy, F1 (percent) and labelled pixels of each class; `-` where it is absent.

    Args:
        scores: Scores of one dataset.
        class_names: One name for each class.
        style: "plain" or "markdown".
        digits: Decimals of the scores.

    Returns:
        The table.

    Raises:
        DatasetError: If the number of names is not that of the classes, or there is no such style.
    """
    _check_names(scores, class_names)
    columns = [getattr(scores, key).tolist() for key in PER_CLASS]
    rows = [list(row) for row in zip(class_names, *columns, scores.pixels.tolist(), strict=True)]
    return render_table(("class", *PER_CLASS, "pixels"), rows, style, digits)


def scores_json(
    results: Mapping[str, Scores],
    class_names: Mapping[str, Sequence[str]],
    protocols: Mapping[str, ProtocolScores] | None = None,
) -> str:
    """Write scores as JSON.

    Args:
        results: Name of each dataset -> its scores.
        class_names: Name of each dataset -> the names of its classes.
        protocols: Name of a dataset -> its scores by its published protocol, for those that have one.

    Returns:
        `{"datasets": {name: {...}}, "mean": {...}}`, indented. A dataset has the summary and mF1 in percent,
        pixel counts, for each class name its IoU, ACC, F1 and pixels (null where it is absent), and under
        "protocol" the figures of its protocol.

    Raises:
        DatasetError: If there is no result, or the names of a dataset are missing or not one for each class.
    """
    if missing := [name for name in results if name not in class_names]:
        raise DatasetError(f"class names are missing for {', '.join(missing)}")
    datasets = {name: scores_as_dict(scores, class_names[name]) for name, scores in results.items()}
    for name, figures in (protocols or {}).items():
        datasets[name]["protocol"] = protocol_as_dict(figures, class_names[name])
    report = {"datasets": datasets, "mean": mean_scores(results)}
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)


def scores_as_dict(scores: Scores, class_names: Sequence[str]) -> dict[str, Any]:
    """Collect the scores of one dataset for JSON.

    Args:
        scores: Scores of the dataset.
        class_names: One name for each class.

    Returns:
        The summary, mF1 and pixel counts, and under "classes" the scores of each class, None where it is
        absent.

    Raises:
        DatasetError: If the number of names is not that of the classes.
    """
    _check_names(scores, class_names)
    by_class: dict[str, dict[str, float | None]] = {}
    for k, name in enumerate(class_names):
        values = {key: float(getattr(scores, key)[k]) for key in PER_CLASS}
        by_class[name] = {key: None if math.isnan(value) else value for key, value in values.items()}
        by_class[name]["pixels"] = int(scores.pixels[k])
    return {
        **{key: getattr(scores, key) for key in (*SUMMARY, "mF1")},
        "labelled_pixels": int(scores.pixels.sum()),
        "unclassified_pixels": scores.unclassified,
        "classes": by_class,
    }


def render_table(
    headers: Sequence[str], rows: Iterable[Sequence[Cell]], style: str = "plain", digits: int = 2
) -> str:
    """Align cells in columns: the first one, of words, to the left, all others to the right.

    Args:
        headers: Title of each column.
        rows: Cells of each row; a float is rounded, NaN is `-`.
        style: "plain" or "markdown".
        digits: Decimals of floats.

    Returns:
        The table.

    Raises:
        DatasetError: If there is no such style.
    """
    if style not in _FORMATS:
        raise DatasetError(f"unknown table style {style!r}; known: {', '.join(_FORMATS)}")
    cells = [[_cell_text(value, digits) for value in row] for row in rows]
    if style == "markdown":
        headers = [markdown_text(text) for text in headers]
        cells = [[markdown_text(text) for text in row] for row in cells]
    align = ("left", *["right"] * (len(headers) - 1))
    return str(tabulate(cells, headers, tablefmt=_FORMATS[style], colalign=align, disable_numparse=True))


def _cell_text(value: Cell, digits: int) -> str:
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _check_names(scores: Scores, class_names: Sequence[str]) -> None:
    if len(class_names) != len(scores.IoU):
        raise DatasetError(
            f"expected one name for each class: {counted(len(scores.IoU), 'class', 'classes')}, found "
            f"{counted(len(class_names), 'name')}"
        )
