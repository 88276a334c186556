"""Per-pixel losses on (B, T, H, W) logits against (B, H, W) class ids.

Averages are over the batch of all processes (`rskt_seg.losses.processes`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import LabelError
from rskt_seg.losses.processes import batch_sums


def check_target(target: Tensor, classes: int, ignore_value: int) -> None:
    """Raise unless every id of a target on the CPU is below `classes` or equal to `ignore_value`.

    A target on another device is not read back, which would make the CPU wait for the device in every step:
    check it before it is moved.

    Args:
        target: Class ids of any shape.
        classes: Number of classes.
        ignore_value: Id of unlabelled pixels.

    Raises:
        LabelError: There is another id.
    """
    if target.device.type != "cpu":
        return
    wrong = target[(target != ignore_value) & ((target < 0) | (target >= classes))]
    if wrong.numel():
        found = sorted(set(wrong.tolist()))[:8]
        raise LabelError(
            f"labels must be 0..{classes - 1} or {ignore_value} (ignored); found {found}: "
            "check that the labels and the vocabulary belong together"
        )


def one_hot_bce(
    logits: Tensor, target: Tensor, ignore_value: int = 255, mask_ignored: bool = False
) -> Tensor:
    """Average the binary cross-entropy of every class map against the one-hot target (published RSKT-Seg).

    Computed as softplus minus the logit of the true class, without a one-hot tensor.

    Args:
        logits: (B, T, H, W) float.
        target: (B, H, W) int64, ids 0..T-1 or `ignore_value`.
        ignore_value: Id of unlabelled pixels. Their one-hot target is all zero: they are negatives of every
            class.
        mask_ignored: Leave unlabelled pixels out of the average, which is 0 if nothing is labelled.

    Returns:
        Scalar, computed in at least single precision.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    valid = target != ignore_value
    true_logit = logits.gather(1, target.where(valid, 0)[:, None]).squeeze(1)
    per_pixel = F.softplus(logits).sum(dim=1) - true_logit * valid
    return _mean(per_pixel, valid if mask_ignored else torch.ones_like(valid)) / logits.shape[1]


def one_hot_cross_entropy(
    logits: Tensor,
    target: Tensor,
    ignore_value: int = 255,
    mask_ignored: bool = False,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Average the softmax cross-entropy against the one-hot target (RSKT-Seg, equation 9).

    Args:
        logits: (B, T, H, W) float.
        target: (B, H, W) int64, ids 0..T-1 or `ignore_value`.
        ignore_value: Id of unlabelled pixels. Their one-hot target is all zero, so that they add no loss but
            count in the number of pixels.
        mask_ignored: Leave unlabelled pixels out of the average, which is 0 if nothing is labelled.
        label_smoothing: Share of a labelled pixel's target that is spread evenly over all classes (BiCoR-Seg:
            0.05).

    Returns:
        Scalar, computed in at least single precision.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    valid = target != ignore_value
    per_pixel = F.cross_entropy(
        logits,
        target.where(valid, -100),
        ignore_index=-100,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return _mean(per_pixel, valid if mask_ignored else torch.ones_like(valid))


def balanced_cross_entropy(
    logits: Tensor, target: Tensor, ignore_value: int = 255, background: int | None = 0
) -> Tensor:
    """Average the cross-entropy of background and of foreground pixels, and add half of each (AFA).

    A group without pixels gives 0, with a gradient of 0, and the other group keeps its half.

    Args:
        logits: (B, K, H, W) float.
        target: (B, H, W) int64, ids 0..K-1 or `ignore_value`.
        ignore_value: Id of unlabelled pixels, which do not count.
        background: Id of the background; None: all labelled pixels are foreground.

    Returns:
        Scalar, computed in at least single precision.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    valid = target != ignore_value
    per_pixel = F.cross_entropy(logits, target.where(valid, -100), ignore_index=-100, reduction="none")
    if background is None:
        return _mean(per_pixel, valid) / 2
    behind = target == background
    return (_mean(per_pixel, behind) + _mean(per_pixel, valid & ~behind)) / 2


def _mean(per_pixel: Tensor, counted: Tensor) -> Tensor:
    """Average the pixels of the batch of all processes where `counted` is true, 0 if there are none."""
    total, pixels = batch_sums((per_pixel * counted).sum(), counted.sum())
    return total / pixels.clamp(min=1)
