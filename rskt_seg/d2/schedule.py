"""Learning rates over a training: the published schedules, or Detectron2's."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler as build_detectron2_scheduler
from torch import Tensor

# Detectron2 0.5 saves the state of subclasses of this one only; its main branch of both.
from torch.optim.lr_scheduler import LRScheduler, _LRScheduler

from rskt_seg.d2.datasets import load_datasets
from rskt_seg.errors import ConfigError

logger = logging.getLogger(__name__)

Rate = Callable[[float, int], float]
"""(Learning rate of a group in the configuration, iterations done) -> its rate in the next iteration."""


class IterationLR(_LRScheduler):
    """Learning rate of every group by a closed form of the iteration.

    `last_epoch` counts iterations, as in Detectron2. A resumed run needs the state and nothing else.

    Detectron2's `LRMultiplier` with fvcore's schedulers cannot take its place: it gives them the share of
    the training done as a float, from which whole epochs cannot be told exactly, and multiplies the rates by
    one factor, whereas `SOLVER.LR_FLOOR` is a rate.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, rate: Rate) -> None:
        self._rate = rate
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each group in iteration `last_epoch`."""
        return [self._rate(float(base), self.last_epoch) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """Return the rates of the configuration, and the iterations done."""
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}


def epoch_cosine(max_iter: int, epochs: int, floor: float) -> Rate:
    """Return cosine annealing from the base rate to `floor`, in equal steps of an epoch.

    In epoch e = floor(iteration epochs / max_iter) the rate is that of `CosineAnnealingLR` with
    `T_max=epochs`, stepped once an epoch (published for BiCoR-Seg).

    Args:
        max_iter: Number of iterations of the training.
        epochs: Number of steps; if there are fewer iterations than epochs, some are skipped.
        floor: Rate that follows the last epoch.

    Returns:
        Function of the base rate and the iteration, which returns the learning rate.
    """

    def rate(base: float, iteration: int) -> float:
        epoch = min(iteration, max_iter) * epochs // max_iter
        return floor + (base - floor) * (1 + math.cos(math.pi * epoch / epochs)) / 2

    return rate


def poly(max_iter: int, power: float, start: float) -> Rate:
    """Return base (1 - t)^power, where t goes from `start` to 1 in `max_iter` iterations.

    FCtL: power 0.9; the published code trains Inria in epochs 50 to 99 of 100, so from t = 0.5. WeCLIP:
    power 1, after a warm-up (`warmed_up`). 1 - t is computed from the iterations left, so that it is exactly
    0 at the end; fvcore's `PolynomialDecayParamScheduler` subtracts a rounded t.

    Args:
        max_iter: Number of iterations of the training.
        power: Exponent, at least 0.
        start: Value of t in iteration 0, from 0 to below 1.

    Returns:
        Function of the base rate and the iteration, which returns the learning rate.
    """

    def rate(base: float, iteration: int) -> float:
        left = (1 - start) * (max_iter - min(iteration, max_iter)) / max_iter
        return base * left**power

    return rate


def warmed_up(rate: Rate, iterations: int, factor: float) -> Rate:
    """Return `rate` after a linear rise in the first `iterations` from `factor` to 1 of its initial value.

    In iteration t of the rise that is 1 - (1 - t / iterations) (1 - factor) of `rate(base, 0)`. `rate` itself
    runs from iteration 0 and takes over where it then is (published for WeCLIP: 50 iterations from 1e-6,
    and the power law 1 - t / 40000); Detectron2's own warm-ups rise to that value instead.

    Args:
        rate: The schedule after the rise.
        iterations: Number of iterations of the rise, at least 1.
        factor: Share of `rate(base, 0)` in iteration 0, from 0 to 1.

    Returns:
        Function of the base rate and the iteration, which returns the learning rate.
    """

    def warmed(base: float, iteration: int) -> float:
        if iteration >= iterations:
            return rate(base, iteration)
        return rate(base, 0) * (factor + (1 - factor) * iteration / iterations)

    return warmed


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> _LRScheduler:
    """Return the schedule of `SOLVER.LR_SCHEDULER_NAME`, to be stepped after every iteration.

    * "EpochCosineLR" reads `EPOCHS` and `LR_FLOOR`. It has no warm-up and refuses `WARMUP_ITERS`.
    * "PolyLR" reads `POLY_POWER` and `POLY_START`, and begins with `WARMUP_ITERS` iterations of
      `warmed_up` from `WARMUP_FACTOR`.
    * All other names are Detectron2's.

    Args:
        cfg: The configuration.
        optimizer: Its groups have the base rates.

    Returns:
        The schedule.

    Raises:
        ConfigError: The name is unknown, or a key of the schedule cannot be used.
    """
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME == "EpochCosineLR":
        return IterationLR(optimizer, _read_epoch_cosine(solver, optimizer))
    if solver.LR_SCHEDULER_NAME == "PolyLR":
        return IterationLR(optimizer, _read_poly(solver))
    try:
        return build_detectron2_scheduler(cfg, optimizer)
    except ValueError as error:
        raise ConfigError(f"SOLVER: {error}; this project adds EpochCosineLR and PolyLR") from error


def _read_epoch_cosine(solver: CfgNode, optimizer: torch.optim.Optimizer) -> Rate:
    if solver.WARMUP_ITERS > 0:
        raise ConfigError(
            "SOLVER.LR_SCHEDULER_NAME EpochCosineLR has no warm-up: set SOLVER.WARMUP_ITERS to 0; found "
            f"{solver.WARMUP_ITERS}"
        )
    if solver.EPOCHS < 1:
        raise ConfigError(f"SOLVER.EPOCHS must be at least 1; found {solver.EPOCHS}")
    lowest = min(group["lr"] for group in optimizer.param_groups)
    if not 0 <= solver.LR_FLOOR <= lowest:
        raise ConfigError(
            f"SOLVER.LR_FLOOR must be between 0 and the lowest learning rate, {lowest:g}; "
            f"found {solver.LR_FLOOR:g}"
        )
    return epoch_cosine(solver.MAX_ITER, solver.EPOCHS, solver.LR_FLOOR)


def follow_schedule(scheduler: LRScheduler, rates: Sequence[float | Tensor]) -> None:
    """Set the learning rates of a resumed run to those of its configuration at the iteration reached.

    Every schedule of `build_lr_scheduler` is a function of the configuration and the iteration, so a
    checkpoint has only the iteration to say: where the configuration is unchanged, nothing changes here.

    Args:
        scheduler: The schedule after its state was loaded; its optimizer is changed in place.
        rates: Base rate of every group by the configuration.
    """
    scheduler.base_lrs = list(rates)
    groups = scheduler.optimizer.param_groups
    for group, base, rate in zip(groups, rates, scheduler.get_lr(), strict=True):
        group["initial_lr"], group["lr"] = base, rate


def _read_poly(solver: CfgNode) -> Rate:
    if solver.POLY_POWER < 0:
        raise ConfigError(f"SOLVER.POLY_POWER must be at least 0; found {solver.POLY_POWER}")
    if not 0 <= solver.POLY_START < 1:
        raise ConfigError(f"SOLVER.POLY_START must be at least 0 and below 1; found {solver.POLY_START}")
    rate = poly(solver.MAX_ITER, solver.POLY_POWER, solver.POLY_START)
    if not solver.WARMUP_ITERS:
        return rate
    if solver.WARMUP_METHOD != "linear":
        raise ConfigError(
            "SOLVER.LR_SCHEDULER_NAME PolyLR warms up linearly: set SOLVER.WARMUP_METHOD to linear, or "
            f"SOLVER.WARMUP_ITERS to 0; found {solver.WARMUP_METHOD!r}"
        )
    if solver.WARMUP_ITERS < 0:
        raise ConfigError(f"SOLVER.WARMUP_ITERS must be at least 0; found {solver.WARMUP_ITERS}")
    if not 0 <= solver.WARMUP_FACTOR <= 1:
        raise ConfigError(f"SOLVER.WARMUP_FACTOR must be between 0 and 1; found {solver.WARMUP_FACTOR}")
    if solver.WARMUP_ITERS >= solver.MAX_ITER:
        logger.warning(
            "the training ends within its warm-up, below its learning rate: SOLVER.WARMUP_ITERS is %d, "
            "SOLVER.MAX_ITER %d",
            solver.WARMUP_ITERS,
            solver.MAX_ITER,
        )
    return warmed_up(rate, solver.WARMUP_ITERS, solver.WARMUP_FACTOR)


def warn_of_epochs(cfg: CfgNode) -> None:
    """Warn if MAX_ITER does not equal EPOCHS passes over the training set, as configurations intend.

    Args:
        cfg: The configuration; its datasets are registered.
    """
    if cfg.SOLVER.LR_SCHEDULER_NAME != "EpochCosineLR":
        return
    images = len(load_datasets(cfg.DATASETS.TRAIN))
    iterations = cfg.SOLVER.EPOCHS * (images // cfg.SOLVER.IMS_PER_BATCH)
    if iterations not in (0, cfg.SOLVER.MAX_ITER):
        logger.warning(
            "SOLVER.MAX_ITER %d is not %d epochs of %d images in batches of %d, which are %d iterations",
            cfg.SOLVER.MAX_ITER,
            cfg.SOLVER.EPOCHS,
            images,
            cfg.SOLVER.IMS_PER_BATCH,
            iterations,
        )
