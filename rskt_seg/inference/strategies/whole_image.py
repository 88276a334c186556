"""Strategy of open-vocabulary models: the whole image, or a sliding window."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.inference.cells import WindowPlan, plan_windows
from rskt_seg.inference.predict import (
    MAX_SIDE,
    SHORT_SIDE,
    SLIDING_BATCH,
    count_sliding_crops,
    predict_cost_maps,
    predict_scores,
    predict_sliding_scores,
)
from rskt_seg.inference.resize import short_side_shape
from rskt_seg.inference.strategies.strategy import (
    PADDINGS,
    Coarseness,
    ModelCall,
    Strategy,
    batched_calls,
    blank_images,
    check_choice,
)
from rskt_seg.typing import OpenVocabularyModel
from rskt_seg.windows import Window, sliding_sizes


class WholeImageOptions(TypedDict, total=False):
    """Options of `WholeImageStrategy`, as `Segmenter` takes them."""

    sliding: bool
    padding: Literal["aligned", "published"]
    short_side: int
    max_side: int
    synonyms: Literal["first", "mean", "max"]


class _ImageSize(TypedDict):
    short_side: int
    max_side: int
    padding: str


@dataclass(frozen=True)
class WholeImageStrategy(Strategy):
    """The whole image, resized to the square that the model sees; or a sliding window.

    Attributes:
        sliding: Whether to use the published sliding window, which is finer and about five times slower.
        padding: "aligned" (nothing is shifted) or "published" (with the shift of the benchmark evaluation).
        short_side: Length (px) to which the shorter side is resized first; with `sliding` at least the side
            of the square that windows are cut from.
        max_side: Upper limit (px) of the longer side.
        synonyms: "first" asks for the first name of each class; "mean" and "max" ask for all its names and
            merge their scores.
    """

    model: OpenVocabularyModel
    sliding: bool = False
    padding: str = "aligned"
    short_side: int = SHORT_SIDE
    max_side: int = MAX_SIDE
    synonyms: str = "first"

    def __post_init__(self) -> None:
        check_choice("padding", self.padding, PADDINGS)
        if not 1 <= self.short_side <= self.max_side:
            raise ConfigError(
                f"expected 1 <= short_side <= max_side; found short_side {self.short_side}, "
                f"max_side {self.max_side}"
            )
        self.vocabulary.prompts(self.synonyms)  # raises if it cannot be used

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names that the model is asked for: one for each class, or all synonyms."""
        return self.vocabulary.prompts(self.synonyms)

    @property
    def notices(self) -> tuple[str, ...]:
        """See `Strategy.notices`."""
        unused = self.vocabulary.notices if self.synonyms == "first" else ()
        return (*super().notices, *self.vocabulary.doubts, *unused)

    @property
    def merges_names(self) -> bool:
        """See `Strategy.merges_names`."""
        return self.synonyms != "first" and any(len(group) > 1 for group in self.vocabulary.synonyms)

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`."""
        if self.sliding:
            tile, square = sliding_sizes(self.model.working_side)
            scores = predict_sliding_scores(
                self.model,
                pixels,
                self.prompts,
                tile=tile,
                square=square,
                # An image resized to less than the square would lose detail that the windows could show.
                short_side=max(self.short_side, square),
                max_side=max(self.max_side, square),
                padding=self.padding,
            )
        else:
            (scores,) = predict_scores(self.model, [pixels], self.prompts, **self._size)
        return self._merge_synonyms(scores.float().cpu())

    def score_maps(self, images: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """See `Strategy.score_maps`: neighbours of one size become a batch, unless windows are seen."""
        if self.sliding:
            yield from super().score_maps(images)
            return
        for _, group in groupby(images, key=lambda image: image.shape):
            scores = predict_scores(self.model, list(group), self.prompts, **self._size).float().cpu()
            yield from map(self._merge_synonyms, scores)

    def plan_scene(
        self, size: tuple[int, int], window: int | None, overlap: float | None, taper: str
    ) -> WindowPlan:
        """See `Strategy.plan_scene`; one pixel of the model is one of the scene, unless `window` differs."""
        side = sliding_sizes(self.model.working_side)[0] if window is None else window
        side = min(side, max(size))  # the cells of a larger one would be too coarse for the scene
        cell = max(1, side // self.model.logits_side)
        return plan_windows(size, side, 1 / 3 if overlap is None else overlap, cell=cell, taper=taper)

    def window_maps(self, images: Tensor, windows: Sequence[Window], plan: WindowPlan, shared: Any) -> Tensor:
        """See `Strategy.window_maps`: the scores of the names that are asked for."""
        output = self.model(images, self.prompts, padding=self.padding)
        if tuple(output.logits.shape[2:]) == plan.window_cells:
            return self.model.scores(output).float().cpu()
        logits = F.interpolate(output.logits, plan.window_cells, mode="bilinear", align_corners=False)
        return self.model.scores(replace(output, logits=logits)).float().cpu()

    def map_scores(self, maps: Tensor) -> Tensor:
        """See `Strategy.map_scores`: the names of a class are merged."""
        return self._merge_synonyms(maps)

    def cost_maps(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the cost maps of the whole image.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Returns:
            Name -> (len(prompts), h, w) float32, cosines.
        """
        return predict_cost_maps(self.model, pixels, self.prompts, **self._size)

    @property
    def usual_size(self) -> tuple[int, int]:
        """See `Strategy.usual_size`: the square that the model sees."""
        return self.model.working_side, self.model.working_side

    def model_calls(self, size: tuple[int, int]) -> tuple[ModelCall, ...]:
        """See `Strategy.model_calls`: one of the whole image, or those of the sliding window."""
        if self.sliding:
            tile, square = sliding_sizes(self.model.working_side)
            count, seen = count_sliding_crops(tile, square), (tile, tile)
            crop = f"window of {tile} x {tile} px, or the whole image at that size"
        else:
            count, seen = 1, short_side_shape(*size, self.short_side, self.max_side)
            crop = f"whole image, as {self.model.working_side} x {self.model.working_side} px"

        def run(crops: int) -> object:
            return self.model(blank_images(self.model, crops, seen), self.prompts, padding=self.padding)

        return tuple(batched_calls(crop, count, SLIDING_BATCH, run))

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> Coarseness | None:
        """See `Strategy.coarseness`."""
        cell = (size[0] / score_map.shape[1], size[1] / score_map.shape[2])
        if self.sliding:
            side = score_map.shape[1]
            what = f"in sliding mode one pixel of the {side} px that the model sees"
            return Coarseness(side, what, cell, "segment it in windows (segment_scene)")
        remedy = "segment it in windows (segment_scene, no --whole) or use sliding=True, --sliding"
        return Coarseness(self.model.working_side, "one output cell", cell, remedy)

    @property
    def _size(self) -> _ImageSize:
        return {"short_side": self.short_side, "max_side": self.max_side, "padding": self.padding}

    def _merge_synonyms(self, scores: Tensor) -> Tensor:
        if self.synonyms == "first":
            return scores
        groups = scores.split([len(group) for group in self.vocabulary.synonyms])
        if self.synonyms == "mean":
            return torch.stack([group.mean(dim=0) for group in groups])
        return torch.stack([group.amax(dim=0) for group in groups])
