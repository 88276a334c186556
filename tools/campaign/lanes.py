"""Processes that make tries side by side, and the one that counts."""

import gc
import itertools
import json
import os
import selectors
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from campaign.kinds import Ground, make, plan
from campaign.outcomes import Outcome, Table, Try, Verdict
from campaign.undisturbed import Runs
from rskt_seg.errors import RSKTSegError

_NEWS = 15.0
"""Seconds between two lines about the progress."""


class Lanes:
    """Some processes, each of which makes every n-th try until the time is over.

    Args:
        ground: What tries share.
        folder: Where they are made, and where those with a bad outcome are kept.
        count: Number of processes.
    """

    def __init__(self, ground: Ground, folder: Path, count: int) -> None:
        self.ground, self.folder, self.count = ground, folder, count

    def run(self, seed: int, seconds: float, only: Collection[str], table: Table) -> None:
        """Make tries and count them; on an interrupt what was made until then is in the table."""
        began = time.monotonic()
        gc.collect()
        gc.freeze()  # what the processes share is not copied by a collection in one of them
        pipes = {}
        for lane in range(self.count):
            pipe, pid = self._fork(lane, seed, began + seconds, only)
            pipes[pipe] = pid
        try:
            for each, verdict in _news(set(pipes)):
                table.add(each, verdict)
                if verdict.is_bad:
                    seen = verdict.detail.splitlines()[0][:200]
                    print(f"BAD  {verdict.outcome.value}: --repeat {each}: {seen}", flush=True)
                if time.monotonic() > self._due(began):
                    print(
                        f"{(time.monotonic() - began) / 60:5.1f} min: {table.tries} tries, {table.bad} bad",
                        flush=True,
                    )
        except BaseException:
            for pid in pipes.values():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            raise
        finally:
            ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pipes.values()]
        if any(ends):
            raise RSKTSegError(
                f"processes of the campaign itself ended with {ends}; see their tracebacks above"
            )

    _told = 0.0

    def _due(self, began: float) -> float:
        self._told = max(self._told, began)
        due = self._told + _NEWS
        if time.monotonic() > due:
            self._told = time.monotonic()
        return due

    def _fork(self, lane: int, seed: int, end: float, only: Collection[str]) -> tuple[int, int]:
        pipe, told = os.pipe()
        pid = os.fork()
        if pid:
            os.close(told)
            return pipe, pid
        status = 1
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            runs = Runs(self.ground.material, self.ground.runs.folder / str(lane))
            self.ground = replace(self.ground, runs=runs)
            for each in itertools.islice(plan(seed, only), lane, None, self.count):
                if time.monotonic() > end:
                    break
                verdict = self.make(each)
                facts = [each.kind, each.seed, verdict.outcome.name, verdict.detail, verdict.seconds]
                os.write(told, f"{json.dumps(facts)}\n".encode())
            status = 0
        except SystemExit:
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def make(self, each: Try) -> Verdict:
        """Make one try; keep its folder if its outcome is bad."""
        root = self.folder / "tries" / f"{each.kind}-{each.seed}"
        began = time.monotonic()
        try:
            verdict = make(each, self.ground, root)
            verdict = Verdict(verdict.outcome, verdict.detail, time.monotonic() - began)
            if verdict.is_bad:
                kept = self.folder / "bad" / root.name
                shutil.rmtree(kept, ignore_errors=True)
                kept.parent.mkdir(exist_ok=True)
                shutil.move(root, kept)
                (kept / "verdict.txt").write_text(f"{each}\n{verdict.outcome.value}\n{verdict.detail}\n")
            return verdict
        finally:
            shutil.rmtree(root, ignore_errors=True)


def _news(pipes: set[int]) -> Iterator[tuple[Try, Verdict]]:
    """Yield what the lanes tell, until all have ended."""
    texts = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while texts:
            for key, _ in selector.select():
                content = os.read(key.fd, 1 << 16)
                *lines, texts[key.fd] = (texts[key.fd] + content).split(b"\n")
                for line in lines:
                    kind, seed, outcome, detail, seconds = json.loads(line)
                    yield Try(kind, seed), Verdict(Outcome[outcome], detail, seconds)
                if not content:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    del texts[key.fd]
