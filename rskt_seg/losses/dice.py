"""Overlap losses on (B, N, H, W) logits against (B, H, W) class ids."""

import torch
from torch import Tensor

from rskt_seg.losses.processes import batch_sums


def dice_loss(logits: Tensor, target: Tensor, ignore_value: int = 255, smoothing: float = 0.05) -> Tensor:
    """Average 1 - Dice of the softmax probabilities over classes (BiCoR-Seg's published form).

    The Dice of a class is (2 I + smoothing) / (P + T + smoothing) for its intersection I, probability mass P
    and number of label pixels T, each summed over all labelled pixels of the batch of all processes. A class
    without a label pixel in it has loss 0 and counts in the average, so fewer classes give a smaller loss.

    Args:
        logits: (B, N, H, W) float.
        target: (B, H, W) int64, ids 0..N-1 or `ignore_value`.
        ignore_value: Id of unlabelled pixels.
        smoothing: Added to numerator and denominator.

    Returns:
        Scalar in 0..1, computed in at least single precision.
    """
    probabilities = logits.softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
    ids = torch.arange(logits.shape[1], device=target.device).view(1, -1, 1, 1)
    labelled = (target != ignore_value)[:, None]
    own = (target[:, None] == ids) & labelled
    over = (0, 2, 3)
    intersection, mass, pixels = batch_sums(
        probabilities.where(own, 0).sum(over), probabilities.where(labelled, 0).sum(over), own.sum(over)
    )
    dice = (2 * intersection + smoothing) / (mass + pixels + smoothing).clamp(min=1e-7)
    return (1 - dice).where(pixels > 0, 0).mean()
