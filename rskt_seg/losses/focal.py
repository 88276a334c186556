"""Focal loss (Lin et al. 2017) over softmax probabilities, as FCtL trains with it."""

import torch
from torch import Tensor

_LOWEST = 1e-7


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 3.0, ignore_value: int = 255) -> Tensor:
    """Average -(1 - p) ** gamma * log(p) over labelled pixels, p the softmax of the true class.

    p is clamped to 1e-7..1 - 1e-7 as in the published code, so pixels beyond these bounds have no gradient.
    Pixels of `ignore_value` (which may be a class) count neither in the sum nor in the number of pixels.

    Args:
        logits: (B, T, H, W) float.
        target: (B, H, W) int64, ids 0..T-1 or `ignore_value` (see `rskt_seg.losses.pixel.check_target`).
        gamma: Exponent; 0 gives cross-entropy.
        ignore_value: Id of unlabelled pixels.

    Returns:
        Scalar, computed in at least single precision; 0 if nothing is labelled.
    """
    valid = target != ignore_value
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    true = logits.softmax(dim=1).gather(1, target.where(valid, 0)[:, None]).squeeze(1)
    true = true.clamp(_LOWEST, 1 - _LOWEST)
    per_pixel = -((1 - true) ** gamma) * true.log()
    return (per_pixel * valid).sum() / valid.sum().clamp(min=1)
