"""Comparison of finished benchmarks and rows of papers: which sets compare, means, differences, intervals."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.metrics.bootstrap import RESAMPLES, SEED, interval, resampled_miou
from rskt_seg.metrics.results import CostFigures
from rskt_seg.metrics.stored import NAMED, StoredRun
from rskt_seg.wording import counted

_FACTS = {
    "fingerprint": "images or labels",
    "classes": "classes",
    "ignore": "ignored labels",
    "protocol": "protocols",
}
"""What two results of a set must have in common -> its name in messages."""


@dataclass(frozen=True)
class PaperRow:
    """A method as a paper prints it.

    Attributes:
        title: The labels of its row.
        source: Paper and table.
        miou: Registered name of a test set -> mIoU in percent, for registrations whose scores compare.
        in_domain: Registered name of a test set -> whether the method was trained on images of it.
    """

    title: str
    source: str
    miou: Mapping[str, float]
    in_domain: Mapping[str, bool | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A difference of mIoU to the baseline, in points of percent.

    Attributes:
        value: The difference.
        bounds: The bootstrap interval; None without counts of images.
    """

    value: float
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """A method in a comparison; all scores are percent.

    Attributes:
        title: Its name, unlike those of all other rows.
        paper: Where it is printed; "" for a run.
        miou: Name of a set -> mIoU, for the sets that it has.
        in_domain: Name of a set -> whether it contains images it was trained on; None or missing: unknown.
        mean: Mean over the common sets.
        seen: Mean over those common sets that have seen classes, and their number; None if there is none.
        unseen: Likewise of unseen classes.
        differences: Name of a set -> difference to the baseline; empty for the baseline and for papers.
        mean_difference: That of the means; None likewise.
        cost: What an image costs; None if it is unknown, and for papers.
    """

    title: str
    paper: str
    miou: Mapping[str, float]
    in_domain: Mapping[str, bool | None]
    mean: float
    seen: tuple[float, int] | None = None
    unseen: tuple[float, int] | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    mean_difference: Difference | None = None
    cost: CostFigures | None = None


@dataclass(frozen=True)
class Comparison:
    """Several methods on sets that compare.

    Attributes:
        sets: The sets that compare -> number of their images.
        common: The sets that every row has, over which means run.
        rows: The methods, in the given order, papers last.
        baseline: Title of the row that differences refer to.
        resamples: Number of resamples of the intervals.
        seed: Their seed.
        notes: What a reader must know, a line for each fact.
    """

    sets: Mapping[str, int]
    common: tuple[str, ...]
    rows: tuple[Row, ...]
    baseline: str
    resamples: int
    seed: int
    notes: tuple[str, ...]


