"""Reports of the cost of a model: text, Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rskt_seg.analysis.cost import ImageCost, Parameters
from rskt_seg.analysis.flops import RULE
from rskt_seg.analysis.measure import Measurement
from rskt_seg.metrics.report import Cell, render_table
from rskt_seg.metrics.results import EvaluatedModel, PrintedCost
from rskt_seg.quoting import csv_cell, markdown_text
from rskt_seg.wording import counted


@dataclass(frozen=True)
class ImageResult:
    """What is known of images of one size.

    Attributes:
        cost: What an image costs, as the configuration evaluates it.
        augmented: The same with the test-time augmentation of the configuration; None without one.
        measured: Time and memory; None if they were not measured.
    """

    cost: ImageCost
    augmented: ImageCost | None = None
    measured: Measurement | None = None


@dataclass(frozen=True)
class Analysis:
    """The cost of the model of a configuration.

    Attributes:
        config: The configuration, as it was named.
        model: Method, options, how an evaluation sees images, and the views of its augmentation, if it is on.
        classes: Number of classes that the model is asked for.
        parameters: Numbers of parameters.
        images: Results for each size.
        printed: What papers print.
        notices: Decisions that the user should know of, one line each.
        versions: Name of a package -> its version.
    """

    config: str
    model: EvaluatedModel
    classes: int
    parameters: Parameters
    images: tuple[ImageResult, ...]
    printed: tuple[PrintedCost, ...]
    notices: tuple[str, ...]
    versions: Mapping[str, str]


def text_report(analysis: Analysis) -> str:
    """Write the analysis for a terminal.

    Args:
        analysis: The analysis.

    Returns:
        Several lines.
    """
    return "\n\n".join(_sections(analysis, "plain")) + "\n"


def markdown_report(analysis: Analysis) -> str:
    """Write the analysis as Markdown.

    Args:
        analysis: The analysis.

    Returns:
        Several lines.
    """
    return "\n\n".join(_sections(analysis, "markdown")) + "\n"


def csv_report(analysis: Analysis) -> str:
    """Write a line for each size, in FLOPs, seconds and bytes; cells are empty where nothing is known.

    Args:
        analysis: The analysis.

    Returns:
        Header and lines.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    rows = [_flat(analysis, result) for result in analysis.images]
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(["" if value is None else csv_cell(value) for value in row.values()])
    return buffer.getvalue()


def json_report(analysis: Analysis) -> str:
    """Write the analysis as JSON, whose keys docs/cost.md describes.

    Args:
        analysis: The analysis.

    Returns:
        An object, indented.
    """
    images = []
    for result in analysis.images:
        measured = result.measured
        images.append(
            {
                "height": result.cost.height,
                "width": result.cost.width,
                **_cost(result.cost),
                "vocabulary_flops": result.cost.vocabulary_flops,
                "augmented": None if result.augmented is None else _cost(result.augmented),
                "measured": None if measured is None else asdict(measured) | _rates(measured),
            }
        )
    parameters = asdict(analysis.parameters) | {"frozen": analysis.parameters.frozen}
    tree = {
        "config": analysis.config,
        **asdict(analysis.model),
        "classes": analysis.classes,
        "rule": RULE,
        "parameters": parameters,
        "images": images,
        "printed": [asdict(each) | {"verdict": each.verdict} for each in analysis.printed],
        "notices": list(analysis.notices),
        "versions": dict(analysis.versions),
    }
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _cost(cost: ImageCost) -> dict[str, Any]:
    return {
        "flops": cost.flops,
        "multiply_adds": cost.flops // 2,
        "crops": cost.crops,
        "calls": [asdict(call) for call in cost.calls],
    }


def _rates(measured: Measurement) -> dict[str, Any]:
    return {"median_seconds": measured.median, "images_per_second": 1 / measured.median}


def _flat(analysis: Analysis, result: ImageResult) -> dict[str, Any]:
    """Return the columns of a line of CSV."""
    cost, augmented, measured = result.cost, result.augmented, result.measured
    return {
        "config": analysis.config,
        "method": analysis.model.method,
        "classes": analysis.classes,
        "parameters": analysis.parameters.total,
        "trained_parameters": analysis.parameters.trained,
        "height": cost.height,
        "width": cost.width,
        "crops": cost.crops,
        "flops": cost.flops,
        "vocabulary_flops": cost.vocabulary_flops,
        "augmented_crops": augmented.crops if augmented else None,
        "augmented_flops": augmented.flops if augmented else None,
        "median_seconds": measured.median if measured else None,
        "runs": len(measured.seconds) if measured else None,
        "threads": measured.threads if measured else None,
        "device": measured.device if measured else None,
        "memory_before": measured.memory_before if measured else None,
        "memory_peak": measured.memory_peak if measured else None,
    }


