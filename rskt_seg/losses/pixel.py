"""Per-pixel losses on (B, T, H, W) logits against (B, H, W) class ids."""

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import LabelError


def check_target(target: Tensor, classes: int, ignore_value: int) -> None:
    """Raise `LabelError` unless every id of `target` is below `classes` or equal to `ignore_value`."""
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
    """Mean binary cross-entropy of every class map against the one-hot target (published RSKT-Seg).

    An ignored pixel has an all-zero target, so it is a negative of every class and counts in the mean;
    with `mask_ignored` it is left out. Nothing labelled gives 0. Computed as softplus minus the logit of
    the true class, without a one-hot tensor.

    Args: logits (B, T, H, W) float, target (B, H, W) int64. Returns a scalar.
    """
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
    """Softmax cross-entropy against the one-hot target (RSKT-Seg, equation 9); arguments as `one_hot_bce`.

    An ignored pixel has an all-zero target and so no loss of its own; without `mask_ignored` it still
    counts in the mean. `label_smoothing` spreads that share of a labelled pixel's target evenly over all
    classes (BiCoR-Seg: 0.05).
    """
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
    """Half the mean cross-entropy of the background pixels plus half that of the foreground pixels (AFA).

    A group without pixels gives 0, with a gradient of 0, and the other group keeps its half. `background`
    None: no class is the background, so all labelled pixels are the foreground half, alone.

    Args: logits (B, K, H, W) float, target (B, H, W) int64. Returns a scalar, computed in at least single
    precision.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    valid = target != ignore_value
    per_pixel = F.cross_entropy(logits, target.where(valid, -100), ignore_index=-100, reduction="none")
    if background is None:
        return _mean(per_pixel, valid) / 2
    behind = target == background
    return (_mean(per_pixel, behind) + _mean(per_pixel, valid & ~behind)) / 2


def _mean(per_pixel: Tensor, counted: Tensor) -> Tensor:
    return (per_pixel * counted).sum() / counted.sum().clamp(min=1)
