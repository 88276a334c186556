"""Strategy of closed-set models with a small field of view: tiles at several scales, and a dense CRF."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

import numpy as np
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.inference.cells import WindowPlan, plan_windows
from rskt_seg.inference.crf import CRFParameters, check_crf_installed
from rskt_seg.inference.scales import SCALES, TILE, pass_size, passes, scaled_scores, tile_logits
from rskt_seg.inference.strategies.strategy import (
    ModelCall,
    Strategy,
    blank_images,
    channels_first,
    check_choice,
    check_tiles,
)
from rskt_seg.inference.tiles import tile_grid
from rskt_seg.inference.views import VIEWS
from rskt_seg.windows import Window


class MultiScaleOptions(TypedDict, total=False):
    """Options of `MultiScaleStrategy`, as `Segmenter` takes them."""

    tile: int
    tile_overlap: int | None
    scales: Sequence[float]
    flip: bool
    crf: CRFParameters | bool
    views: str


@dataclass(frozen=True)
class MultiScaleStrategy(Strategy):
    """Overlapping tiles, each at several scales and flipped; the logits are averaged.

    Attributes:
        tile: Side (px) of a tile.
        tile_overlap: Overlap (px) of neighbouring tiles; None: a quarter of the tile.
        scales: Scales at which every tile is seen.
        flip: Whether every scale is also seen flipped left-right.
        crf: Whether a dense CRF refines the scores, or its `rskt_seg.inference.crf.CRFParameters`. Needs the
            optional package pydensecrf2.
        views: Further test-time augmentation, a name in `rskt_seg.inference.views.VIEWS`.
    """

    tile: int = TILE
    tile_overlap: int | None = None
    scales: Sequence[float] = SCALES
    flip: bool = True
    crf: CRFParameters | bool = False
    views: str = "none"

    def __post_init__(self) -> None:
        check_choice("views", self.views, VIEWS)
        check_tiles(self.tile, self.overlap)
        passes(self.scales, self.flip)
        if not isinstance(self.crf, CRFParameters | bool):
            raise ConfigError(f"crf must be True, False or CRFParameters; found {self.crf!r}")
        if self.crf:
            check_crf_installed()

    @property
    def overlap(self) -> int:
        """Overlap (px) of neighbouring tiles."""
        return self.tile // 4 if self.tile_overlap is None else self.tile_overlap

    @property
    def background(self) -> int | None:
        """Id of the class that stands for everything else; None if there is none.

        The model decides: a class is not the background because of its name.
        """
        first = self.model.channel_ids[0]
        return first if first in range(len(self.vocabulary.names)) else None

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`; at the size of the image."""
        return scaled_scores(
            self.model,
            channels_first(pixels),
            tile=self.tile,
            overlap=self.overlap,
            crf=self.crf,
            scales=self.scales,
            flip=self.flip,
            views=VIEWS[self.views],
        )

    def plan_scene(
        self, size: tuple[int, int], window: int | None, overlap: float | None, taper: str
    ) -> WindowPlan:
        """See `Strategy.plan_scene`: the tiles, blended at every pixel."""
        if self.crf:
            raise ConfigError("a dense CRF refines whole images, not scenes in windows; leave crf out")
        share = self.overlap / self.tile if overlap is None else overlap
        return plan_windows(size, window or self.tile, share, taper=taper)

    def window_maps(self, images: Tensor, windows: Sequence[Window], plan: WindowPlan, shared: Any) -> Tensor:
        """See `Strategy.window_maps`: the logits, averaged over scales and views."""
        logits = tile_logits(self.model, images, scales=self.scales, flip=self.flip, views=VIEWS[self.views])
        return logits.float().cpu()

    def map_scores(self, maps: Tensor) -> Tensor:
        """See `Strategy.map_scores`."""
        return maps.softmax(dim=0)

    @property
    def usual_size(self) -> tuple[int, int]:
        """See `Strategy.usual_size`: a tile."""
        return self.tile, self.tile

    def model_calls(self, size: tuple[int, int]) -> tuple[ModelCall, ...]:
        """See `Strategy.model_calls`: one for each scale, flip and view of each tile."""
        grid = tile_grid(*size, tile=self.tile, overlap=self.overlap)
        seen = Counter(
            pass_size(view.size(grid[0].height, grid[0].width), each.scale, self.model.stride)
            for view in VIEWS[self.views]
            for each in passes(self.scales, self.flip)
        )

        def run(height: int, width: int) -> object:
            return self.model(blank_images(self.model, 1, (height, width)))

        return tuple(
            ModelCall(f"tile at a scale, {w} x {h} px", 1, len(grid) * count, partial(run, h, w))
            for (h, w), count in seen.items()
        )
