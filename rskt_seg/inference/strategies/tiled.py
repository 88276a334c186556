"""Strategy of closed-set models that see images at native resolution, large ones in tiles."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypedDict

import numpy as np
from torch import Tensor

from rskt_seg.inference.cells import WindowPlan, plan_windows
from rskt_seg.inference.strategies.strategy import (
    PADDINGS,
    ModelCall,
    Strategy,
    blank_images,
    channels_first,
    check_choice,
    check_tiles,
)
from rskt_seg.inference.tiles import TILE, tile_grid, tile_logits
from rskt_seg.inference.views import VIEWS, average_views
from rskt_seg.windows import Window


class TiledOptions(TypedDict, total=False):
    """Options of `TiledStrategy`, as `Segmenter` takes them."""

    tile: int
    tile_overlap: int | None
    padding: Literal["aligned", "published"]
    views: str


@dataclass(frozen=True)
class TiledStrategy(Strategy):
    """Native resolution, in overlapping tiles if the image is larger than a tile.

    For closed-set models whose logits have the size of their input. Logits are averaged where tiles overlap,
    because layers that pool over a whole tile make neighbours disagree, and the mean makes the seam fade. The
    published evaluation has no overlap.

    Attributes:
        tile: Side (px) of a tile. Smaller images are seen whole.
        tile_overlap: Overlap (px) of neighbouring tiles; None: a quarter of the tile.
        padding: "aligned" or "published", for images whose size is not a multiple of the model's stride.
        views: Test-time augmentation, a name in `rskt_seg.inference.views.VIEWS`.
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

    def plan_scene(
        self, size: tuple[int, int], window: int | None, overlap: float | None, taper: str
    ) -> WindowPlan:
        """See `Strategy.plan_scene`: the tiles, blended at every pixel."""
        share = self.overlap / self.tile if overlap is None else overlap
        return plan_windows(size, window or self.tile, share, taper=taper)

    def window_maps(self, images: Tensor, windows: Sequence[Window], plan: WindowPlan, shared: Any) -> Tensor:
        """See `Strategy.window_maps`: the logits."""

        def predict(images: Tensor) -> Tensor:
            logits: Tensor = self.model(images, padding=self.padding).logits
            return logits

        return average_views(predict, images, VIEWS[self.views]).float().cpu()

    def map_scores(self, maps: Tensor) -> Tensor:
        """See `Strategy.map_scores`."""
        return maps.softmax(dim=0)

    @property
    def usual_size(self) -> tuple[int, int]:
        """See `Strategy.usual_size`: a tile."""
        return self.tile, self.tile

    def model_calls(self, size: tuple[int, int]) -> tuple[ModelCall, ...]:
        """See `Strategy.model_calls`: one for each view of each tile."""
        grid = tile_grid(*size, tile=self.tile, overlap=self.overlap)
        seen = Counter(view.size(grid[0].height, grid[0].width) for view in VIEWS[self.views])

        def run(height: int, width: int) -> object:
            return self.model(blank_images(self.model, 1, (height, width)), padding=self.padding)

        return tuple(
            ModelCall(f"tile of {w} x {h} px", 1, len(grid) * views, partial(run, h, w))
            for (h, w), views in seen.items()
        )
