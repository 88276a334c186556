"""Training steps whose batch does not fit through the model at once: gradients of its parts are summed."""

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from rskt_seg.d2.segmentor import unwrapped
from rskt_seg.d2.steps import CheckedTrainer
from rskt_seg.d2.typing import DatasetDict, Entries


class PartwiseTrainer(CheckedTrainer):
    """One step of the optimizer for all the `parts` that the model's head makes of a batch.

    The gradient is the sum over parts, and over processes, of each part's own (the published FCtL: a sum of
    means, never divided); the mean of the parts' losses is logged.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[list[DatasetDict]],
        optimizer: torch.optim.Optimizer,
        amp: bool = False,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        segmentor = unwrapped(model)
        self.head, self.device, self.amp = segmentor.sem_seg_head, segmentor.device, amp
        self.grad_scaler = GradScaler(self.device.type, enabled=amp)

    def run_step(self) -> None:
        """Take the next batch, sum the gradients of its parts, and step."""
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        losses = [self._backward(part, last) for part, last in _mark_last(self.head.parts(data))]
        means = {name: torch.stack([part[name] for part in losses]).mean() for name in losses[0]}
        self._write_metrics(means, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if comm.get_world_size() > 1:
            _average_statistics(self.head)

    def _backward(self, part: Entries, last: bool) -> dict[str, Tensor]:
        # Distributed training averages gradients over processes, once, at the last part.
        waits = not last and isinstance(self.model, DistributedDataParallel)
        with self.model.no_sync() if waits else nullcontext():
            with torch.autocast(self.device.type, enabled=self.amp):
                losses: dict[str, Tensor] = self.model(part)
            total = sum(losses.values()) * comm.get_world_size()
            self.grad_scaler.scale(total).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `CheckedTrainer`, with the gradient scaler of mixed precision."""
        return super().state_dict() | {"grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state_dict)
        if self.amp and state_dict["grad_scaler"]:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


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
