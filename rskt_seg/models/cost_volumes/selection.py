"""The classes of a long vocabulary that are nearest to an image, the only ones that a limited model decodes.

Shapes: B image, T class, K kept class.
"""

import torch
from torch import Tensor


def nearest_classes(cost: Tensor, limit: int) -> Tensor:
    """Choose for every image the classes whose greatest cosine with any of its pixels is highest.

    Args:
        cost: Cost volume (B, T, maps, H, W) of T > `limit` classes; the greatest of all maps counts.
        limit: Number K of classes to keep.

    Returns:
        Indices (B, K) of the kept classes, ascending.
    """
    nearness = cost.detach().flatten(2).amax(dim=2)  # (B, T)
    return nearness.topk(limit, dim=1).indices.sort(dim=1).values


def take_classes(x: Tensor, kept: Tensor) -> Tensor:
    """Return the kept classes of each image.

    Args:
        x: (B, T, ...).
        kept: Indices (B, K).

    Returns:
        (B, K, ...).
    """
    return torch.take_along_dim(x, _index(kept, x), dim=1)


def put_classes(x: Tensor, kept: Tensor, classes: int, value: float) -> Tensor:
    """Invert `take_classes`, with a constant for the classes that were not kept.

    Args:
        x: (B, K, ...).
        kept: Indices (B, K).
        classes: Number T of all classes.
        value: The constant.

    Returns:
        (B, T, ...).
    """
    whole = x.new_full((x.shape[0], classes, *x.shape[2:]), value)
    return whole.scatter(1, _index(kept, x).expand_as(x), x)


def _index(kept: Tensor, x: Tensor) -> Tensor:
    """Return indices (B, K) with the number of axes of x, (B, K, 1, ...)."""
    return kept[(...,) + (None,) * (x.ndim - 2)]
