"""Runs that are killed, find no room, or are not alone; and what is left when they are given again."""

import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from campaign.children import Child, Ended, Kill, run
from campaign.judging import Results, differences, misconduct, torn
from campaign.outcomes import Outcome, Verdict, has_reason
from campaign.undisturbed import LIMIT, Runs, Work

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_STATUSES = {
    signal.SIGKILL: {-signal.SIGKILL},
    signal.SIGTERM: {128 + signal.SIGTERM, -signal.SIGTERM},  # the second before the command listens
    signal.SIGINT: {130},
}
_PAGE = 4096


def kill(work: Work, runs: Runs, folder: Path, seed: int) -> Verdict:
    """Kill a run at a random moment, look at what is there, give the command again."""
    rng = random.Random(f"kill-{work.name}:{seed}")
    number = rng.choice(_SIGNALS)
    after = rng.uniform(0.0, 1.05 * runs.of(work).ended.seconds)
    stop = Kill(number, after, group=number == signal.SIGINT or rng.random() < 0.3)
    told = f"{number.name} after {after:.2f} s"
    _lay_older(work, runs, folder)
    ended = run(work.start(runs.material), folder, LIMIT, stop)
    if verdict := misconduct(ended, runs.of(work).ended):
        return _told(verdict, told)
    if ended.status not in {0, *(_STATUSES[number] if ended.killed else ())}:
        return Verdict(Outcome.UNTOLD, f"{told}: status {ended.status}\n{ended.output[-2000:]}")
    could_clear = ended.status in (130, 128 + signal.SIGTERM)
    verdict = _damage(work, runs, folder) or (_leftovers(folder) if could_clear else None)
    shutil.rmtree(
        folder / "tmp"
    )  # that of the system, where what a killed process left is no matter of the next
    return _told(verdict or _again(work, runs, folder), told)


def starve(work: Work, runs: Runs, folder: Path, seed: int, may_mount: bool) -> Verdict:
    """Leave a run less room than it needs, look at what is there, give the command again with room.

    Args:
        work: The run.
        runs: The undisturbed runs.
        folder: An empty folder.
        seed: Decides how much room there is, and whether the limit is one of files or a small file system.
        may_mount: Whether this process may mount file systems.
    """
    rng = random.Random(f"disk-{work.name}:{seed}")
    runs.of(work)
    sizes = [path.stat().st_size for path in (runs.folder / work.name / "out").rglob("*") if path.is_file()]
    if may_mount and rng.random() < 0.5:
        room = max(_PAGE, int(rng.random() * 1.1 * sum(sizes)))
        with _small_disk(folder / "out", room) as grow:
            if work.older:
                grow(room := room + sum(sizes))
            return _starved(work, runs, folder, f"a disk of {room} bytes", grow=grow)
    # A lock of processes is a file of 32 bytes in memory, which is no disk.
    room = max(64, int(rng.random() * 1.1 * rng.choice(sizes)))
    return _starved(work, runs, folder, f"files of at most {room} bytes", largest=room)


