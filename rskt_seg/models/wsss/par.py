"""Pixel-adaptive refinement (PAR, Ru et al. 2022): maps that follow the edges of an image.

Shapes: M map, H W pixels, n dilation; every pixel has 8 * n neighbors. Everything is computed in float32.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError

_OFFSETS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
_EPSILON = 1e-8
_BAND = 32
"""Rows whose weights are computed at a time: their differences stay in cache."""


@dataclass(frozen=True)
class ParOptions:
    """Options of PAR.

    Attributes:
        dilations: Distances of the neighbors, in pixels.
        iterations: How often maps are averaged over the neighbors.
        w1: Scale of color differences: the smaller, the faster a neighbor's weight falls with its
            difference.
        w2: Weight of the neighbors' positions relative to their colors.

    Raises:
        ConfigError: If there is no dilation, or a value is out of range.
    """

    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    iterations: int = 20
    w1: float = 0.3
    w2: float = 0.01

    def __post_init__(self) -> None:
        if not self.dilations or min(self.dilations) < 1:
            raise ConfigError(f"PAR needs one or more dilations, each >= 1 pixel; found {self.dilations}")
        if self.iterations < 0 or self.w1 <= 0 or self.w2 < 0:
            raise ConfigError(f"PAR needs iterations >= 0, w1 > 0 and w2 >= 0; found {self}")


def _neighbors(padded: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Yield the 8 * n neighbors of every pixel as views (M, H, W) of maps that `_pad` has padded."""
    reach = max(dilations)
    height, width = (side - 2 * reach for side in padded.shape[1:])
    for dilation in dilations:
        for dy, dx in _OFFSETS:
            top, left = reach + dy * dilation, reach + dx * dilation
            yield padded[:, top : top + height, left : left + width]


def _pad(maps: Tensor, dilations: Sequence[int]) -> Tensor:
    """Replicate the edges of maps (M, H, W) as far as the neighbors reach."""
    return F.pad(maps, (max(dilations),) * 4, mode="replicate")


def _squared_differences(padded: Tensor, dilations: Sequence[int], w1: float) -> Tensor:
    """Return the squared differences (8 * n, H, W) of the pixels of a padded channel to their neighbors.

    They are measured in w1 standard deviations of the neighbors.
    """
    reach = max(dilations)
    # Differences have the same deviation as the values, without the rounding errors of a large offset.
    difference = torch.cat(list(_neighbors(padded[None], dilations)))
    difference -= padded[reach:-reach, reach:-reach]
    # One neighbor after the other: Tensor.std along the first axis takes ten times as long.
    mean = difference.mean(dim=0)
    variance = sum((each - mean).square() for each in difference) / (len(difference) - 1)
    return difference.div_((variance.sqrt() + _EPSILON) * w1).square_()


@torch.no_grad()
def pixel_weights(image: Tensor, dilations: Sequence[int], w1: float, w2: float) -> Tensor:
    """Return the weight of every neighbor for its pixel.

    It is the softmax of similarity in color plus `w2` times the softmax of nearness. A difference is
    measured in standard deviations (unbiased) of the channel over the neighbors, so the scale and the offset
    of an image cancel. Peak memory is twice that of the result.

    Args:
        image: (3, H, W), values of any range.
        dilations: As in `ParOptions`.
        w1: As in `ParOptions`.
        w2: As in `ParOptions`.

    Returns:
        (8 * n, H, W) float32 that sums to 1 + w2; in the order of `dilations`, row-major within each.
    """
    height, width = image.shape[1:]
    padded = _pad(image.float(), dilations)
    weights = padded.new_empty(len(_OFFSETS) * len(dilations), height, width)
    rows = _BAND if image.device.type == "cpu" else height  # an accelerator wants few large operations
    for top in range(0, height, rows):
        band = padded[:, top : min(top + rows, height) + 2 * max(dilations)]
        differences = _squared_differences(band[0], dilations, w1)
        for channel in band[1:]:
            differences += _squared_differences(channel, dilations, w1)
        weights[:, top : top + rows] = differences.div_(-len(image)).softmax(dim=0)
    # Nearness, (8 * n,): sums to 1 and falls with the distance of the neighbor.
    distances = torch.tensor([dilation * math.hypot(dy, dx) for dilation in dilations for dy, dx in _OFFSETS])
    unit = (distances.std() + _EPSILON) * w1
    near = w2 * (-(distances / unit).square()).softmax(dim=0)
    for weight, value in zip(weights, near.tolist(), strict=True):  # numbers need no copy to the device
        weight.add_(value)
    return weights


@torch.no_grad()
def refine_pixels(
    image: Tensor,
    maps: Tensor,
    *,
    dilations: Sequence[int],
    iterations: int,
    w1: float,
    w2: float,
) -> Tensor:
    """Average maps `iterations` times over the neighbors that look alike in the image.

    Weights sum to 1 + w2, so values grow by that factor in each iteration, which does not change which map is
    the largest. Memory: that of `pixel_weights`, plus three times the maps; neighbors of maps are never
    stacked.

    Args:
        image: (3, H, W), values of any range.
        maps: (M, H, W) of any float dtype.
        dilations: As in `ParOptions`.
        iterations: As in `ParOptions`.
        w1: As in `ParOptions`.
        w2: As in `ParOptions`.

    Returns:
        (M, H, W) float32.
    """
    weights, maps = pixel_weights(image, dilations, w1, w2), maps.float()
    for _ in range(iterations):
        refined = torch.zeros_like(maps)
        for weight, neighbor in zip(weights, _neighbors(_pad(maps, dilations), dilations), strict=True):
            refined.addcmul_(weight, neighbor)
        maps = refined
    return maps
