"""Losses that pull embeddings of one class together and those of different classes apart."""

import torch
from torch import Tensor

_EPSILON = 1e-6
_LEAST_PAIR_DISTANCE = 1e-4


def fisher_loss(embeddings: Tensor, between: str = "pairs") -> Tensor:
    """Within-class over between-class scatter of class embeddings (BiCoR-Seg, equations 14 to 18).

    The mean over images is a class's centre. "center" (paper): between-class scatter is the mean squared
    distance of the centres to their mean. "pairs" (published): that of unordered pairs of centres, which is
    2N / (N - 1) times as much, and at least 1e-4.

    Args: embeddings (B, N, C) float with N >= 2. Returns a scalar >= 0; 0 for a batch of one.
    """
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    centers = embeddings.mean(dim=0)
    within = (embeddings - centers).square().sum(dim=2).mean()
    scatter = (centers - centers.mean(dim=0)).square().sum(dim=1).mean()
    if between == "pairs":
        classes = len(centers)
        scatter = (scatter * (2 * classes / (classes - 1))).clamp(min=_LEAST_PAIR_DISTANCE)
    return within / (scatter + _EPSILON)
