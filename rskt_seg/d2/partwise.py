"""Training steps whose batch does not fit through the model at once: gradients of its parts are summed."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from rskt_seg.d2.heads import SHARE
from rskt_seg.d2.segmentor import unwrapped
from rskt_seg.d2.steps import CheckedAMPTrainer
from rskt_seg.d2.typing import Entries
from rskt_seg.losses.processes import batch_sums

logger = logging.getLogger(__name__)
_MEASURED = 4
"""Parts of the first iteration after which its duration is told."""
_MANY = 25
"""Parts of an iteration from which on it is told."""


class PartwiseTrainer(CheckedAMPTrainer):
    """One step of the optimizer for all the `parts` that the model's head makes of a batch.

    The gradient is the sum over the parts of all processes of each part's own (the published FCtL: a sum of
    means, never divided), so that it does not matter which process has which image; the mean of the parts'
    losses is logged.
    """

    def run_step(self) -> None:
        """Take the next batch, sum the gradients of its parts, and step."""
        data, data_time = self._next_batch()
        head = unwrapped(self.model).sem_seg_head
        self.optimizer.zero_grad()
        losses, shares, begun = [], [], time.perf_counter()
        for part, last in _mark_last(head.parts(data)):
            losses.append(self._backward(part, last))
            shares.append(part[0].get(SHARE, 1.0))
            if len(losses) == _MEASURED and self.iter == self.start_iter:
                self._tell_duration(head.count_parts(data), time.perf_counter() - begun)
        self._write_metrics(_means(losses, sum(shares)), data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if comm.get_world_size() > 1:
            _average_statistics(head)

    def _tell_duration(self, parts: int, seconds: float) -> None:
        """Log how long an iteration of many parts will take, by those that have been computed."""
        if parts < _MANY:
            return
        whole, left = parts * seconds / _MEASURED, self.max_iter - self.iter
        logger.info(
            "The first %d of the %d parts of this iteration took %s: about %s an iteration, and %s for the "
            "%d that are left, if all are like it",
            _MEASURED,
            parts,
            *(str(timedelta(seconds=round(each))) for each in (seconds, whole, whole * left)),
            left,
        )

    def _backward(self, part: Entries, last: bool) -> dict[str, Tensor]:
        # Distributed training averages gradients over processes, once, at the last part.
        waits = not last and isinstance(self.model, DistributedDataParallel)
        with self.model.no_sync() if waits else nullcontext():
            losses = self._forward(part)
            total = sum(losses.values()) * comm.get_world_size()
            self.grad_scaler.scale(total).backward()
        return {name: loss.detach() for name, loss in losses.items()}


def _means(losses: Sequence[Mapping[str, Tensor]], parts: float) -> dict[str, Tensor]:
    """Return the mean of each loss over the parts of all processes, of which this one has `parts`."""
    sums = [torch.stack([part[name] for part in losses]).sum() for name in losses[0]]
    *totals, count = batch_sums(*sums, sums[0].new_full((), parts))
    return {name: total / count for name, total in zip(losses[0], totals, strict=True)}


def _mark_last(parts: Iterator[Entries]) -> Iterator[tuple[Entries, bool]]:
    """Yield each part with whether it is the last."""
    part = next(parts)
    for following in parts:
        yield part, False
        part = following
    yield part, True


def _average_statistics(module: nn.Module) -> None:
    """Give every process the mean of all running statistics, so that each evaluates what one of them saves.

    Statistics cannot be shared within a step: processes have images with different numbers of parts.
    """
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            for statistics in (norm.running_mean, norm.running_var):
                dist.all_reduce(statistics)
                statistics /= comm.get_world_size()
