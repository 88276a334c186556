"""Views of an image for test-time augmentation: flipped, rotated and resized, and back.

`VIEWS` holds the sets of BiCoR-Seg's published evaluation, which averages logits, not probabilities.
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
    """A flip, rotation and resizing of an image, in this order.

    Attributes:
        hflip: Flip left-right.
        vflip: Flip up-down.
        turns: Counter-clockwise rotation by quarter turns.
        scale: Factor of both sides, which are rounded down to whole pixels.
    """

    hflip: bool = False
    vflip: bool = False
    turns: int = 0
    scale: float = 1.0

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size (h, w) of the view of an image of height x width.

        Raises:
            ConfigError: If a side would shrink to nothing.
        """
        turned = (height, width) if self.turns % 2 == 0 else (width, height)
        rows, columns = (int(side * self.scale) for side in turned)
        if 0 in (rows, columns):
            raise ConfigError(f"an image of {turned} px has no view at scale {self.scale}")
        return rows, columns

    def apply(self, images: Tensor) -> Tensor:
        """Return the view of images (B, C, H, W); float if it is resized (bicubic, not antialiased).

        Raises:
            ConfigError: If a side would shrink to nothing.
        """
        size = self.size(int(images.shape[2]), int(images.shape[3]))
        images = _rotate(_flip(images, self.hflip, self.vflip), self.turns)
        return images if self.scale == 1 else _resize(images, size)

    def undo(self, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Return maps of the view as those of the image.

        Args:
            maps: (B, K, h, w), of the transformed image.
            size: (H, W) of the image.

        Returns:
            (B, K, H, W): turned and mirrored back, and resized bicubically if the size differs.
        """
        height, width = size
        rotated = (height, width) if self.turns % 2 == 0 else (width, height)
        return _flip(_rotate(_resize(maps, rotated), -self.turns), self.hflip, self.vflip)


def _flip(x: Tensor, hflip: bool, vflip: bool) -> Tensor:
    dims = [dim for dim, flipped in ((3, hflip), (2, vflip)) if flipped]
    return x.flip(dims) if dims else x  # flip() copies even for no dims, which costs memory for large maps


def _rotate(x: Tensor, turns: int) -> Tensor:
    return torch.rot90(x, turns, (2, 3)) if turns % 4 else x


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    x = x if x.is_floating_point() else x.float()
    return F.interpolate(x, size=size, mode="bicubic", align_corners=False)


def product_views(
    hflips: Sequence[bool] = (False,),
    vflips: Sequence[bool] = (False,),
    turns: Sequence[int] = (0,),
    scales: Sequence[float] = (1.0,),
) -> tuple[View, ...]:
    """Return the views of every combination of the given values.

    Args:
        hflips: Whether the image is mirrored left-right.
        vflips: Whether it is mirrored up-down.
        turns: Numbers of turns by 90 degrees.
        scales: Factors of its size.

    Returns:
        The views; scales vary fastest.
    """
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
"""Named sets of views.

"lr" and "d4_*" are those of BiCoR-Seg's published evaluation; the latter differ by dataset and are not the
dihedral group D4, which is "dihedral": the eight flipped and rotated copies.
"""


def average_views(
    predict: Callable[[Tensor], Tensor], images: Tensor, views: Sequence[View] = VIEWS["lr"]
) -> Tensor:
    """Average the maps that a function gives for several views of images, one view at a time in memory.

    Args:
        predict: Maps (B, C, h, w) to maps (B, K, h', w') such as logits; maps of another size than the view
            are resized bicubically.
        images: (B, C, H, W).
        views: Which views count, all equally.

    Returns:
        Maps (B, K, H, W).

    Raises:
        ConfigError: If there are no views.
    """
    check_views(views)
    size = (images.shape[2], images.shape[3])
    maps_of_views = (view.undo(predict(view.apply(images)), size) for view in views)
    total = next(maps_of_views)
    for maps in maps_of_views:
        total = total + maps
    return total / len(views)


def check_views(views: Sequence[View]) -> None:
    """Check that there are views to average.

    Raises:
        ConfigError: There are none.
    """
    if not views:
        raise ConfigError("at least one view is needed; VIEWS['none'] is the image alone")
