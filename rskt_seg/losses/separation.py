"""Losses that pull the embeddings of a class together and push those of different classes apart."""

import torch
from torch import Tensor

from rskt_seg.losses.processes import batch_sums

_EPSILON = 1e-6
_LEAST_PAIR_DISTANCE = 1e-4


def fisher_loss(embeddings: Tensor, between: str = "pairs") -> Tensor:
    """Divide the within-class by the between-class scatter of class embeddings (BiCoR-Seg, eq. 14 to 18).

    The centre of a class is the mean of its embeddings over the images of all processes.

    Args:
        embeddings: (B, N, C) float, N >= 2.
        between: Between-class scatter. "center" (paper): mean squared distance of the centres to their mean.
            "pairs" (published): mean squared distance of unordered pairs of centres, which is 2N / (N - 1)
            times as much, and at least 1e-4.

    Returns:
        Scalar >= 0, computed in at least single precision; 0 for a batch of one image in all.
    """
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    total, images = batch_sums(embeddings.sum(dim=0), embeddings.new_full((), len(embeddings)))
    centers = total / images  # (N, C)
    (distances,) = batch_sums((embeddings - centers).square().sum())
    within = distances / (images * len(centers))
    scatter = (centers - centers.mean(dim=0)).square().sum(dim=1).mean()
    if between == "pairs":
        classes = len(centers)
        scatter = (scatter * (2 * classes / (classes - 1))).clamp(min=_LEAST_PAIR_DISTANCE)
    return within / (scatter + _EPSILON)
