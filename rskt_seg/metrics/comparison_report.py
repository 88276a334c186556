"""Comparisons as text, Markdown, CSV and JSON."""

import json
from dataclasses import asdict

from rskt_seg.metrics.benchmark import IN_DOMAIN, csv_text
from rskt_seg.metrics.bootstrap import COVERAGE
from rskt_seg.metrics.comparison import Comparison, Difference, Row
from rskt_seg.metrics.report import Cell, render_table
from rskt_seg.quoting import markdown_text
from rskt_seg.wording import counted

PAPER = " (paper)"
"""What marks a row of a paper."""
COMPARISON_ENDINGS = (".txt", ".md", ".csv", "_costs.csv", ".json")
"""What the names of the files of a comparison end in."""


def comparison_files(comparison: Comparison) -> dict[str, str]:
    """Write a comparison in every form.

    Args:
        comparison: The comparison.

    Returns:
        Each of `COMPARISON_ENDINGS` -> content.
    """
    notes = _notes(comparison)
    tables = {style: _tables(comparison, style) for style in ("plain", "markdown")}
    marked = [f"- {markdown_text(line)}" for line in notes]
    return {
        ".txt": "\n\n".join([*tables["plain"], "\n".join(notes)]) + "\n",
        ".md": "\n\n".join([*tables["markdown"], "\n".join(marked)]) + "\n",
        ".csv": _csv(comparison),
        "_costs.csv": _costs_csv(comparison),
        ".json": _json(comparison),
    }


def _tables(comparison: Comparison, style: str) -> list[str]:
    """Return the tables of scores, of costs if any is known, and of differences to the baseline by sets."""
    sets, compared = comparison.sets, [row for row in comparison.rows if row.mean_difference]
    headers = ["mIoU", *map(short_name, sets), f"mean of {len(comparison.common)}"]
    headers += ["seen", "unseen", *([f"to {comparison.baseline}"] if compared else [])]
    rows: list[list[Cell]] = []
    for row in comparison.rows:
        scores: list[Cell] = []
        for name in sets:
            mark = IN_DOMAIN if row.in_domain.get(name) else ""
            scores.append(f"{row.miou[name]:.2f}{mark}" if name in row.miou else "-")
        parts: list[Cell] = [
            "-" if part is None else f"{part[0]:.2f} ({part[1]})" for part in (row.seen, row.unseen)
        ]
        difference: list[Cell] = [_text(row.mean_difference)] if compared else []
        rows.append([_title(row), *scores, row.mean, *parts, *difference])
    tables = [render_table(headers, rows, style)]
    if any(row.cost for row in comparison.rows):
        tables.append(_cost_table(comparison, style))
    if compared:
        headers = [f"difference to {comparison.baseline}", "images", *(row.title for row in compared)]
        lines: list[list[Cell]] = [
            [short_name(name), images, *(_text(row.differences.get(name)) for row in compared)]
            for name, images in sets.items()
        ]
        whole = sum(sets[name] for name in comparison.common)
        means = (_text(row.mean_difference) for row in compared)
        lines.append([f"mean of {len(comparison.common)}", whole, *means])
        tables.append(render_table(headers, lines, style))
    return tables


def _cost_table(comparison: Comparison, style: str) -> str:
    """Return a line for each size of each row's images, with the mean beside what it costs."""
    headers = ["cost", f"mean of {len(comparison.common)}", "parameters (M)", "trained (M)", "image (px)",
               "classes", "crops", "GFLOPs", "GMACs", "time (ms)", "images/s",
               "peak memory (MB)"]  # fmt: skip
    lines: list[list[Cell]] = []
    for row in comparison.rows:
        if row.cost is None:
            lines.append([_title(row), row.mean, *["-"] * (len(headers) - 2)])
            continue
        parameters: list[Cell] = [f"{n / 1e6:.3f}" for n in (row.cost.parameters, row.cost.trained)]
        for image in row.cost.images:
            crops = "-" if image.crops is None else image.crops
            line = [_title(row), row.mean, *parameters, f"{image.width} x {image.height}", row.cost.classes]
            line += [crops, f"{image.flops / 1e9:.3f}", f"{image.flops / 2e9:.3f}"]
            line += ["-", "-"] if image.seconds is None else [1e3 * image.seconds, 1 / image.seconds]
            lines.append([*line, "-" if image.memory is None else f"{image.memory / 1e6:.0f}"])
    return render_table(headers, lines, style)


