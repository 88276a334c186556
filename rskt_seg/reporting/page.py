"""The page about a run."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rskt_seg.metrics.report import SUMMARY
from rskt_seg.reporting import html
from rskt_seg.reporting.run_folder import Points, RunFolder, ScoredSet
from rskt_seg.visualization import draw_confusion, draw_curves
from rskt_seg.wording import counted

_SCORE = re.compile(rf"(?P<where>(?:.+/)?)sem_seg/(?P<score>{'|'.join(SUMMARY)}|IoU-(?P<of>.+))", re.DOTALL)
"""A scalar of an evaluation: of all classes of a set, or the IoU of one."""
_MOST_CURVES = 40
"""Classes that one picture of curves shows."""


def report_page(run: RunFolder) -> str:
    """Return a page about a run in one HTML file, which needs no other file, no network and no script.

    It depends on the files of the run alone: the same files give the same bytes.

    Args:
        run: What the output folder holds.

    Returns:
        The page.
    """
    title = f"{run.facts.get('method', 'Run')}: {run.path.resolve().name}"
    parts = [html.heading(1, title), *_summary(run), *_curves(run)]
    for scored in run.sets:
        parts += _set(scored)
    return html.page(title, [*parts, *_configuration(run), *_versions(run)])


def _summary(run: RunFolder) -> Iterator[str]:
    facts = run.facts
    if (done := facts.get("iterations")) is not None:
        yield html.paragraph(f"{done} of {facts.get('max_iter', '?')} iterations{_took(facts)}.")
    elif "seconds" in facts:
        yield html.paragraph(f"Evaluated{_took(facts)}.")
    elif run.curves:
        yield html.paragraph(f"{max(points[-1][0] for points in run.curves.values())} iterations.")
    if run.unreadable:
        lines = counted(run.unreadable, "line")
        yield html.paragraph(f"{lines} of metrics.json could not be read and {_left_out(run.unreadable)}.")
    rows: list[list[str | float | int]] = []
    for scored in run.sets:
        scores = scored.matrix.scores()
        rows.append([scored.name, *(float(getattr(scores, key)) for key in SUMMARY)])
    if rows:
        yield html.heading(2, "Scores of the last evaluation, in percent")
        yield html.table(("dataset", *SUMMARY), rows)
    only = run.sets[0].name if len(run.sets) == 1 else ""
    best: list[list[str | float | int]] = [
        [where or only, score, *max(points, key=lambda point: (point[1], -point[0]))[::-1], points[-1][1]]
        for (where, score), points in _scores(run).items()
    ]
    if best:
        yield html.heading(2, "Best evaluations of the training")
        yield html.table(("dataset", "score", "best", "after iteration", "last"), best)
        if run.has_best:
            yield html.paragraph("model_best.pth has the weights that were best by TEST.BEST_BY.")
    if not (rows or best):
        yield html.paragraph("Nothing has been evaluated yet.")


def _took(facts: Mapping[str, Any]) -> str:
    seconds = facts.get("seconds")
    if not isinstance(seconds, int | float):
        return ""
    hours, rest = divmod(round(seconds), 3600)
    return f" in {hours} h {rest // 60:02} min {rest % 60:02} s"


def _left_out(number: int) -> str:
    return "is left out" if number == 1 else "are left out"


def _scores(run: RunFolder) -> dict[tuple[str, str], Points]:
    """Return (set, score) -> points of the scores of all classes together; "" is the only set."""
    found = {}
    for name, points in run.curves.items():
        match = _SCORE.fullmatch(name)
        if match and match["of"] is None:
            found[match["where"].rstrip("/"), match["score"]] = points
    return dict(sorted(found.items(), key=lambda each: (each[0][0], SUMMARY.index(each[0][1]))))


def _curves(run: RunFolder) -> Iterator[str]:
    if not run.curves:
        return
    yield html.heading(2, "Curves")
    losses = {name: points for name, points in sorted(run.curves.items()) if "loss" in name}
    if losses:
        yield html.picture(draw_curves(losses, title="Loss", scale="log"), "curves of the losses", half=True)
    if rate := run.curves.get("lr"):
        drawn = draw_curves({"lr": rate}, title="Learning rate")
        yield html.picture(drawn, "curve of the learning rate", half=True)
    by_set: dict[str, dict[str, Points]] = {}
    for (where, score), points in _scores(run).items():
        by_set.setdefault(where, {})[score] = points
    for where, curves in by_set.items():
        drawn = draw_curves(curves, title=f"Scores, % {where}".rstrip())
        yield html.picture(drawn, f"curves of the scores {where}".rstrip(), half=True)
    by_class: dict[str, dict[str, Points]] = {}
    for name, points in run.curves.items():
        if (match := _SCORE.fullmatch(name)) and match["of"] is not None:
            by_class.setdefault(match["where"].rstrip("/"), {})[match["of"]] = points
    for where, curves in by_class.items():
        names = list(curves)
        for first in range(0, len(names), _MOST_CURVES):
            shown = {name: curves[name] for name in names[first : first + _MOST_CURVES]}
            drawn = draw_curves(shown, title=f"IoU of each class, % {where}".rstrip())
            yield html.picture(drawn, f"curves of the IoU of each class {where}".rstrip(), half=True)


def _set(scored: ScoredSet) -> Iterator[str]:
    yield html.heading(2, scored.name)
    scores, precision = scored.matrix.scores(), scored.matrix.precision()
    columns = [column.tolist() for column in (scores.IoU, precision, scores.ACC, scores.F1, scores.pixels)]
    rows = [list(row) for row in zip(scored.classes, *columns, strict=True)]
    yield html.table(("class", "IoU", "precision", "recall", "F1", "pixels"), rows)
    yield html.heading(3, "Confusion matrix")
    yield html.picture(draw_confusion(scored.matrix.counts, scored.classes), "confusion matrix")
    if scored.picture is not None:
        yield html.heading(3, "Images, ground truth and predictions")
        yield html.picture(scored.picture, "images beside ground truth and prediction")


def _configuration(run: RunFolder) -> Iterator[str]:
    changes, from_file = run.facts.get("changes"), _texts(run.facts.get("file_sets"))
    if not (changes or from_file or run.config):
        return
    yield html.heading(2, "Configuration")
    if run.facts.get("config_file"):
        yield html.paragraph(f"Base: {run.facts['config_file']}")
    if isinstance(changes, dict):
        yield html.heading(3, "Differences to the base")
        rows = [(key, *map(str, values)) for key, values in sorted(changes.items())]
        yield html.table(("key", "base", "this run"), rows)
    if from_file:
        yield html.folded("What the base sets", html.table(("key", "value"), sorted(from_file.items())))
    if run.config:
        yield html.folded("All keys of the last run in this folder", html.verbatim(run.config))


def _versions(run: RunFolder) -> Iterator[str]:
    if versions := _texts(run.facts.get("versions")):
        yield html.heading(2, "Versions")
        yield html.table(("software", "version"), sorted(versions.items()))


def _texts(entry: object) -> dict[str, str]:
    return {str(key): str(value) for key, value in entry.items()} if isinstance(entry, dict) else {}
