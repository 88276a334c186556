"""Pixel-adaptive refinement (PAR, Ru et al. 2022): maps that follow the edges of an image.

Shapes: M map, H W pixels, n dilation; every pixel has 8 * n neighbours. All of it computes in float32.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError

_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
_EPSILON = 1e-8


@dataclass(frozen=True)
class ParOptions:
    """How far neighbours lie (pixels), how often maps are averaged, and the two weights of the method.

    `w1` scales how fast a neighbour's weight falls with its difference; `w2` is the share of the position.
    Raises `ConfigError` for values that have no meaning.
    """

    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    iterations: int = 20
    w1: float = 0.3
    w2: float = 0.01

    def __post_init__(self) -> None:
        if not self.dilations or min(self.dilations) < 1:
            raise ConfigError(f"PAR needs one dilation or more, each >= 1 pixel; found {self.dilations}")
        if self.iterations < 0 or self.w1 <= 0 or self.w2 < 0:
            raise ConfigError(f"PAR needs iterations >= 0, w1 > 0 and w2 >= 0; found {self}")


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """The 8 * n neighbours of every pixel as shifted views of `maps` (M, H, W); edges repeat outwards."""
    height, width = maps.shape[1:]
    reach = max(dilations)
    wide = F.pad(maps, (reach,) * 4, mode="replicate")
    for dilation in dilations:
        for dy, dx in _AROUND:
            top, left = reach + dy * dilation, reach + dx * dilation
            yield wide[:, top : top + height, left : left + width]


def _position_weights(dilations: Sequence[int], w1: float) -> Tensor:
    """(8 * n,) float32 of sum 1: the nearer a neighbour, the more it counts."""
    distances = torch.tensor([dilation * math.hypot(dy, dx) for dilation in dilations for dy, dx in _AROUND])
    unit = (distances.std() + _EPSILON) * w1
    return (-(distances / unit).square()).softmax(dim=0)


def _unlikeness(channel: Tensor, dilations: Sequence[int], w1: float) -> Tensor:
    """(8 * n, H, W): squared differences of pixels (H, W) to their neighbours, in units of w1 deviations."""
    channel = channel.float()
    # Differences have the same deviation as the values, without the rounding of a large offset.
    difference = torch.cat(list(_neighbours(channel[None], dilations))).sub_(channel)
    # Neighbour by neighbour: Tensor.std along the first axis takes ten times as long.
    mean = difference.mean(dim=0)
    variance = sum((each - mean).square() for each in difference) / (len(difference) - 1)
    return difference.div_((variance.sqrt() + _EPSILON) * w1).square_()


@torch.no_grad()
def pixel_weights(image: Tensor, dilations: Sequence[int], w1: float, w2: float) -> Tensor:
    """How much every neighbour counts for its pixel: for being alike, and a little for being near.

    The softmax of likeness in colour plus `w2` times the softmax of nearness. A difference is measured in
    standard deviations (unbiased) of the channel over the neighbours, so the scale and the offset of an
    image cancel.

    Args: image (3, H, W), values of any range. Returns (8 * n, H, W) float32 of sum 1 + w2; the order is
    that of `dilations`, row-major within each. Takes twice the memory of the result meanwhile.
    """
    unlike = _unlikeness(image[0], dilations, w1)
    for channel in image[1:]:
        unlike += _unlikeness(channel, dilations, w1)
    weights = unlike.div_(-len(image)).softmax(dim=0)
    near = _position_weights(dilations, w1).to(image.device)
    return weights.add_(w2 * near[:, None, None])


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
    """Maps averaged `iterations` times over the neighbours that look alike in the image.

    Weights sum to 1 + w2, so values grow by that factor each time, which no comparison of maps notices.
    Memory: that of `pixel_weights`, plus three times the maps; neighbours of maps are never stacked.

    Args: image (3, H, W); maps (M, H, W); the rest as in `ParOptions`. Returns (M, H, W) float32.
    """
    weights, maps = pixel_weights(image, dilations, w1, w2), maps.float()
    for _ in range(iterations):
        refined = torch.zeros_like(maps)
        for weight, neighbour in zip(weights, _neighbours(maps, dilations), strict=True):
            refined.addcmul_(weight, neighbour)
        maps = refined
    return maps