def short_name(name: str) -> str:
    """Return the registered name of a set without the ending that all have."""
    return name.removesuffix("_sem_seg")


def _title(row: Row) -> str:
    return f"{row.title}{PAPER * bool(row.paper)}"


def _text(difference: Difference | None) -> str:
    if difference is None:
        return "-"
    if difference.bounds is None:
        return f"{difference.value:+.2f}"
    low, high = difference.bounds
    return f"{difference.value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _notes(comparison: Comparison) -> list[str]:
    common = ", ".join(map(short_name, comparison.common))
    notes = [f"all in percent; means over the sets that all rows have ({len(comparison.common)}): {common}"]
    if any(row.in_domain.get(name) for row in comparison.rows for name in row.miou):
        notes.append("*: the set contains images that this model was trained on")
    if any(row.seen or row.unseen for row in comparison.rows):
        notes.append(
            "seen, unseen: mean over those of these sets (their number) that have such classes in the row"
        )
    if any(row.mean_difference for row in comparison.rows):
        notes.append(
            f"differences to {comparison.baseline}, in points; in brackets where {COVERAGE:g} % of "
            f"{counted(comparison.resamples, 'bootstrap resample')} of the images lie (seed "
            f"{comparison.seed}; the same images for both, each set by itself): they tell chance in the "
            "choice of images, not in training"
        )
    return [*notes, *comparison.notes]


def _csv(comparison: Comparison) -> str:
    columns = ("method", "paper", "dataset", "images", "mIoU", "contains_training_images",
               "difference", "low", "high")  # fmt: skip
    lines: list[list[object]] = []
    for row in comparison.rows:
        for name, images in comparison.sets.items():
            if name in row.miou:
                trained = row.in_domain.get(name)
                known = "" if trained is None else trained
                line = [row.title, row.paper, name, images, row.miou[name], known]
                lines.append([*line, *_cells(row.differences.get(name))])
        mean = f"mean of {len(comparison.common)}"
        whole = sum(comparison.sets[name] for name in comparison.common)
        lines.append([row.title, row.paper, mean, whole, row.mean, "", *_cells(row.mean_difference)])
    return csv_text(columns, lines)


def _costs_csv(comparison: Comparison) -> str:
    """Return a line for each size of each row's images, in FLOPs, seconds and bytes; empty where unknown."""
    columns = ("method", "paper", "mean_mIoU", "sets", "parameters", "trained_parameters", "height", "width",
               "classes", "crops", "flops", "multiply_adds", "median_seconds", "memory_peak", "measured_on",
               "augmented", "source")  # fmt: skip
    lines: list[list[object]] = []
    for row in comparison.rows:
        line: list[object] = [row.title, row.paper, row.mean, len(comparison.common)]
        if (cost := row.cost) is None:
            lines.append([*line, *[""] * (len(columns) - len(line))])
            continue
        line += [cost.parameters, cost.trained]
        for each in cost.images:
            values = (each.crops, each.flops, each.flops // 2, each.seconds, each.memory)
            known = ["" if value is None else value for value in values]
            sides = each.height, each.width, cost.classes
            lines.append([*line, *sides, *known, each.measured_on, cost.augmented, cost.source])
    return csv_text(columns, lines)


def _cells(difference: Difference | None) -> list[object]:
    if difference is None:
        return ["", "", ""]
    return [difference.value, *(difference.bounds or ("", ""))]


def _json(comparison: Comparison) -> str:
    tree = {
        "measure": "mIoU",
        "baseline": comparison.baseline,
        "bootstrap": {
            "coverage": COVERAGE,
            "resamples": comparison.resamples,
            "seed": comparison.seed,
        },
        "sets": dict(comparison.sets),
        "common": list(comparison.common),
        "rows": [asdict(row) for row in comparison.rows],
        "notes": list(comparison.notes),
    }
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