def _sections(analysis: Analysis, style: str) -> list[str]:
    counts = analysis.parameters
    head = [
        f"{analysis.model.method}, {analysis.config}",
        f"{_millions(counts.total)} parameters: {_millions(counts.trained)} trained, "
        f"{_millions(counts.frozen)} frozen; {counted(analysis.classes, 'class', 'classes')}",
    ]
    found = [*head, _image_table(analysis, style), _call_table(analysis, style)]
    if any(result.measured for result in analysis.images):
        found.append(_time_table(analysis, style))
    if analysis.printed:
        found.append(_printed_table(analysis, style))
    lines = [f"Rule: {RULE}.", *_notes(analysis), *analysis.notices]
    if style == "markdown":
        found[:2] = [markdown_text(each) for each in head]
        return [f"# {found[0]}", *found[1:], *(f"- {markdown_text(line)}" for line in lines)]
    return [*found, "\n".join(lines)]


def _image_table(analysis: Analysis, style: str) -> str:
    headers = ["image (px)", "crops", "GFLOPs", "GMACs", "once per vocabulary (GFLOPs)"]
    augmented = any(result.augmented for result in analysis.images)
    headers += ["augmented: crops", "GFLOPs"] if augmented else []
    rows: list[list[Cell]] = []
    for result in analysis.images:
        cost, more = result.cost, result.augmented
        row: list[Cell] = [_size(cost), _count(cost.crops), cost.flops / 1e9, cost.flops / 2e9]
        row.append(cost.vocabulary_flops / 1e9)
        if augmented:
            row += [_count(more.crops), more.flops / 1e9] if more else ["-", "-"]
        rows.append(row)
    return render_table(headers, rows, style, 3)


def _call_table(analysis: Analysis, style: str) -> str:
    headers = ["call of the model", "crops", "times", "GFLOPs per call", "share (%)"]
    rows: list[list[Cell]] = []
    for result in analysis.images:
        for call in result.cost.calls:
            share = 100 * call.times * call.flops / max(1, result.cost.flops)
            what = f"{_size(result.cost)}: {call.crop}"
            rows.append([what, _count(call.crops), call.times, call.flops / 1e9, share])
    return render_table(headers, rows, style, 3)


def _time_table(analysis: Analysis, style: str) -> str:
    headers = ["image (px)", "median (ms)", "fastest", "slowest", "images/s", "GFLOP/s",
               "peak memory (MB)", "before the image"]  # fmt: skip
    rows: list[list[Cell]] = []
    for result in analysis.images:
        if (measured := result.measured) is not None:
            times = [1e3 * each for each in (measured.median, min(measured.seconds), max(measured.seconds))]
            rates = [1 / measured.median, result.cost.flops / measured.median / 1e9]
            memory = [_megabytes(each) for each in (measured.memory_peak, measured.memory_before)]
            rows.append([_size(result.cost), *times, *rates, *memory])
    return render_table(headers, rows, style)


def _printed_table(analysis: Analysis, style: str) -> str:
    headers = ["printed", "figure", "ours", "verdict"]
    rows: list[list[Cell]] = [
        [
            f"{each.source}: {each.quantity}",
            each.printed,
            "-" if each.ours is None else each.ours,
            each.verdict,
        ]
        for each in analysis.printed
    ]
    return render_table(headers, rows, style)


def _notes(analysis: Analysis) -> list[str]:
    """Return how figures come about: those of papers, times and memory, and what fvcore counts."""
    conventions: dict[tuple[str, str], list[str]] = {}
    for each in analysis.printed:
        conventions.setdefault((each.source, each.convention), []).append(each.quantity)
    printed = [
        f"{source}, {', '.join(quantities)}: {convention}."
        for (source, convention), quantities in conventions.items()
    ]
    measured = [result.measured for result in analysis.images if result.measured is not None]
    notes = {
        f"Time: median of {counted(len(each.seconds), 'warm run')} on {each.device}, "
        f"{counted(each.threads, 'thread')}, torch "
        f"{analysis.versions['torch']}, from pixels to scores; each size in a process of its own, whose "
        "memory is counted from the first image on, the model included."
        for each in measured
    }
    verdicts = {True: "agrees", False: "DIFFERS", None: "cannot trace these calls"}
    notes |= {f"fvcore's count of the calls: {verdicts[each.fvcore_agrees]}." for each in measured}
    return [*printed, *sorted(notes, reverse=True)]


def _size(cost: ImageCost) -> str:
    return f"{cost.width} x {cost.height}"


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _millions(value: int) -> str:
    return f"{value / 1e6:.3f} M"


def _megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:.0f}"
