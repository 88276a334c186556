"""Who is measured when, and what is made of the samples; no test looks at a time."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from benchmarks.timing import (
    CpuClock,
    EventClock,
    Sample,
    alternate,
    clock_of,
    is_contended,
    ratio_of,
    repeats_of,
    turns,
)
from hypothesis import given
from hypothesis import strategies as st

seconds = st.floats(1e-3, 1e3)


def samples(*times):
    return [Sample(each, each, each) for each in times]


class Watch:
    """A clock that notes who was measured; every sample is a second."""

    def measure(self, call, calls=1):
        for _ in range(calls):
            call()
        return Sample(1.0, 1.0, 1.0)


@pytest.mark.parametrize("repeats", [1, 3])
def test_forms_take_turns_a_b_b_a_and_every_one_is_sampled_once_a_round(repeats):
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    found = alternate(calls, 4, Watch(), repeats)
    assert "".join(order) == "".join(each * repeats for each in "abccbaabccba")
    assert {name: len(each) for name, each in found.items()} == {"a": 4, "b": 4, "c": 4}


@given(st.integers(1, 5), st.integers(0, 9))
def test_whoever_was_last_in_a_round_is_first_in_the_next(forms, pairs):
    rounds = list(turns([str(k) for k in range(forms)], pairs))
    assert len(rounds) == pairs and all(a[-1] == b[0] for a, b in pairwise(rounds))


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=9))
def test_a_ratio_lies_between_those_of_the_rounds(pairs):
    slow, fast = samples(*(a for a, _ in pairs)), samples(*(b for _, b in pairs))
    ratio = ratio_of(slow, fast)
    assert ratio.least <= ratio.low <= ratio.high <= ratio.greatest
    assert ratio.least <= ratio.median <= ratio.greatest
    assert ratio.least == min(a / b for a, b in pairs)


def test_rounds_are_compared_with_themselves_so_that_a_slow_one_spoils_nothing():
    ratio = ratio_of(samples(2, 20, 4), samples(1, 10, 2))
    assert ratio.median == ratio.least == ratio.greatest == 2 and not ratio.is_noisy


def test_a_wide_interval_is_called_noisy():
    assert ratio_of(samples(2, 3, 1), samples(1, 1, 1)).is_noisy


def test_waiting_for_the_processor_is_seen():
    assert is_contended([Sample(1, 1.2, 1), Sample(1, 1.2, 1)])
    assert not is_contended([Sample(1, 1.1, 1), Sample(1, 1.0, 1)])


def test_one_thread_counts_cpu_time_and_several_wall_time():
    for threads, expected in ((1, "cpu"), (2, "wall")):
        sample = CpuClock(threads).measure(lambda: sum(range(1000)))
        assert sample.seconds == getattr(sample, expected) > 0


@given(st.floats(0, 100))
def test_short_calls_are_repeated_and_long_ones_are_not(time):
    assert 1 <= repeats_of(time) <= 20 and (time < 0.02 or repeats_of(time) == 1)


def test_an_accelerator_is_timed_by_events_of_its_stream_with_all_before_them_done(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("record")

        def elapsed_time(self, end):
            return 3000.0

    module = SimpleNamespace(Event=Event, synchronize=lambda: log.append("synchronize"))
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    clock = clock_of(torch.device("cuda"), 1)
    assert isinstance(clock, EventClock)
    assert clock.measure(lambda: log.append("call"), 2).seconds == 1.5
    assert log == ["synchronize", "record", "call", "call", "record", "synchronize"]
