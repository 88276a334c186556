"""Native resolution, in tiles where the image is larger than one."""

from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from torch import Tensor

from rskt_seg.inference.strategies.strategy import (
    PADDINGS,
    Strategy,
    channels_first,
    check_choice,
    check_tiles,
)
from rskt_seg.inference.tiles import TILE, tile_logits
from rskt_seg.inference.views import VIEWS


class TiledOptions(TypedDict, total=False):
    """Options of `TiledStrategy`, as `Segmenter` takes them."""

    tile: int
    tile_overlap: int | None
    padding: Literal["aligned", "published"]
    views: str


@dataclass(frozen=True)
class TiledStrategy(Strategy):
    """A closed-set model that answers at the size of what it sees: native resolution, in tiles.

    Options: `tile`, side (px) above which an image is seen in tiles; `tile_overlap` (px), a quarter of the
    tile by default: layers that pool over a whole tile let neighbours disagree, and the mean of both makes
    the seam fade (the published evaluation has no overlap). `padding`: of images that are no multiples of the
    stride, "aligned" or "published". `views`: test-time augmentation, a name of
    `rskt_seg.inference.views.VIEWS`.
    """

    tile: int = TILE
    tile_overlap: int | None = None
    padding: str = "aligned"
    views: str = "none"

    def __post_init__(self) -> None:
        check_choice("padding", self.padding, PADDINGS)
        check_choice("views", self.views, VIEWS)
        check_tiles(self.tile, self.overlap)

    @property
    def overlap(self) -> int:
        """Overlap (px) of neighbouring tiles."""
        return self.tile // 4 if self.tile_overlap is None else self.tile_overlap

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`; at the size of the image."""
        logits = tile_logits(
            self.model,
            channels_first(pixels),
            tile=self.tile,
            overlap=self.overlap,
            views=VIEWS[self.views],
            padding=self.padding,
        )
        return logits.softmax(dim=0)