def compare_runs(
    runs: Sequence[StoredRun],
    papers: Sequence[PaperRow] = (),
    baseline: str = "",
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare benchmarks.

    A set is left out, and a note says so, if two runs scored it on other images or labels, with other classes
    or other ignored labels, or by another protocol. Means cover the sets that all rows have.

    Args:
        runs: The benchmarks.
        papers: Rows of papers, which have no intervals.
        baseline: Title of the run that the others are compared with; "" for the first.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resamples.

    Returns:
        The comparison.

    Raises:
        ConfigError: There is no run, or none has the title of the baseline.
        DatasetError: No set is common to all rows, or counts of images cannot be read.
    """
    if not runs:
        raise ConfigError("there is nothing to compare: name the folders of benchmarks")
    runs = _distinct(runs)
    reference = next((run for run in runs if run.title == (baseline or runs[0].title)), None)
    if reference is None:
        known = ", ".join(run.title for run in runs)
        raise ConfigError(f"no run is called {baseline!r}; the baseline is one of {known}; {NAMED}")
    sets, notes = _comparable_sets(runs)
    papers, others = _published_figures(runs, papers)
    notes += others
    having = [*(run.sets.keys() & sets.keys() for run in runs), *(row.miou.keys() for row in papers)]
    common = tuple(name for name in sets if all(name in names for names in having))
    if not common:
        none = "none with a published protocol" if runs[0].by_protocol else "none"
        listed = "; ".join(f"{run.title}: {', '.join(run.sets) or none}" for run in runs)
        left_out = f" ({'; '.join(notes)})" if notes else ""
        paper = " that the papers have too" if papers else ""
        raise DatasetError(f"the runs have no set in common{paper} that compares: {listed}{left_out}")
    samples, missing = _samples(runs, sets, resamples, seed)
    rows = []
    for run in runs:
        row = _row_of_run(run, sets, common)
        rows.append(row if run is reference else _with_differences(row, run, reference, common, samples))
    for printed in papers:
        miou = {name: printed.miou[name] for name in sets if name in printed.miou}
        rows.append(Row(printed.title, printed.source, miou, printed.in_domain, _mean(miou, common)))
    notes += [*missing, *_reading_notes(runs, papers), *_cost_notes(runs)]
    numbers = {name: next(r.sets[name].images for r in runs if name in r.sets) for name in sets}
    return Comparison(numbers, common, tuple(rows), reference.title, resamples, seed, tuple(notes))


def _distinct(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Return the runs, those of one title told apart by their reports and, of one report, by a number."""
    named = []
    for rename in (lambda run, i: f"{run.title} ({run.report})", lambda run, i: f"{run.title} #{i + 1}"):
        times = Counter(run.title for run in runs)
        named = [
            replace(run, title=rename(run, i)) if times[run.title] > 1 else run for i, run in enumerate(runs)
        ]
        runs = named
    return named


def _comparable_sets(runs: Sequence[StoredRun]) -> tuple[dict[str, None], list[str]]:
    """Return the sets whose results compare, in order, and a note for each other one."""
    notes: list[str] = []
    kept: dict[str, None] = {}
    for name in dict.fromkeys(name for run in runs for name in run.sets):
        having = [run for run in runs if name in run.sets]
        first = having[0]
        unlike = []
        for run in having[1:]:
            kinds = [
                what
                for fact, what in _FACTS.items()
                if getattr(run.sets[name], fact) != getattr(first.sets[name], fact)
            ]
            if kinds:
                unlike.append(f"{run.title} has other {' and '.join(kinds)} than {first.title}")
        if unlike:
            notes.append(f"{name} is left out: {', '.join(unlike)}")
        else:
            kept[name] = None
    return kept, notes


def _published_figures(
    runs: Sequence[StoredRun], papers: Sequence[PaperRow]
) -> tuple[list[PaperRow], list[str]]:
    """Return the papers without their figures of sets that are not those they scored, and a note for each."""
    reasons = {name: each.unpublished for run in runs for name, each in run.sets.items() if each.unpublished}
    kept = [replace(row, miou={k: v for k, v in row.miou.items() if k not in reasons}) for row in papers]
    notes = [
        f"no figure of a paper stands in the column of {name}: {reason}"
        for name, reason in reasons.items()
        if any(name in row.miou for row in papers)
    ]
    return kept, notes


_FEW = 10
"""Images below which resamples repeat each other so much that an interval says little."""
_Samples = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Name of a set -> title of a run -> its mIoU on each resample, (R,)."""


def _samples(
    runs: Sequence[StoredRun], sets: Mapping[str, object], resamples: int, seed: int
) -> tuple[_Samples, list[str]]:
    """Resample every set for the runs that kept its counts; return also notes on those that did not."""
    samples: dict[str, dict[str, NDArray[np.float64]]] = {}
    without: dict[str, None] = {}
    notes: list[str] = []
    for name in sets if len(runs) > 1 else ():
        found = {run.title: run.image_counts(name) for run in runs if name in run.sets}
        counts = {title: each for title, each in found.items() if each is not None}
        without |= dict.fromkeys(title for title in found if title not in counts)
        if len({each.stems for each in counts.values()}) > 1:
            raise DatasetError(f"{name}: the counts of {', '.join(counts)} are of images with other names")
        images = min((len(each.stems) for each in counts.values()), default=0)
        if len(counts) > 1 and images < _FEW:
            what = "no intervals" if images == 1 else "intervals that say little"
            notes.append(f"{name} has {counted(images, 'image')}, so it has {what}")
        if len(counts) > 1 and images > 1:
            rule = next(run.rule(name) for run in runs if run.title in counts)
            drawn = resampled_miou([each.counts for each in counts.values()], name, resamples, seed, rule)
            samples[name] = dict(zip(counts, drawn, strict=True))
    return samples, [
        *(f"{title} kept no counts of images, so it has no intervals" for title in without),
        *notes,
    ]


def _row_of_run(run: StoredRun, sets: Mapping[str, object], common: Sequence[str]) -> Row:
    miou = {name: run.sets[name].miou for name in sets if name in run.sets}
    trained = {name: run.sets[name].in_domain for name in miou}
    seen, unseen = (
        _mean_of_parts([part for name in common if (part := getattr(run.sets[name], key)) is not None])
        for key in ("seen", "unseen")
    )
    return Row(run.title, "", miou, trained, _mean(miou, common), seen, unseen, cost=run.cost)


def _mean_of_parts(parts: Sequence[tuple[float, int]]) -> tuple[float, int] | None:
    """Return the mean of mIoU over a part of the classes of several sets, and the number of sets."""
    return (math.fsum(value for value, _ in parts) / len(parts), len(parts)) if parts else None


def _mean(miou: Mapping[str, float], common: Sequence[str]) -> float:
    return math.fsum(miou[name] for name in common) / len(common)


def _with_differences(
    row: Row, run: StoredRun, reference: StoredRun, common: Sequence[str], samples: _Samples
) -> Row:
    differences: dict[str, Difference] = {}
    drawn: dict[str, NDArray[np.float64]] = {}
    for name, value in row.miou.items():
        if name not in reference.sets:
            continue
        here = samples.get(name, {})
        if run.title in here and reference.title in here:
            drawn[name] = here[run.title] - here[reference.title]
        bounds = interval(drawn[name]) if name in drawn else None
        differences[name] = Difference(value - reference.sets[name].miou, bounds)
    mean = math.fsum(differences[name].value for name in common) / len(common)
    whole = all(name in drawn for name in common)
    # Images of one set say nothing of those of another: each set is drawn by itself.
    bounds = interval(np.mean([drawn[name] for name in common], axis=0)) if whole else None
    return replace(row, differences=differences, mean_difference=Difference(mean, bounds))


def _reading_notes(runs: Sequence[StoredRun], papers: Sequence[PaperRow]) -> list[str]:
    notes = []
    if any(run.by_protocol for run in runs):
        protocols = {name: each.protocol for run in runs for name, each in run.sets.items()}
        named = "; ".join(f"{name}: {protocol}" for name, protocol in protocols.items())
        notes.append(f"mIoU by the protocol of each set, sets without one left out: {named}")
    if len({run.trained_on for run in runs}) > 1:
        trained = "; ".join(f"{run.title}: {run.trained_on}" for run in runs)
        notes.append(f"the runs differ in their training data, and so in seen and unseen classes: {trained}")
    for source in dict.fromkeys(row.source for row in papers):
        notes.append(
            f"(paper): {source}, as printed, by the paper's own evaluation; only in columns whose "
            "registration is the one the paper scored, which compares if the files are the same; without "
            "intervals, as papers print no counts of images"
        )
    return notes


def _cost_notes(runs: Sequence[StoredRun]) -> list[str]:
    """Return where costs come from and why some are missing; nothing if nobody looked for any."""
    notes: list[str] = []
    without: dict[str, list[str]] = {}
    for run in runs:
        if run.cost is not None:
            views = ", with the views of test-time augmentation, whose time is not measured"
            notes.append(f"{run.title}: cost of {run.cost.source}{views * run.cost.augmented}")
        elif run.no_cost:
            without.setdefault(run.no_cost, []).append(run.title)
    notes += [f"no cost of {', '.join(titles)}: {reason}" for reason, titles in without.items()]
    costs = [run.cost for run in runs if run.cost is not None]
    notes += [f"FLOPs: {rule}" for rule in dict.fromkeys(cost.rule for cost in costs)]
    machines = dict.fromkeys(image.measured_on for cost in costs for image in cost.images)
    measured = [each for each in machines if each]
    unlike = ", which differ: times and memory do not compare" if len(measured) > 1 else ""
    return notes + ([f"time and memory: on {'; '.join(measured)}{unlike}"] if measured else [])
