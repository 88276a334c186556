"""Folders that the project reads and writes, what a configuration starts from, and room for results."""

import os
from collections.abc import Iterator
from pathlib import Path

from rskt_seg.diagnosis.environment import NOTE, OK, PROBLEM, Environment, Finding
from rskt_seg.wording import counted

_GB = 10**9
_SCANT_DISK, _NO_DISK = 5 * _GB, _GB // 2
_SCANT_MEMORY = 4 * _GB


def check_datasets(seen: Environment) -> Iterator[Finding]:
    """Say where data are looked for, and which prepared datasets lie there."""
    if "datasets" not in seen.outcomes or seen.failed("datasets"):
        return
    facts = dict(seen.facts("datasets"))
    variable, default = facts.pop("variable"), facts.pop("default")
    given = seen.variables.get(variable, "")
    root = seen.folder / (given or default)
    if given and not root.is_dir():
        text = f"{variable}={given} is no folder"
        yield Finding(PROBLEM, "datasets", text, f"export {variable}=/the/folder/that/holds/DLRSD")
        return
    here = [f"{name} ({splits})" for name, splits in facts.items() if splits]
    absent = [name for name, splits in facts.items() if not splits]
    if given:
        where = f"{variable}={given}"
    else:
        where = f"{root} ({variable} is not set)"
    if here:
        yield Finding(OK, "datasets", f"in {where}: {'; '.join(here)}")
    if absent:
        text = f"not prepared in {where}: {', '.join(absent)}"
        cure = "rskt-seg prepare --help"
        yield Finding(NOTE, "datasets", text, cure if given else f"export {variable}=FOLDER, or {cure}")


def check_caches(seen: Environment) -> Iterator[Finding]:
    """Name the caches that cannot be written."""
    writable = []
    for name, folder in seen.facts("caches").items():
        cure = _CACHE_CURES.get(name, "export XDG_CACHE_HOME=/a/folder/of/yours")
        if not folder:
            yield Finding(PROBLEM, "caches", f"{name}: this user has no home folder", cure)
        elif reason := why_unwritable(Path(folder)):
            yield Finding(PROBLEM, "caches", f"{name} cannot be written: {reason}", cure)
        else:
            writable.append(f"{name} in {folder}")
    if writable:
        yield Finding(OK, "caches", f"writable: {'; '.join(writable)}")


_CACHE_CURES = {"weights of the hub": "export HF_HOME=/a/folder/of/yours"}


def why_unwritable(folder: Path) -> str:
    """Return why a folder, which need not exist, cannot be made or written; "" if it can."""
    existing = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not existing.is_dir():
        return f"{existing} is no folder"
    return "" if os.access(existing, os.W_OK | os.X_OK) else f"no permission to write in {existing}"


def check_configuration(seen: Environment) -> Iterator[Finding]:
    """Say whether the weights and the datasets of a configuration are here."""
    outcome = seen.outcomes.get("configuration")
    if outcome is None:
        return
    facts = outcome.facts
    name = facts.get("name", "configuration")
    if outcome.error:
        if not seen.failed("Detectron2"):
            yield Finding(PROBLEM, name, f"cannot be read: {outcome.error}")
        return
    if missing := facts.get("weights"):
        # The error names the command for one file; that for all of them stands in its place.
        fact, fetched, _ = missing.partition(". Run `rskt-seg weights fetch")
        yield Finding(PROBLEM, name, fact, f"rskt-seg weights fetch --all-for {name}" if fetched else "")
    else:
        yield Finding(OK, name, "every weight file that it starts from is here, or is fetched by its name")
    if absent := facts.get("absent"):
        text = f"datasets that it trains or tests on are not here: {absent}"
        yield Finding(NOTE, name, text, "rskt-seg prepare --help")


def check_room(seen: Environment) -> Iterator[Finding]:
    """Say how much disk and memory are free."""
    if seen.disk is not None:
        text, cure = f"{seen.disk / _GB:.1f} GB free in {seen.folder}", "make room, or work on another disk"
        level = PROBLEM if seen.disk < _NO_DISK else NOTE if seen.disk < _SCANT_DISK else OK
        yield Finding(level, "disk", text, "" if level == OK else cure)
    if seen.memory is not None:
        text = f"{seen.memory / _GB:.1f} GB available"
        if seen.memory < _SCANT_MEMORY:
            text += ", which is little for training and for scenes of many classes"
            yield Finding(NOTE, "memory", text, "end other programs, or use a smaller model or window")
        else:
            yield Finding(OK, "memory", text)


def summary(findings: list[Finding]) -> str:
    """Return one line about all findings."""
    problems = sum(finding.level == PROBLEM for finding in findings)
    notes = sum(finding.level == NOTE for finding in findings)
    return f"{counted(problems, 'problem') if problems else 'no problem'}, {counted(notes, 'note')}"
