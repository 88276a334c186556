"""Views of an image for test-time augmentation: mirrored, turned and resized, and the way back.

The sets of BiCoR-Seg's published evaluation are in `VIEWS`; its protocol averages logits, not scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError


@dataclass(frozen=True)
class View:
    """Mirror left-right, mirror up-down, turn counter-clockwise by quarters, resize: in this order.

    `scale` multiplies both sides, rounded down to whole pixels.
    """

    hflip: bool = False
    vflip: bool = False
    turns: int = 0
    scale: float = 1.0

    def apply(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> the view, float where it is resized (bicubic, without antialiasing).

        Raises `ConfigError` where a side would shrink to nothing.
        """
        images = _turned(_flip(images, self.hflip, self.vflip), self.turns)
        if self.scale == 1:
            return images
        size = tuple(int(side * self.scale) for side in images.shape[2:])
        if 0 in size:
            raise ConfigError(f"an image of {tuple(images.shape[2:])} px has no view at scale {self.scale}")
        return _resize(images, size)

    def undo(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Maps (B, K, h, w) of the view -> those of the image of `size` (H, W), at that size."""
        turned = size if self.turns % 2 == 0 else size[::-1]
        return _flip(_turned(_resize(maps, turned), -self.turns), self.hflip, self.vflip)


def _flip(x: Tensor, hflip: bool, vflip: bool) -> Tensor:
    dims = [dim for dim, flipped in ((3, hflip), (2, vflip)) if flipped]
    return x.flip(dims) if dims else x  # no copy, which counts where maps are large


def _turned(x: Tensor, turns: int) -> Tensor:
    return torch.rot90(x, turns, (2, 3)) if turns % 4 else x


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[2:]) == tuple(size):
        return x
    x = x if x.is_floating_point() else x.float()
    return F.interpolate(x, size=size, mode="bicubic", align_corners=False)


def product_views(
    hflips: Sequence[bool] = (False,),
    vflips: Sequence[bool] = (False,),
    turns: Sequence[int] = (0,),
    scales: Sequence[float] = (1.0,),
) -> tuple[View, ...]:
    """Every combination of the given values."""
    return tuple(View(*values) for values in product(hflips, vflips, turns, scales))


_BOTH = (False, True)
_SCALES = (0.75, 1.0, 1.25, 1.5)
VIEWS: dict[str, tuple[View, ...]] = {
    "none": (View(),),
    "lr": product_views(_BOTH, _BOTH),
    "dihedral": product_views(_BOTH, turns=(0, 1, 2, 3)),
    "d4_loveda": product_views(_BOTH, scales=_SCALES),
    "d4_potsdam": product_views(_BOTH, _BOTH, scales=_SCALES),
    "d4_vaihingen": product_views(_BOTH, _BOTH, turns=(0, 1), scales=(0.5, *_SCALES)),
}
"""Named sets. "lr" and "d4_*" are the published ones of BiCoR-Seg, of which the latter differ by data set and
are no D4 group; "dihedral" is: the eight mirrored and turned copies."""


def average_views(
    predict: Callable[[Tensor], Tensor], images: Tensor, views: Sequence[View] = VIEWS["lr"]
) -> Tensor:
    """The plain mean over `views` of what `predict` says of each, brought back to the image.

    Args:
        predict: (B, C, h, w) -> maps (B, K, h', w') such as logits; maps of another size than the view are
            resized bicubically.
        images: (B, C, H, W).

    Returns (B, K, H, W). One view at a time is in memory. Raises `ConfigError` without views.
    """
    if not views:
        raise ConfigError("at least one view is needed; VIEWS['none'] is the image alone")
    size = (images.shape[2], images.shape[3])
    total: Tensor | None = None
    for view in views:
        maps = view.undo(predict(view.apply(images)), size)
        total = maps if total is None else total + maps
    return total / len(views)
