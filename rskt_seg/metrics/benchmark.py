"""The table of a benchmark: every test set with its scores, beside chance and what was published.

All numbers are percent. A mean runs over exactly the sets of the report, and says how many they are.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import Scores
from rskt_seg.metrics.protocols import FIGURES, ProtocolScores, explain_scores, protocol_as_dict
from rskt_seg.metrics.published import COLUMNS, PROTOCOL, Published
from rskt_seg.metrics.report import PER_CLASS, SUMMARY, class_table, mean_scores, render_table, scores_as_dict

_IN_DOMAIN = " *"
_Columns = tuple[list[str], list[list[Any]]]
"""Titles of columns, and their cells for each set and, last, for the means; both may be empty."""


@dataclass(frozen=True)
class Reference:
    """What a paper prints for a test set, in percent (None: not printed), and `source`, which row that is."""

    source: str
    mIoU: float
    mF1: float | None = None
    OA: float | None = None


@dataclass(frozen=True, eq=False)
class SetResult:
    """What was measured on one test set.

    `seen`: for each class, whether its name was trained, None for a model whose classes are fixed;
    `fingerprint`: of images and labels; `in_domain`: whether the set contains images that the model was
    trained on; `protocol`: figures of the published protocol of the set; `paper`: what a paper prints for it.
    """

    name: str
    classes: tuple[str, ...]
    seen: tuple[bool, ...] | None
    scores: Scores
    images: int
    fingerprint: str
    in_domain: bool = False
    note: str = ""
    protocol: ProtocolScores | None = None
    paper: Reference | None = None


@dataclass(frozen=True)
class Run:
    """What was evaluated and with what.

    `trained_on`: names of the training sets, which decide what is seen; `published`: the row of RSKT-Seg's
    paper to print beside the results; `rotated`: by how many places the class names were exchanged (0: not).
    """

    weights: str
    weights_sha256: str
    trained_on: tuple[str, ...]
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    published: Published | None = None
    rotated: int = 0


def chance_iou(pixels: np.ndarray) -> np.ndarray:
    """Expected IoU (percent) of each class if each pixel's class is guessed uniformly; (K,), NaN if absent.

    `pixels`: ground-truth counts (K,). From the expected counts: a class with share p of the labelled
    pixels is hit on p / K of them, and its union is p + 1 / K - p / K. Raises `DatasetError` where no
    pixel is labelled.
    """
    if not pixels.any():
        raise DatasetError("chance is undefined without labelled pixels")
    share, guess = np.asarray(pixels) / np.sum(pixels), 1 / len(pixels)
    expected = 100 * share * guess / (share + guess - share * guess)
    return np.where(share > 0, expected, np.nan)


def subset_miou(result: SetResult, seen: bool) -> tuple[float, int]:
    """Mean IoU of the seen or of the unseen classes with ground truth (NaN if none), and their number."""
    if result.seen is None:
        return math.nan, 0
    iou = result.scores.IoU[np.array(result.seen) == seen]
    iou = iou[~np.isnan(iou)]
    return (float(iou.mean()) if len(iou) else math.nan), len(iou)


def text_report(results: Sequence[SetResult], run: Run) -> str:
    """The table and what one must know to read it, for a terminal or a text file."""
    return (
        "\n".join([summary_table(results, run), "", *_notes(results, run), "", *_provenance(results, run)])
        + "\n"
    )


def markdown_report(results: Sequence[SetResult], run: Run) -> str:
    """As `text_report`, and a table of the classes of each set."""
    lines = [summary_table(results, run, "markdown"), ""]
    lines += [f"- {line}" for line in _notes(results, run)]
    for result in results:
        names = [
            name + (" (unseen)" if seen is False else "")
            for name, seen in zip(result.classes, _seen(result), strict=True)
        ]
        lines += ["", f"### {result.name}", "", class_table(result.scores, names, "markdown")]
    lines += ["", "### What was run", ""]
    return "\n".join(lines + [f"- {line}" for line in _provenance(results, run)]) + "\n"


def summary_table(results: Sequence[SetResult], run: Run, style: str = "plain") -> str:
    """A row for each set and one of means: images and the four scores.

    Further columns where there is something for them: seen and unseen classes and chance (not for models
    whose classes are fixed), the figures of a set's protocol, the paper's. `style` is "plain" or "markdown".
    Raises `DatasetError` when there is no result.
    """
    average = mean_scores({result.name: result.scores for result in results})
    headers = ["dataset", "images", *SUMMARY]
    rows = [_row(result) for result in results]
    if len(results) > 1:
        total = sum(result.images for result in results)
        rows.append([f"mean of {len(results)}", total, *average.values()])
    for titles, cells in (_vocabulary_columns(results), _protocol_columns(results), _paper(results, run)):
        headers += titles
        for row, added in zip(rows, cells, strict=False):  # cells end with those of the means
            row += added
    return render_table(headers, rows, style)


def table_csv(results: Sequence[SetResult]) -> str:
    """One line for each set, no means; empty where a set has no such class."""
    columns = ("dataset", "images", *SUMMARY, "mF1", "seen_mIoU", "seen_classes", "unseen_mIoU",
               "unseen_classes", "chance_mIoU", "contains_training_images", "fingerprint", "protocol",
               *(f"protocol_{key}" for key in FIGURES))  # fmt: skip
    rows = []
    for result in results:
        scores = [getattr(result.scores, key) for key in (*SUMMARY, "mF1")]
        parts = [value for seen in (True, False) for value in subset_miou(result, seen)]
        guess = _guessing(result)
        figures = _figures(result.protocol, math.nan)
        name = result.protocol.protocol if result.protocol else ""
        rows.append([result.name, result.images, *scores, *parts, guess, result.in_domain,
                     result.fingerprint, name, *figures])  # fmt: skip
    return _csv(columns, rows)


def classes_csv(results: Sequence[SetResult]) -> str:
    """One line for each class of each set; scores are empty where it has no ground truth."""
    rows = []
    for result in results:
        values = zip(*(getattr(result.scores, key).tolist() for key in PER_CLASS), strict=True)
        for k, numbers in enumerate(values):
            row = [result.name, k, result.classes[k], _seen(result)[k], *numbers]
            rows.append([*row, int(result.scores.pixels[k])])
    return _csv(("dataset", "id", "class", "seen", *PER_CLASS, "pixels"), rows)


def json_report(results: Sequence[SetResult], run: Run) -> str:
    """Everything of the report, indented; what is undefined is null."""
    report = {
        "datasets": {result.name: _set_as_dict(result, run) for result in results},
        "mean": mean_scores({result.name: result.scores for result in results}) | {"datasets": len(results)},
        "weights": {"path": run.weights, "sha256": run.weights_sha256},
        "trained_on": list(run.trained_on),
        "rotated_names": run.rotated,
        "published": asdict(run.published) if run.published else None,
        "versions": dict(run.versions),
        "config": run.config,
    }
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _guessing(result: SetResult) -> float:
    """mIoU of guessing."""
    return float(np.nanmean(chance_iou(result.scores.pixels)))


def _row(result: SetResult) -> list[Any]:
    name = result.name + _IN_DOMAIN * result.in_domain
    return [name, result.images, *(getattr(result.scores, key) for key in SUMMARY)]


def _seen(result: SetResult) -> tuple[bool | None, ...]:
    return (None,) * len(result.classes) if result.seen is None else result.seen


def _figures(scores: ProtocolScores | Reference | None, missing: Any = "-") -> list[Any]:
    values = [getattr(scores, key, None) for key in FIGURES]
    return [missing if value is None else value for value in values]


def _vocabulary_columns(results: Sequence[SetResult]) -> _Columns:
    """What matters for models that are asked for classes by name."""
    if all(result.seen is None for result in results):
        return [], []
    cells = [
        [*(_counted(*subset_miou(result, seen)) for seen in (True, False)), _guessing(result)]
        for result in results
    ]
    parts = [_mean_of_parts(results, seen) for seen in (True, False)]
    return ["seen", "unseen", "chance"], [*cells, [*parts, float(np.mean([row[-1] for row in cells]))]]


def _protocol_columns(results: Sequence[SetResult]) -> _Columns:
    """No means: the protocols of two sets differ."""
    if all(result.protocol is None for result in results):
        return [], []
    cells = [_figures(result.protocol) for result in results]
    return [f"protocol {key}" for key in FIGURES], [*cells, _figures(None)]


def _counted(value: float, count: int) -> str:
    return f"{value:.2f} ({count})" if count else "-"


def _mean_of_parts(results: Sequence[SetResult], seen: bool) -> str:
    values = [subset_miou(result, seen)[0] for result in results]
    values = [value for value in values if not math.isnan(value)]
    return f"{np.mean(values):.2f} ({len(values)} sets)" if values else "-"


def _paper(results: Sequence[SetResult], run: Run) -> _Columns:
    """What was published: of a benchmark of RSKT-Seg, or by the references of the sets."""
    if run.published is None:
        if all(result.paper is None for result in results):
            return [], []
        cells = [_figures(result.paper) for result in results]
        return [f"paper {key}" for key in FIGURES], [*cells, _figures(None)]
    row, columns = run.published, [PROTOCOL.get(result.name) for result in results]
    cells = [[row.mIoU[c], row.mACC[c]] if c else ["-", "-"] for c in columns]
    comparable = sorted(column or "" for column in columns) == sorted(COLUMNS)
    means_of_row = [row.mean_mIoU, row.mean_mACC] if comparable else ["-", "-"]
    return ["paper mIoU", "paper mACC"], [*cells, means_of_row]


def _notes(results: Sequence[SetResult], run: Run) -> list[str]:
    notes = []
    if run.rotated:
        notes.append(
            f"CONTROL, not a result: each class was asked for by the name of the one {run.rotated} places on"
        )
    if any(result.in_domain for result in results):
        notes.append("*: the set contains images the model was trained on; its score is mostly on those")
    if any(result.seen is not None for result in results):
        trained = ", ".join(run.trained_on) or "which nothing names"
        notes += [
            f"seen, unseen: mean IoU of the classes whose names, case and plural aside, are or are not those "
            f"of the training data, {trained} (number of classes with ground truth)",
            "chance: expected mIoU of guessing each pixel's class uniformly",
        ]
    if run.published is not None:
        notes.append(
            f"paper: {run.published.method} {run.published.backbone} trained on {run.published.trained_on}, "
            "table 1; - where the set is not the registration that the paper scored"
        )
    for result in results:
        if result.protocol is not None:
            notes += [
                f"{result.name}: {line}" for line in explain_scores(result.protocol, result.classes)[1:]
            ]
        if result.paper is not None:
            notes.append(f"{result.name}: paper: {result.paper.source}")
    return notes + [f"{result.name}: {result.note}" for result in results if result.note]


def _provenance(results: Sequence[SetResult], run: Run) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    prints = [f"{result.name}: {result.images} images, {result.fingerprint}" for result in results]
    return [f"weights: {run.weights} (sha256 {run.weights_sha256})", f"versions: {versions}", *prints]


def _set_as_dict(result: SetResult, run: Run) -> dict[str, Any]:
    values = scores_as_dict(result.scores, result.classes)
    for name, seen in zip(result.classes, _seen(result), strict=True):
        values["classes"][name]["seen"] = seen
    parts = {}
    for key, seen in (("seen", True), ("unseen", False)):
        value, count = subset_miou(result, seen)
        parts[key] = {"mIoU": value if count else None, "classes": count}
    protocol = protocol_as_dict(result.protocol, result.classes) if result.protocol else None
    return {
        "images": result.images,
        "fingerprint": result.fingerprint,
        "contains_training_images": result.in_domain,
        "note": result.note,
        "chance_mIoU": _guessing(result),
        **({} if result.seen is None else parts),
        "protocol": protocol,
        "paper": _paper_as_dict(result, run.published),
        **values,
    }


def _paper_as_dict(result: SetResult, row: Published | None) -> dict[str, Any] | None:
    if row is None:
        return asdict(result.paper) if result.paper else None
    column = PROTOCOL.get(result.name)
    return {"mIoU": row.mIoU[column], "mACC": row.mACC[column]} if column else None


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in row])
    return buffer.getvalue()
