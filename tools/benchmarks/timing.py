"""Times of forms that take turns in one process, their ratios, and how far both can be trusted."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Protocol

import numpy as np
import torch

NOISY = 0.15
"""Width of the interval of a ratio, as a share of it, above which it is called noisy."""
CONTENDED = 1.15
"""Wall time by CPU time of one thread above which other programs must have had the processor."""
_SHORT = 0.02
"""Seconds below which a call is repeated for one sample."""
_MOST_CALLS = 20
_RESAMPLES = 2000


@dataclass(frozen=True)
class Sample:
    """Time of one call, or the mean of several.

    Attributes:
        seconds: What counts: CPU time of the process with one thread, wall time with several, and on an
            accelerator the time between two events of its stream.
        wall: Wall time in seconds.
        cpu: CPU time of the process in seconds.
    """

    seconds: float
    wall: float
    cpu: float


class Clock(Protocol):
    """Measures a call."""

    def measure(self, call: Callable[[], object], calls: int = 1) -> Sample:
        """Time `calls` calls, and return the mean of one."""


class CpuClock:
    """Clock of the processor."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def measure(self, call: Callable[[], object], calls: int = 1) -> Sample:
        """See `Clock.measure`."""
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            call()
        cpu, wall = (time.process_time() - cpu) / calls, (time.perf_counter() - wall) / calls
        return Sample(cpu if self.threads == 1 else wall, wall, cpu)


class EventClock:
    """Clock of an accelerator: events of its stream, with everything before them finished."""

    def __init__(self, device: torch.device) -> None:
        self.module = torch.get_device_module(device)

    def measure(self, call: Callable[[], object], calls: int = 1) -> Sample:
        """See `Clock.measure`."""
        start, end = (self.module.Event(enable_timing=True) for _ in range(2))
        self.module.synchronize()
        wall, cpu = time.perf_counter(), time.process_time()
        start.record()
        for _ in range(calls):
            call()
        end.record()
        self.module.synchronize()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        seconds = start.elapsed_time(end) / 1000  # events count in milliseconds
        return Sample(seconds / calls, wall / calls, cpu / calls)


def clock_of(device: torch.device, threads: int) -> Clock:
    """Return the clock of a device; `threads` are those that an operation of the processor may use."""
    return CpuClock(threads) if device.type == "cpu" else EventClock(device)


def turns(names: Sequence[str], pairs: int) -> Iterator[list[str]]:
    """Yield the order of the forms in each round: A B, B A, A B, ...

    Whatever drifts in the machine then meets every form alike.

    Args:
        names: The forms.
        pairs: Number of rounds.

    Yields:
        The names, in every second round backwards.
    """
    for index in range(pairs):
        yield list(names) if index % 2 == 0 else list(reversed(names))


def alternate(
    calls: Mapping[str, Callable[[], object]], pairs: int, clock: Clock, repeats: int = 1
) -> dict[str, list[Sample]]:
    """Time forms in turns, each once in a round.

    Args:
        calls: Form -> a call that has been made before, so that nothing is prepared in it any more.
        pairs: Number of rounds.
        clock: What measures.
        repeats: Calls that make a sample, see `repeats_of`.

    Returns:
        Form -> its samples, in the order of the rounds.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in calls}
    for order in turns(tuple(calls), pairs):
        for name in order:
            samples[name].append(clock.measure(calls[name], repeats))
    return samples


def repeats_of(seconds: float) -> int:
    """Return how many calls of this time make a sample that is long enough to be measured."""
    return min(_MOST_CALLS, max(1, ceil(_SHORT / max(seconds, 1e-9))))


def is_contended(samples: Sequence[Sample]) -> bool:
    """Return whether one thread waited for the processor for a sixth of the time or more."""
    return sum(each.wall for each in samples) > CONTENDED * sum(each.cpu for each in samples)


@dataclass(frozen=True)
class Ratio:
    """How many times faster a form is than another.

    Attributes:
        median: Median of the ratios of the rounds.
        least: Smallest ratio of a round.
        greatest: Greatest ratio of a round.
        low: Lower end of the 90 % interval of the median, by bootstrap over the rounds.
        high: Upper end of it.
    """

    median: float
    least: float
    greatest: float
    low: float
    high: float

    @property
    def is_noisy(self) -> bool:
        """Whether the interval is too wide to decide anything."""
        return self.high - self.low > NOISY * self.median


def ratio_of(slow: Sequence[Sample], fast: Sequence[Sample]) -> Ratio:
    """Compare two forms round by round.

    Args:
        slow: Samples of the form in the numerator.
        fast: As many of the other.

    Returns:
        The ratio of their times; above 1 where `fast` is faster.
    """
    ratios = np.array([a.seconds / b.seconds for a, b in zip(slow, fast, strict=True)])
    drawn = np.random.default_rng(0).choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.05, 0.95))
    return Ratio(median(ratios.tolist()), float(ratios.min()), float(ratios.max()), float(low), float(high))
