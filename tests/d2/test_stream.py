"""The stream of training samples: what is in it, and where a process or a resumed run is in it."""

import random
from itertools import chain, islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.d2.randomness import random_sample, seed_step
from rskt_seg.d2.stream import Draw, TrainingBatches

EVERY_THIRD = [sample % 3 == 0 for sample in range(9)]
SIZES = st.integers(1, 9)


def taken(count: int, *args, start: int = 0, **rest) -> list[list[Draw]]:
    batches = TrainingBatches(*args, **rest)
    batches.start = start
    return list(islice(batches, count))


@settings(max_examples=30)
@given(SIZES, SIZES, SIZES, st.integers(0, 2**31 - 1))
def test_every_pass_over_the_data_holds_every_sample_once_whoever_takes_it(size, batch, processes, seed):
    batch += processes - 1  # at least a sample for each
    shares = [taken(3 * size, size, batch, seed, rank, processes) for rank in range(processes)]
    draws = sorted((draw for share in shares for part in share for draw in part), key=lambda d: d.position)
    assert [draw.position for draw in draws] == list(range(3 * size * batch))
    assert {len(part) for share in shares for part in share} <= {batch // processes, -(-batch // processes)}
    for first in range(0, len(draws) - size + 1, size):
        assert sorted(draw.sample for draw in draws[first : first + size]) == list(range(size))


@settings(max_examples=30)
@given(SIZES, SIZES, st.integers(0, 20), st.sampled_from([None, EVERY_THIRD]))
def test_a_resumed_run_takes_the_batches_that_come_next(size, batch, done, wide):
    args = (size, batch + 1, 7, 1, 2, wide)
    assert taken(6, *args, start=done) == taken(done + 6, *args)[done:]


@pytest.mark.parametrize("wide", [None, EVERY_THIRD])
def test_an_iteration_learns_from_the_same_samples_in_any_number_of_processes(wide):
    def of_all(processes: int) -> list[list[Draw]]:
        shares = [taken(9, 9, 12, 3, rank, processes, wide) for rank in range(processes)]
        return [sorted(chain(*parts)) for parts in zip(*shares, strict=True)]

    assert of_all(1) == of_all(2) == of_all(4) == of_all(5)


def test_wide_and_other_images_are_never_in_one_batch_and_none_is_left_out():
    batches = taken(100, 7, 3, 5, wide=EVERY_THIRD)
    assert all(len({EVERY_THIRD[draw.sample] for draw in batch}) == 1 for batch in batches)
    drawn = sorted(draw.position for batch in batches for draw in batch)
    # At most the start of the two next batches waits.
    assert drawn[:295] == list(range(295)) and len(set(drawn)) == 300


def test_passes_and_seeds_have_orders_of_their_own():
    one, other = (taken(8, 50, 50, seed) for seed in (1, 2))
    orders = [tuple(draw.sample for draw in batch) for batch in one + other]
    assert len(set(orders)) == len(orders)


def drawn() -> tuple:
    return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002


def test_a_sample_draws_its_own_numbers_and_leaves_the_generators_as_they_were():
    seed_step(1, 0, 0)
    expected = drawn()
    seed_step(1, 0, 0)
    found = []
    for position in (5, 6, 5):
        with random_sample(1, position):
            found.append(drawn())
    assert drawn() == expected
    assert found[0] == found[2]
    assert len({expected, *found}) == 3


def test_an_error_in_a_sample_leaves_the_generators_as_they_were_too():
    seed_step(1, 0, 0)
    expected = drawn()
    seed_step(1, 0, 0)
    with pytest.raises(ValueError, match="broken"), random_sample(1, 2):
        raise ValueError("broken")
    assert drawn() == expected


def test_steps_processes_and_seeds_draw_numbers_of_their_own():
    found = set()
    for seed in (1, 2):
        for iteration in (0, 1):
            for rank in (0, 1):
                seed_step(seed, iteration, rank)
                found.add(drawn())
    assert len(found) == 8
    assert all(len(set(column)) == 8 for column in zip(*found, strict=True))
