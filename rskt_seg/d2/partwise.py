"""Training steps whose batch does not fit through the model at once: gradients of its parts are added up."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from itertools import chain, pairwise

import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from rskt_seg.d2.segmentor import unwrapped


class PartwiseTrainer(SimpleTrainer):
    """One step of the optimiser for all the `parts` that the model's head makes of a batch.

    The gradient is the sum over parts, and over processes, of each part's own (the published FCtL: a sum of
    means, never divided); what is logged is the mean of the parts' losses.
    """

    def __init__(
        self, model: nn.Module, data_loader: Iterable, optimizer: torch.optim.Optimizer, amp: bool = False
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        segmentor = unwrapped(model)
        self.head, self.device, self.amp = segmentor.sem_seg_head, segmentor.device, amp
        self.grad_scaler = torch.amp.GradScaler(self.device.type, enabled=amp)

    def run_step(self) -> None:
        """Take the next batch, add up the gradients of its parts, step."""
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        losses = [self._backward(part, last) for part, last in _marking_last(self.head.parts(data))]
        self._write_metrics(_mean(losses), data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if comm.get_world_size() > 1:
            _share_statistics(self.head)

    def _backward(self, part: list, last: bool) -> dict[str, Tensor]:
        # Distributed training averages gradients over processes, once, at the last part.
        waits = not last and isinstance(self.model, DistributedDataParallel)
        with self.model.no_sync() if waits else nullcontext():
            with torch.autocast(self.device.type, enabled=self.amp):
                losses = self.model(part)
            total = sum(losses.values()) * comm.get_world_size()
            self.grad_scaler.scale(total).backward()
        return {name: loss.detach() for name, loss in losses.items()}

    def state_dict(self) -> dict:
        """As `SimpleTrainer`, with the gradient scaler of mixed precision."""
        return super().state_dict() | {"grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """The inverse of `state_dict`."""
        super().load_state_dict(state_dict)
        if self.amp and state_dict["grad_scaler"]:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def _share_statistics(module: nn.Module) -> None:
    """Give every process the mean of all running statistics, so that each evaluates what one of them saves.

    Statistics cannot be shared within a step: processes have images with different numbers of parts.
    """
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            for statistics in (norm.running_mean, norm.running_var):
                dist.all_reduce(statistics)
                statistics /= comm.get_world_size()


def _marking_last(parts: Iterator) -> Iterator[tuple[object, bool]]:
    end = object()
    for part, following in pairwise(chain(parts, [end])):
        yield part, following is end


def _mean(losses: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([part[name] for part in losses]).mean() for name in losses[0]}
