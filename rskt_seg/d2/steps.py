"""Training steps that refuse a loss that is not finite before the optimizer uses it."""

from collections.abc import Mapping
from typing import Any

from detectron2.engine import AMPTrainer, SimpleTrainer
from torch import Tensor

from rskt_seg.errors import NotFiniteError
from rskt_seg.finite import all_finite


class CheckedTrainer(SimpleTrainer):
    """Detectron2's training step, which stops before the weights learn from a loss that is not finite."""

    def _write_metrics(self, loss_dict: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> None:
        # Called between the backward pass and the step of the optimizer.
        if not all(all_finite(loss.detach()) for loss in loss_dict.values()):
            terms = ", ".join(f"{name} {loss.detach().item():g}" for name, loss in loss_dict.items())
            rate = max(group["lr"] for group in self.optimizer.param_groups)
            raise NotFiniteError(
                f"the loss is not finite in iteration {self.iter}, at a learning rate of {rate:g}: {terms}"
            )
        super()._write_metrics(loss_dict, *args, **kwargs)


class CheckedAMPTrainer(CheckedTrainer, AMPTrainer):
    """`CheckedTrainer` with mixed precision."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state; that of a run without mixed precision leaves the gradient scaler as it is."""
        super().load_state_dict({"grad_scaler": self.grad_scaler.state_dict()} | state_dict)
