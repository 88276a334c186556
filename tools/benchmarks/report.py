"""The result of a run as tables for people; pages of the documentation take them as they are."""

from collections.abc import Sequence

from tabulate import tabulate

from benchmarks.limit import Rate, peak
from benchmarks.results import CALIBRATED, PLAIN, PUBLISHED, Result, Timing
from benchmarks.timing import Ratio, is_contended

TRAINING = ("training step", "forward", "backward")


def report(result: Result) -> str:
    """Return all tables of a run.

    Args:
        result: What was found.

    Returns:
        Text in Markdown.
    """
    inference = [each for each in result.timings if each.stage not in TRAINING]
    training = [each for each in result.timings if each.stage in TRAINING]
    parts = [
        _machine(result),
        _rates(result.rates),
        _equality(result),
        _times(result, inference, "inference"),
        _times(result, training, "training"),
        _calibration(result),
        _saved(result),
        _memory(result),
    ]
    return "\n\n".join(part for part in parts if part)


def _table(rows: Sequence[Sequence[str]], head: Sequence[str], left: int = 1) -> str:
    if not rows:
        return ""
    align = ["left"] * left + ["right"] * (len(head) - left)
    return str(tabulate(rows, head, tablefmt="pipe", colalign=align, disable_numparse=True))


def _machine(result: Result) -> str:
    where, how = result.environment, result.settings
    text = (
        f"{how['preset']}, {how['batch']} image(s) at a time, on {where['device']}, {where['threads']} "
        f"thread(s) of {where['cores']}, load {where['load']}; torch {where['torch']}, {where['vectors']}. "
        f"{how['pairs']} rounds, random weights. Seconds are of {how['clock']}."
    )
    if against := how.get("against"):
        opts = "".join(f", {opt}" for opt in (" ".join(against["opts"]), how["depth"]) if opt)
        text += f" Published code: {against['folder']}, {against['config']}{opts}."
    return text


def _rates(rates: Sequence[Rate]) -> str:
    rows = []
    for rate in rates:
        unit = "GFLOP/s" if rate.precision else "GB/s, read and written"
        low, high = min(rate.rates) / 1e9, max(rate.rates) / 1e9
        rows.append((rate.name, rate.precision, f"{rate.median / 1e9:.1f}", f"{low:.1f}-{high:.1f}", unit))
    text = _table(rows, ("rate of this machine", "precision", "median", "min-max", "unit"), 2)
    found = dict.fromkeys(each.precision for each in rates if each.precision)
    limits = ", ".join(f"{peak(rates, name) / 1e9:.1f} GFLOP/s in {name}" for name in found)
    return f"{text}\n\nLimit: {limits}." if limits else text


def _equality(result: Result) -> str:
    rows = [
        (
            each.form,
            str(each.classes),
            f"{each.max_abs:.2g}",
            f"{each.relative_l2:.2g}",
            f"{each.changed:.2%}",
            str(each.flipped),
        )
        for each in result.equality
    ]
    head = ("equal to plain", "T", "max abs", "relative L2", "other labels", "clear labels changed")
    return _table(rows, head)


def _times(result: Result, timings: Sequence[Timing], what: str) -> str:
    rows = []
    has_published = any(each.form == PUBLISHED for each in timings)
    for timing in timings:
        ratio, distance = result.ratio(timing), result.distance(timing)
        against = [_spread(result.ratio(timing, PUBLISHED))] if has_published else []
        rows.append(
            (
                timing.stage,
                "" if timing.classes is None else str(timing.classes),
                timing.form,
                f"{timing.seconds:.4g}",
                _spread(ratio),
                "" if ratio is None else f"{ratio.low:.2f}-{ratio.high:.2f}",
                *against,
                "" if timing.work is None else f"{timing.work / 1e9:.4g}",
                "" if distance is None else f"{distance:.2f}",
                ", ".join(_warnings(result, timing)),
            )
        )
    faster = f"{PLAIN} / form (min-max)"
    against_head = [f"{PUBLISHED} / form (min-max)"] if has_published else []
    head = (what, "T", "form", "s", faster, "90 %", *against_head, "GFLOP needed", "x limit", "")
    return _table(rows, head, 3)


def _spread(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.greatest:.2f})"


def _calibration(result: Result) -> str:
    """Say whether the plain form stands for the published code in what was timed of both."""
    lines = []
    for timing in result.timings:
        ratio = result.ratio(timing) if timing.form == PUBLISHED else None
        if ratio is None or timing.stage in ("forward", "backward"):
            continue  # the halves of a step that has a line
        if ratio.is_noisy:
            verdict = "noisy: repeat the run with more --pairs"
        elif abs(ratio.median - 1) <= CALIBRATED:
            verdict = f"within {CALIBRATED:.0%}, so that ratios to plain are ratios to the published code"
        else:
            verdict = f"not within {CALIBRATED:.0%}: ratios to plain are none to the published code"
        lines.append(
            f"{timing.stage}, T = {timing.classes}: plain takes {_spread(ratio)} times the time of the "
            f"published code, {verdict}."
        )
    return "\n\n".join(lines)


def _warnings(result: Result, timing: Timing) -> list[str]:
    """Return what makes a time doubtful."""
    found = []
    ratio = result.ratio(timing)
    if ratio is not None and ratio.is_noisy:
        found.append("noisy")
    if result.environment["device"].startswith("cpu"):
        threads = result.environment["threads"]
        if threads == 1 and is_contended(timing.samples):
            found.append("contended")
        if threads > 1:
            wall, cpu = (sum(getattr(each, name) for each in timing.samples) for name in ("wall", "cpu"))
            found.append(f"threads idle {max(0.0, 1 - cpu / (wall * threads)):.0%}")
    return found


def _saved(result: Result) -> str:
    rows = [(each.form, str(each.classes), f"{each.bytes / 1e6:.0f}") for each in result.saved]
    return _table(rows, ("saved for the backward pass", "T", "MB"))


def _memory(result: Result) -> str:
    rows = []
    for each in result.memory:
        what = "training step" if each.setting.training else "inference"
        before, extra = ("unknown" if n is None else f"{n / 1e6:.0f}" for n in (each.before, each.extra))
        rows.append((what, str(each.setting.classes), each.setting.label, before, extra))
    return _table(rows, ("memory", "T", "form", "MB before", "MB beyond"), 3)
