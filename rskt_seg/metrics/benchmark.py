"""Report of a benchmark: the scores of every test set, beside chance and what papers print.

All numbers are percent. A mean covers exactly the sets of the report, and says how many they are.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.paper_rows import printed_columns, printed_lines, rows_beside
from rskt_seg.metrics.protocols import FIGURES, ProtocolScores, explain_scores, protocol_as_dict
from rskt_seg.metrics.report import (
    PER_CLASS,
    SUMMARY,
    Cell,
    class_table,
    mean_scores,
    render_table,
    scores_as_dict,
)
from rskt_seg.metrics.results import BenchmarkReference, Reference, Run, SetResult
from rskt_seg.quoting import csv_cell, markdown_text
from rskt_seg.wording import counted

ENDINGS = (".txt", ".md", ".csv", "_classes.csv", ".json")
"""What the names of the files of a report end in, in the order of `report_files`."""
IN_DOMAIN = " *"
"""What marks a score on a set that contains training images."""
_Columns = tuple[list[str], list[list[Cell]]]
"""Titles of columns, and their cells for each set and, last, for the means; both may be empty."""


def chance_iou(pixels: ArrayLike) -> NDArray[np.float64]:
    """Compute the expected IoU of each class if every pixel's class is guessed uniformly.

    From the expected counts: a class with share p of the labelled pixels is hit on p / K of them, and its
    union is p + 1 / K - p / K.

    Args:
        pixels: Ground-truth pixels of each class, (K,).

    Returns:
        Expected IoU in percent, (K,); NaN for a class without ground truth.

    Raises:
        DatasetError: If no pixel is labelled.
    """
    counts = np.asarray(pixels)
    if not counts.any():
        raise DatasetError("chance is undefined without labelled pixels")
    share, guess = counts / counts.sum(), 1 / len(counts)
    expected = 100 * share * guess / (share + guess - share * guess)
    return np.where(share > 0, expected, np.nan)


def subset_miou(result: SetResult, seen: bool) -> tuple[float, int]:
    """Average IoU over the seen or the unseen classes of a set.

    Args:
        result: Result of the set.
        seen: Whether to average over the seen classes, or over the unseen ones.

    Returns:
        Mean IoU in percent over those that have ground truth (NaN if none has), and their number.
    """
    if result.seen is None:
        return math.nan, 0
    iou = result.scores.IoU[np.array(result.seen) == seen]
    iou = iou[~np.isnan(iou)]
    return (float(iou.mean()) if len(iou) else math.nan), len(iou)


def text_report(results: Sequence[SetResult], run: Run) -> str:
    """Write the summary and what one must know to read it, for a terminal or a text file.

    Args:
        results: Results of the sets.
        run: What was evaluated.

    Returns:
        Several lines.

    Raises:
        DatasetError: If there is no result.
    """
    lines = [summary_table(results, run), "", *_notes(results, run), "", *_provenance(results, run)]
    return "\n".join(lines) + "\n"


def markdown_report(results: Sequence[SetResult], run: Run) -> str:
    """Write what `text_report` has, and a table of the classes of each set, as Markdown.

    Args:
        results: Results of the sets.
        run: What was evaluated.

    Returns:
        Several lines.

    Raises:
        DatasetError: If there is no result.
    """
    lines = [summary_table(results, run, "markdown"), ""]
    lines += [f"- {markdown_text(line)}" for line in _notes(results, run)]
    for result in results:
        names = [
            name + (" (unseen)" if seen is False else "")
            for name, seen in zip(result.classes, result.seen_flags, strict=True)
        ]
        lines += ["", f"### {markdown_text(result.name)}", "", class_table(result.scores, names, "markdown")]
    lines += ["", "### What was run", "", *(f"- {markdown_text(line)}" for line in _provenance(results, run))]
    return "\n".join(lines) + "\n"


def summary_table(results: Sequence[SetResult], run: Run, style: str = "plain") -> str:
    """Tabulate a row for each set and one of means: images and the four summary scores.

    Further columns appear if there is something for them: seen and unseen classes and chance (not for models
    whose classes are fixed), the figures of published protocols, those of papers.

    Args:
        results: Results of the sets.
        run: What was evaluated.
        style: "plain" or "markdown".

    Returns:
        The table.

    Raises:
        DatasetError: If there is no result or no such style.
    """
    average = mean_scores({result.name: result.scores for result in results})
    headers = ["dataset", "images", *SUMMARY]
    rows: list[list[Cell]] = []
    for result in results:
        name = result.name + IN_DOMAIN * bool(result.in_domain)
        rows.append([name, result.images, *(getattr(result.scores, key) for key in SUMMARY)])
    if len(results) > 1:
        rows.append([f"mean of {len(results)}", sum(r.images for r in results), *average.values()])
    groups = (_vocabulary_columns(results), _protocol_columns(results), _paper_columns(results, run))
    for titles, cells in groups:
        headers += titles
        for row, added in zip(rows, cells, strict=False):  # cells end with those of the means
            row += added
    return render_table(headers, rows, style)


def table_csv(results: Sequence[SetResult]) -> str:
    """Format the results as CSV, one line for each set, without means.

    Args:
        results: The results of the sets, in the order of the lines.

    Returns:
        Header and lines; a cell is empty where a set has no such class.
    """
    columns = ("dataset", "images", *SUMMARY, "mF1", "seen_mIoU", "seen_classes", "unseen_mIoU",
               "unseen_classes", "chance_mIoU", "contains_training_images", "fingerprint", "protocol",
               *(f"protocol_{key}" for key in FIGURES))  # fmt: skip
    rows: list[list[object]] = []
    for result in results:
        scores = [getattr(result.scores, key) for key in (*SUMMARY, "mF1")]
        parts = [value for seen in (True, False) for value in subset_miou(result, seen)]
        name = result.protocol.protocol if result.protocol else ""
        trained = "" if result.in_domain is None else result.in_domain
        rows.append([result.name, result.images, *scores, *parts, _chance_miou(result), trained,
                     result.fingerprint, name, *_figures(result.protocol, math.nan)])  # fmt: skip
    return csv_text(columns, rows)


def classes_csv(results: Sequence[SetResult]) -> str:
    """Format the results as CSV, one line for each class of each set.

    Args:
        results: The results of the sets, in the order of the lines.

    Returns:
        Header and lines; scores are empty where a class has no ground truth.
    """
    rows: list[list[object]] = []
    for result in results:
        values = zip(*(getattr(result.scores, key).tolist() for key in PER_CLASS), strict=True)
        for k, numbers in enumerate(values):
            row = [result.name, k, result.classes[k], result.seen_flags[k], *numbers]
            rows.append([*row, int(result.scores.pixels[k])])
    return csv_text(("dataset", "id", "class", "seen", *PER_CLASS, "pixels"), rows)


def json_report(results: Sequence[SetResult], run: Run) -> str:
    """Write everything of the report as indented JSON; what is undefined is null.

    Args:
        results: Results of the sets.
        run: What was evaluated.

    Returns:
        The text.

    Raises:
        DatasetError: If there is no result.
    """
    report = {
        "datasets": {result.name: _set_as_dict(result, run) for result in results},
        "mean": mean_scores({r.name: r.scores for r in results}) | {"datasets": len(results)},
        "title": run.title,
        "model": asdict(run.model) if run.model else None,
        run.source: {"path": run.weights, "sha256": run.weights_sha256},
        "trained_on": list(run.trained_on),
        "training_free": run.training_free,
        "rotated_names": run.rotated,
        "published": [_row_as_dict(row) for row in rows_beside(results, run.published)],
        "not_compared": run.published.why_none or None,
        "versions": dict(run.versions),
        "config": run.config,
    }
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def report_files(results: Sequence[SetResult], run: Run) -> dict[str, str]:
    """Write a report in every form.

    Args:
        results: Results of the sets.
        run: What was evaluated.

    Returns:
        Each of `ENDINGS` -> content.

    Raises:
        DatasetError: If there is no result.
    """
    contents = (
        text_report(results, run),
        markdown_report(results, run),
        table_csv(results),
        classes_csv(results),
        json_report(results, run),
    )
    return dict(zip(ENDINGS, contents, strict=True))


def _chance_miou(result: SetResult) -> float:
    return float(np.nanmean(chance_iou(result.scores.pixels)))


def _figures(scores: ProtocolScores | Reference | None, missing: Cell = "-") -> list[Cell]:
    """Return the cells of `FIGURES`, `missing` for those that there are not."""
    values = [None if scores is None else getattr(scores, key) for key in FIGURES]
    return [missing if value is None else value for value in values]


def _vocabulary_columns(results: Sequence[SetResult]) -> _Columns:
    """Return the columns of models that are asked for classes by name."""
    if all(result.seen is None for result in results):
        return [], []
    columns: list[list[Cell]] = []
    for seen in (True, False):
        parts = [subset_miou(result, seen) for result in results]
        values = [value for value, count in parts if count]
        mean = f"{np.mean(values):.2f} ({counted(len(values), 'set')})" if values else "-"
        columns.append([*(f"{value:.2f} ({count})" if count else "-" for value, count in parts), mean])
    guesses = [_chance_miou(result) for result in results]
    columns.append([*guesses, float(np.mean(guesses))])
    return ["seen", "unseen", "chance"], [list(row) for row in zip(*columns, strict=True)]


def _protocol_columns(results: Sequence[SetResult]) -> _Columns:
    """Return the figures of published protocols, without means: the protocols of two sets differ."""
    if all(result.protocol is None for result in results):
        return [], []
    cells = [_figures(result.protocol) for result in results]
    return [f"protocol {key}" for key in FIGURES], [*cells, _figures(None)]


def _paper_columns(results: Sequence[SetResult], run: Run) -> _Columns:
    """Return what is printed of the whole benchmark or, if nothing is, of each set."""
    titles, cells = printed_columns(results, run.published)
    if titles or all(result.printed is None for result in results):
        return titles, cells
    cells = [_figures(result.printed) for result in results]
    return [f"paper {key}" for key in FIGURES], [*cells, _figures(None)]


def _notes(results: Sequence[SetResult], run: Run) -> list[str]:
    """Return what one must know to read the summary, a line for each fact."""
    notes = []
    if run.rotated:
        notes.append(
            "CONTROL, not a result: each class was asked for by the name of the one "
            f"{counted(run.rotated, 'place')} on"
        )
    if run.source == "predictions" and not run.trained_on:
        notes.append("training data unknown: no classes are marked as seen, no sets as trained on")
    if any(result.in_domain for result in results):
        notes.append("*: the set contains images the model was trained on; its score is mostly on those")
    if any(result.seen is not None for result in results):
        trained = _trained_on(run)
        notes += [
            "seen, unseen: mean IoU of the classes whose names (ignoring case and plural) are or are not "
            f"among those of the training data: {trained} (number of classes with ground truth)",
            "chance: expected mIoU of guessing each pixel's class uniformly",
        ]
    notes += printed_lines(results, run.published)
    for result in results:
        if result.protocol is not None:
            notes += [
                f"{result.name}: {line}" for line in explain_scores(result.protocol, result.classes)[1:]
            ]
        if result.printed is not None:
            notes.append(f"{result.name}: paper: {result.printed.source}")
    return notes + [f"{result.name}: {result.note}" for result in results if result.note]


def _trained_on(run: Run) -> str:
    return ", ".join(run.trained_on) or ("nothing" if run.training_free else "unknown")


def _provenance(results: Sequence[SetResult], run: Run) -> list[str]:
    """Return what the scores came from, a line for each fact."""
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    prints = [f"{result.name}: {counted(result.images, 'image')}, {result.fingerprint}" for result in results]
    source = f"{run.source}: {run.weights} (sha256 {run.weights_sha256}), trained on: {_trained_on(run)}"
    return [*([f"method: {run.title}"] if run.title else []), source, f"versions: {versions}", *prints]


def _set_as_dict(result: SetResult, run: Run) -> dict[str, Any]:
    values = scores_as_dict(result.scores, result.classes)
    for name, seen in zip(result.classes, result.seen_flags, strict=True):
        values["classes"][name]["seen"] = seen
    parts = {}
    for key, seen in (("seen", True), ("unseen", False)):
        value, count = subset_miou(result, seen)
        parts[key] = {"mIoU": value if count else None, "classes": count}
    paper = asdict(result.printed) if result.printed else None
    for row in run.published.rows:
        if row.figures and not result.unpublished and (column := row.columns.get(result.name)):
            paper = {measure: figures[column] for measure, figures in row.figures.items()}
    return {
        "images": result.images,
        "fingerprint": result.fingerprint,
        "contains_training_images": result.in_domain,
        "note": result.note,
        "unpublished": result.unpublished or None,
        "ignore_label": result.ignore,
        "records": asdict(result.records) if result.records else None,
        "chance_mIoU": _chance_miou(result),
        **({} if result.seen is None else parts),
        "protocol": protocol_as_dict(result.protocol, result.classes) if result.protocol else None,
        "paper": paper,
        **values,
    }


def _row_as_dict(row: BenchmarkReference) -> dict[str, Any]:
    means = {f"mean_{measure}": mean for measure, mean in row.means.items()}
    return {"source": row.source, "sets": list(row.columns), **row.labels, **row.figures, **means}


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a header and rows as CSV that spreadsheets show and do not run; NaN is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else csv_cell(v) for v in row])
    return buffer.getvalue()