def _starved(work: Work, runs: Runs, folder: Path, told: str, largest: int = 2**31, grow=None) -> Verdict:
    _lay_older(work, runs, folder)
    ended = run(work.start(runs.material), folder, LIMIT, largest=largest)
    if verdict := misconduct(ended, runs.of(work).ended):
        return _told(verdict, told)
    if ended.status and not has_reason(ended.output):
        return Verdict(Outcome.UNTOLD, f"{told}: status {ended.status}\n{ended.output[-2000:]}")
    if not ended.status and (other := differences(work.results(folder), runs.of(work).results)):
        return Verdict(Outcome.LOST, f"{told}: it ended well without {other}\n{ended.output[-2000:]}")
    if grow:
        grow(2**30)
    return _told(_damage(work, runs, folder) or _leftovers(folder) or _again(work, runs, folder), told)


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator:
    """Mount a file system of some bytes; yields a function that gives it another size."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o"]
    subprocess.run([*mount, f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield lambda size: subprocess.run([*mount, f"remount,size={size}", "tmpfs", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    """Return whether this process may mount a small file system."""
    try:
        with _small_disk(folder, _PAGE):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pair(work: Work, runs: Runs, folder: Path, seed: int) -> Verdict:
    """Give the same command twice at about the same time, in one folder."""
    rng = random.Random(f"twins-{work.name}:{seed}")
    reference = runs.of(work)
    _lay_older(work, runs, folder)
    wait = rng.choice((0.0, rng.uniform(0.0, 0.9 * reference.ended.seconds)))
    told = f"the second {wait:.2f} s after the first"
    first = Child(work.start(runs.material), folder)
    time.sleep(wait)
    second = Child(work.start(runs.material), folder)
    ends: list[Ended] = []
    reader = threading.Thread(target=lambda: ends.append(second.wait(2 * LIMIT)))
    reader.start()
    ends.append(first.wait(2 * LIMIT))
    reader.join()
    for ended in ends:
        if verdict := misconduct(ended, reference.ended):
            return _told(verdict, told)
        if ended.status and not has_reason(ended.output):
            return Verdict(Outcome.UNTOLD, f"{told}: status {ended.status}\n{ended.output[-2000:]}")
    if all(ended.status for ended in ends):
        return Verdict(
            Outcome.LOST, f"{told}: each was refused\n{ends[0].output[-1000:]}\n{ends[1].output[-1000:]}"
        )
    if other := differences(work.results(folder), reference.results):
        return Verdict(
            Outcome.LOST, f"{told}: other {other}\n{ends[0].output[-1000:]}\n{ends[1].output[-1000:]}"
        )
    return _told(_leftovers(folder) or Verdict(Outcome.RIGHT), told)


def _lay_older(work: Work, runs: Runs, folder: Path) -> None:
    """Put the complete results of an older run where those of this one will be."""
    if work.older:
        runs.of(work, older=True)
        shutil.copytree(runs.folder / f"{work.name}-older" / "out", folder / "out", dirs_exist_ok=True)


def _older(work: Work, runs: Runs) -> Results:
    return runs.of(work, older=True).results if work.older else {}


def _damage(work: Work, runs: Runs, folder: Path) -> Verdict | None:
    """Return the verdict on files under final names: each is whole, the older one or the new one."""
    try:
        found = work.results(folder)
    except Exception as error:  # whatever the reader of a torn file raises
        return Verdict(Outcome.LOST, f"a torn file: {type(error).__name__}: {error}")
    older = _older(work, runs)
    if missing := sorted(older.keys() - found.keys()):
        return Verdict(Outcome.LOST, f"older results are gone: {', '.join(missing)}")
    if names := torn(found, runs.of(work).results, older):
        return Verdict(Outcome.LOST, f"neither the older nor the new: {names}")
    return None


def _again(work: Work, runs: Runs, folder: Path) -> Verdict:
    """Give the command again, undisturbed, and compare with the run that never was disturbed."""
    reference = runs.of(work)
    ended = run(work.resume(runs.material), folder, LIMIT)
    if verdict := misconduct(ended, reference.ended):
        return _told(verdict, "given again")
    if ended.status:
        return Verdict(Outcome.RESUME, f"given again: status {ended.status}\n{ended.output[-2000:]}")
    if other := differences(work.results(folder), reference.results):
        return Verdict(Outcome.RESUME, f"given again: other {_brief(other)}\n{ended.output[-2000:]}")
    if work.clears and (verdict := _leftovers(folder)):
        return _told(verdict, "given again")
    return Verdict(Outcome.RIGHT)


def _leftovers(folder: Path) -> Verdict | None:
    """Return the verdict on unfinished files: hidden ones beside the results, and temporary ones."""
    hidden = [path for path in (folder / "out").rglob(".*") if path.is_file()]
    temporary = [path for path in (folder / "tmp").rglob("*") if path.is_file()]
    if not hidden + temporary:
        return None
    names = ", ".join(str(path.relative_to(folder)) for path in hidden + temporary)
    return Verdict(Outcome.LEFTOVER, f"left behind: {_brief(names)}")


def _told(verdict: Verdict, text: str) -> Verdict:
    return Verdict(verdict.outcome, f"{text}: {verdict.detail}")


def _brief(text: str) -> str:
    return text if len(text) < 400 else f"{text[:400]} ..."
