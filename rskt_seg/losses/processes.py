"""Sums over the batch of a training step, whose images several processes may share."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _SumOverProcesses(torch.autograd.Function):
    """Sum a tensor over all processes; every process must compute the same of the result.

    Going back, the gradients of all processes are added up, so that sums may depend on earlier sums.
    Gradients of a loss that all processes have are then as many times too large as there are processes,
    which the mean over processes undoes.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _add_up(own)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _add_up(gradient)


def _add_up(own: Tensor) -> Tensor:
    total = own.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def batch_sums(*own: Tensor) -> tuple[Tensor, ...]:
    """Add up sums over the images of this process and those of all other processes, in one exchange.

    A loss that is a function of such sums alone is that of the whole batch: the same number in every process,
    and with gradients that are averaged over processes (`DistributedDataParallel`) the gradient is that of
    one process with all images, whatever the share of each. All processes must call it equally often.

    Args:
        own: Sums over the images of this process, of any shapes; what is not floating point is taken for a
            count.

    Returns:
        The sums over all processes, of the same shapes; without other processes `own` itself.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return own
    dtype = torch.float32
    for each in own:
        dtype = torch.promote_types(dtype, each.dtype)
    flat = torch.cat([each.to(dtype).flatten() for each in own])
    parts = _SumOverProcesses.apply(flat).split([each.numel() for each in own])
    return tuple(part.view(each.shape) for part, each in zip(parts, own, strict=True))
