"""Training steps that refuse a loss that is not finite before the optimizer uses it, in any precision."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from rskt_seg.d2.typing import DatasetDict
from rskt_seg.errors import NotFiniteError
from rskt_seg.finite import all_finite

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
"""Value of `SOLVER.AMP.DTYPE` -> the dtype of mixed precision; "auto" depends on the device."""


def amp_dtype(cfg: CfgNode) -> torch.dtype | None:
    """Return the dtype of mixed precision that a configuration asks for.

    Args:
        cfg: The configuration.

    Returns:
        None without `SOLVER.AMP.ENABLED`. `SOLVER.AMP.DTYPE` "auto" is bfloat16 on the CPU, whose kernels
        for float16 are few and slow, and float16 elsewhere, as published.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    if cfg.SOLVER.AMP.DTYPE != "auto":
        return AMP_DTYPES[cfg.SOLVER.AMP.DTYPE]
    return torch.bfloat16 if torch.device(cfg.MODEL.DEVICE).type == "cpu" else torch.float16


def remedy_of(cfg: CfgNode) -> str:
    """Return what to try after a loss that was not finite, in keys of the configuration.

    Args:
        cfg: The configuration of the training.
    """
    tries = [f"lower SOLVER.BASE_LR ({cfg.SOLVER.BASE_LR:g})"]
    if cfg.SOLVER.AMP.ENABLED:
        tries.append("set SOLVER.AMP.ENABLED False")
    if cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        tries.append(f"lower SOLVER.CLIP_GRADIENTS.CLIP_VALUE ({cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE:g})")
    else:
        tries.append("set SOLVER.CLIP_GRADIENTS.ENABLED True")
    return f"nothing was learnt from it, and the checkpoints of the run are kept: {', or '.join(tries)}"


class CheckedTrainer(SimpleTrainer):
    """Detectron2's training step, which stops before the weights learn from a loss that is not finite."""

    def _write_metrics(self, loss_dict: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> None:
        # Called between the backward pass and the step of the optimizer. All terms are read at once.
        values = torch.stack([loss.detach() for loss in loss_dict.values()]).cpu()
        read = dict(zip(loss_dict, values, strict=True))
        if not all_finite(values):
            terms = ", ".join(f"{name} {value.item():g}" for name, value in read.items())
            rate = max(group["lr"] for group in self.optimizer.param_groups)
            raise NotFiniteError(
                f"the loss is not finite in iteration {self.iter}, at a learning rate of {rate:g}: {terms}"
            )
        super()._write_metrics(read, *args, **kwargs)


class CheckedAMPTrainer(CheckedTrainer):
    """`CheckedTrainer` with mixed precision, on any device; Detectron2's own knows float16 on CUDA alone.

    Losses are scaled in float16, whose gradients would underflow; bfloat16 has the range of float32.

    Args:
        model: The segmentor, which may be wrapped for distributed training.
        data_loader: Batches.
        optimizer: The optimizer.
        amp: The dtype of the operations that autocast casts; None: no mixed precision.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[list[DatasetDict]],
        optimizer: torch.optim.Optimizer,
        amp: torch.dtype | None = None,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.device, self.amp = next(model.parameters()).device, amp
        self.grad_scaler = GradScaler(self.device.type, enabled=amp == torch.float16)

    def run_step(self) -> None:
        """Take the next batch and step."""
        data, data_time = self._next_batch()
        losses = self._forward(data)
        first, *others = losses.values()
        self.optimizer.zero_grad()
        self.grad_scaler.scale(sum(others, first)).backward()
        self._write_metrics(losses, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _next_batch(self) -> tuple[list[DatasetDict], float]:
        """Return the next batch, and the seconds until it was there."""
        start = time.perf_counter()
        return next(self._data_loader_iter), time.perf_counter() - start

    def _forward(self, data: Any) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
            losses: dict[str, Tensor] = self.model(data)
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `CheckedTrainer`, with the gradient scaler, which is empty if unused."""
        return super().state_dict() | {"grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state; that of a run without a gradient scaler leaves this one as it is."""
        super().load_state_dict(state_dict)
        if saved := state_dict.get("grad_scaler"):
            self.grad_scaler.load_state_dict(saved)
