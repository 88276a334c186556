"""Judging of one run: what it did beside what the same run does undisturbed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from campaign.children import Ended
from campaign.guard import CODE, OUTSIDE
from campaign.outcomes import Outcome, Verdict, has_reason, has_traceback

Results = Mapping[str, bytes]
"""Name of a result -> its content."""
_CRASHED = 70
_MOST_SHOWN = 3000


@dataclass(frozen=True)
class Reference:
    """The undisturbed run.

    Attributes:
        ended: How it ended.
        results: What it wrote.
    """

    ended: Ended
    results: Results


def read_results(folder: Path, *patterns: str) -> dict[str, bytes]:
    """Return the files of a folder that match the patterns (all by default), hidden ones left out."""
    paths = {path for pattern in patterns or ("**/*",) for path in folder.glob(pattern) if path.is_file()}
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(paths)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def checkpoint_entries(path: Path) -> dict[str, bytes]:
    """Return the entries of a checkpoint by their dotted names, at any depth: tensors as their bytes."""
    import torch

    found: dict[str, bytes] = {}
    waiting: list[tuple[str, object]] = (
        [(path.name, torch.load(path, weights_only=True))] if path.exists() else []
    )
    while waiting:
        name, entry = waiting.pop()
        if isinstance(entry, dict):
            waiting += [(f"{name}.{key}", value) for key, value in entry.items()]
        elif isinstance(entry, list | tuple):
            waiting += [(f"{name}.{key}", value) for key, value in enumerate(entry)]
        elif isinstance(entry, torch.Tensor):
            found[name] = (
                repr(entry.dtype).encode() + entry.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        else:
            found[name] = repr(entry).encode()
    return found


def misconduct(ended: Ended, allowed: Ended | None = None) -> Verdict | None:
    """Return the verdict on what no run may do, whatever its input: None if it did none of it.

    Args:
        ended: The run.
        allowed: The undisturbed run; what that did as well is no misconduct.
    """
    known = allowed.events if allowed else []
    for kind, outcome in ((CODE, Outcome.CODE_RUN), (OUTSIDE, Outcome.OUTSIDE)):
        if found := [text for name, text in ended.events if name == kind and (name, text) not in known]:
            return _verdict(outcome, "; ".join(found[:5]), ended)
    if ended.status is None:
        return _verdict(Outcome.HANG, f"still running after {ended.seconds:.0f} s", ended)
    died = ended.status < 0 and not ended.killed
    if died or ended.status == _CRASHED or has_traceback(ended.output):
        return _verdict(Outcome.TRACEBACK, f"status {ended.status}", ended)
    if ended.orphans:
        return _verdict(Outcome.LEFTOVER, f"{ended.orphans} processes outlive it", ended)
    return None


def judge(ended: Ended, results: Results, reference: Reference, fault: str = "") -> Verdict:
    """Judge a run with a changed file.

    Args:
        ended: The run.
        results: What it wrote.
        reference: The undisturbed run.
        fault: Why the file cannot be taken for a valid one; "" if nothing in it tells.
    """
    if verdict := misconduct(ended, reference.ended):
        return verdict
    if ended.status:
        if has_reason(ended.output):
            return Verdict(
                Outcome.REFUSED, next((line for line in ended.output.splitlines() if has_reason(line)), "")
            )
        return _verdict(Outcome.UNTOLD, f"status {ended.status}", ended)
    if differing := differences(results, reference.results):
        if fault:
            return _verdict(Outcome.SILENT, f"{fault}; other {differing}", ended)
        return Verdict(Outcome.OTHER)
    return Verdict(Outcome.RIGHT)


def differences(results: Results, reference: Results) -> str:
    """Return the names of results that are missing, added or other than those of a reference."""
    names = sorted(results.keys() | reference.keys())
    return ", ".join(name for name in names if results.get(name) != reference.get(name))


def torn(results: Results, *versions: Results) -> str:
    """Return the names of files that are none of the whole versions that they may be."""
    return ", ".join(
        name
        for name, content in results.items()
        if content not in [version.get(name) for version in versions]
    )


def _verdict(outcome: Outcome, text: str, ended: Ended) -> Verdict:
    return Verdict(outcome, f"{text}\n{ended.output[-_MOST_SHOWN:]}")
