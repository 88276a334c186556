"""Engines that compute the chunks of scenes: this process, processes of this machine, or a Dask cluster.

All run the same function, so that results do not depend on the engine.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from time import perf_counter
from typing import NamedTuple, Protocol

import torch

from rskt_seg.errors import ProcessDiedError, RSKTSegError
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.strategies import Strategy
from rskt_seg.scenes.job import SceneJob, compute_chunk, write_chunk
from rskt_seg.scenes.region import Maps, Region, read_region
from rskt_seg.windows import Window

MOST_TRIES = 3
"""How often a chunk is computed whose process dies before it is done."""
MakeStrategy = Callable[[], Strategy]
"""Builds the model in a process; it is pickled to get there."""


class Chunk(NamedTuple):
    """A chunk of one of several scenes."""

    job: int
    window: Window


class Event(NamedTuple):
    """The end of a chunk.

    Attributes:
        chunk: The chunk.
        error: Why it cannot be computed; None if its files are written.
    """

    chunk: Chunk
    error: Exception | None = None


OnShare = Callable[[Chunk, float], None]
"""Called with the share, 0..1, of a chunk that is computed in this process."""


@dataclass(frozen=True)
class Work:
    """What an engine computes.

    Attributes:
        jobs: The scenes.
        chunks: Chunks of them, in any order.
        given_up: Scenes of which no more chunks are computed; the caller adds those that failed.
        on_share: Called while a chunk is computed, if that is known.
    """

    jobs: Sequence[SceneJob]
    chunks: Sequence[Chunk]
    given_up: Collection[int] = ()
    on_share: OnShare = lambda chunk, share: None


class Engine(Protocol):
    """What computes chunks."""

    def run(self, work: Work) -> Iterator[Event]:
        """Compute chunks and write their files.

        Args:
            work: The chunks.

        Yields:
            The end of each chunk but those of scenes that are given up.

        Raises:
            RSKTSegError: The engine itself cannot go on.
        """


@dataclass
class HereEngine:
    """Engine of this process: while a chunk is computed, a thread reads the next, another writes the last.

    Attributes:
        strategy: The model.
        waited: Seconds in which the model waited for files.
        computed: Seconds in which it computed, with blending.
    """

    strategy: Strategy
    waited: float = field(default=0.0, init=False)
    computed: float = field(default=0.0, init=False)

    def run(self, work: Work) -> Iterator[Event]:
        """See `Engine.run`."""
        left, jobs = deque(work.chunks), work.jobs
        ahead = deque[tuple[Chunk, Future[Region]]]()
        behind = deque[tuple[Chunk, Future[None]]]()
        with (
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as writer,
            evaluating(self.strategy.model),
        ):
            while left or ahead:
                while left and len(ahead) < 2:
                    chunk = left.popleft()
                    if chunk.job not in work.given_up:
                        task = jobs[chunk.job].task
                        ahead.append((chunk, reader.submit(read_region, task, chunk.window)))
                if not ahead:
                    break
                chunk, reading = ahead.popleft()
                if chunk.job in work.given_up:
                    continue
                try:
                    maps = self._compute(jobs[chunk.job], chunk, reading, work.on_share)
                except (RSKTSegError, OSError) as error:
                    yield Event(chunk, error)
                    continue
                if behind:  # maps of two chunks are in memory at most
                    yield self._finish(*behind.popleft())
                behind.append((chunk, writer.submit(write_chunk, jobs[chunk.job], chunk.window, maps)))
            while behind:
                yield self._finish(*behind.popleft())

    def _compute(self, job: SceneJob, chunk: Chunk, reading: "Future[Region]", on_share: OnShare) -> Maps:
        started = perf_counter()
        region = reading.result()
        begin = perf_counter()
        maps = compute_chunk(
            self.strategy, job, chunk.window, region, lambda done, of: on_share(chunk, done / of)
        )
        self.waited += begin - started
        self.computed += perf_counter() - begin
        return maps

    def _finish(self, chunk: Chunk, writing: "Future[None]") -> Event:
        started = perf_counter()
        error = writing.exception()
        self.waited += perf_counter() - started
        if error is None:
            return Event(chunk)
        if isinstance(error, RSKTSegError | OSError):
            return Event(chunk, error)
        raise error


class _Worker:
    """A process that computes one chunk at a time."""

    def __init__(self, make: MakeStrategy, jobs: Sequence[SceneJob], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, make, jobs, threads), daemon=True)
        self.process.start()
        there.close()
        self.chunk: Chunk | None = None

    def give(self, chunk: Chunk) -> None:
        """Let the process compute a chunk."""
        self.chunk = chunk
        with suppress(OSError):  # it has just died, which is seen by and by
            self.connection.send(chunk)

    def receive(self) -> Event | None:
        """Return what the process has sent; None if nothing, or if it died before it was done."""
        with suppress(EOFError, OSError):
            if self.connection.poll():
                event: Event = self.connection.recv()
                return event
        return None

    def end(self) -> None:
        """End the process at once: what it has not written is computed again."""
        self.connection.close()
        self.process.kill()
        self.process.join()


def _serve(connection: Connection, make: MakeStrategy, jobs: Sequence[SceneJob], threads: int) -> None:
    """Compute chunks in a process until it is ended."""
    torch.set_num_threads(threads)
    with suppress(EOFError, BrokenPipeError, KeyboardInterrupt):  # the other side has gone, or ends us
        strategy = make()
        with evaluating(strategy.model):
            while True:
                chunk: Chunk = connection.recv()
                connection.send(Event(chunk, compute_and_write(strategy, jobs, chunk)))


def compute_and_write(strategy: Strategy, jobs: Sequence[SceneJob], chunk: Chunk) -> Exception | None:
    """Compute a chunk and write its files, inside `rskt_seg.inference.predict.evaluating(model)`.

    Args:
        strategy: The model.
        jobs: The scenes.
        chunk: A chunk of one of them.

    Returns:
        Why it cannot be computed; None if its files are written.
    """
    job = jobs[chunk.job]
    try:
        write_chunk(job, chunk.window, compute_chunk(strategy, job, chunk.window))
    except (RSKTSegError, OSError) as error:
        return error
    return None


@dataclass
class WorkerEngine:
    """Engine of processes of this machine: one that dies is replaced, and its chunk computed again.

    Attributes:
        makers: One for each process, which may state different devices.
        threads: Threads of each process.
    """

    makers: Sequence[MakeStrategy]
    threads: int

    def run(self, work: Work) -> Iterator[Event]:
        """See `Engine.run`.

        Raises:
            ProcessDiedError: The process of a chunk died `MOST_TRIES` times.
        """
        jobs, left, tries = work.jobs, deque(work.chunks), dict.fromkeys(work.chunks, 0)
        workers = [_Worker(make, jobs, self.threads) for make in self.makers[: len(left)]]
        try:
            while True:
                for worker in workers:
                    while worker.chunk is None and left:
                        chunk = left.popleft()
                        if chunk.job not in work.given_up:
                            worker.give(chunk)
                busy = [worker for worker in workers if worker.chunk is not None]
                if not busy:
                    return
                wait([each for worker in busy for each in (worker.connection, worker.process.sentinel)])
                for number, worker in enumerate(workers):
                    if worker.chunk is None:
                        continue
                    died = not worker.process.is_alive()  # before, so that what it sent last is not missed
                    if event := worker.receive():
                        worker.chunk = None
                        yield event
                    elif died:
                        tries[worker.chunk] += 1
                        if tries[worker.chunk] == MOST_TRIES:
                            raise ProcessDiedError(_describe_death(worker, jobs[worker.chunk.job]))
                        left.appendleft(worker.chunk)
                        worker.end()
                        workers[number] = _Worker(self.makers[number], jobs, self.threads)
        finally:
            for worker in workers:
                worker.end()


def _describe_death(worker: _Worker, job: SceneJob) -> str:
    code = worker.process.exitcode or 0
    how = f"signal {-code}" if code < 0 else f"status {code}"
    return (
        f"{job.task.name}: a worker process died {MOST_TRIES} times at the same chunk ({how}); if memory is "
        "short, use fewer workers or smaller chunks; a script of your own starts workers behind "
        "`if __name__ == '__main__':`. Finished chunks are kept: give the command again"
    )
