"""Random numbers of a training, derived from the seed of the run and from where in the run they are drawn.

No state of a generator outlives its sample or its step, so a checkpoint has none to keep: a resumed run draws
what the uninterrupted one would, however many processes load its data and whatever is evaluated in between.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng


class _Purpose(IntEnum):
    """What numbers are drawn for; each has a stream of its own."""

    ORDER = 1
    SAMPLE = 2
    STEP = 3


def run_seed(cfg: CfgNode) -> int:
    """Return `SEED`, or if that is negative a seed drawn now, the same in every process; all must call it."""
    return int(cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed())


def seed_start(seed: int) -> None:
    """Seed the generators of this process for what is drawn before the first step, the weights of a model."""
    seed_all_rng(seed + comm.get_rank())  # as Detectron2 does for SEED


def shuffled(seed: int, epoch: int, size: int) -> np.ndarray:
    """Return the order of the samples in one pass over a dataset.

    Args:
        seed: Seed of the run.
        epoch: Number of the pass, from 0.
        size: Number of samples.

    Returns:
        (size,) int64, a permutation of 0..size - 1.
    """
    return np.random.default_rng(_derive(seed, _Purpose.ORDER, epoch)).permutation(size)


@contextmanager
def random_sample(seed: int, position: int) -> Iterator[None]:
    """Seed the generators of Python, NumPy and PyTorch (CPU) for one sample, and restore them after it.

    Detectron2's augmentations draw from NumPy's global generator. Restoring it matters where the loader has
    no worker processes, and samples are drawn in the middle of a step.

    Args:
        seed: Seed of the run.
        position: Place of the sample in the stream of all samples.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    _seed_generators(_derive(seed, _Purpose.SAMPLE, position))
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def seed_step(seed: int, iteration: int, rank: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch (every device) for one training step.

    Args:
        seed: Seed of the run.
        iteration: Number of the step, from 0.
        rank: Number of this process; each drops out on its own.
    """
    sequence = _derive(seed, _Purpose.STEP, iteration, rank)
    _seed_generators(sequence)
    torch.manual_seed(_number(sequence))


def _derive(seed: int, purpose: _Purpose, *place: int) -> np.random.SeedSequence:
    return np.random.SeedSequence((seed, purpose, *place))


def _number(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1, np.uint64)[0])


def _seed_generators(sequence: np.random.SeedSequence) -> None:
    random.seed(_number(sequence))
    np.random.seed(sequence.generate_state(4))  # noqa: NPY002
    torch.default_generator.manual_seed(_number(sequence))
