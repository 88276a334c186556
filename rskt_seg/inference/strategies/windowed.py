"""Strategy of open-vocabulary models that resize an image and cut it into windows themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.inference.cells import WindowPlan, plan_windows
from rskt_seg.inference.predict import resized_scores
from rskt_seg.inference.resize import image_tensor, resize_image
from rskt_seg.inference.strategies.strategy import Coarseness, ModelCall, Strategy, blank_images
from rskt_seg.windows import Window

MOST_PIXELS = 2**24
"""Pixels of the largest image whose scores are computed at its own size."""
MOST_SCORES = 2**29
"""Scores, of all names and pixels, from which on an image is reduced as well: 2 GiB."""


@dataclass(frozen=True)
class WindowedStrategy(Strategy):
    """One call of the model, at the size that its options say; every name of a class is asked for.

    Scores are computed from logits at the size of the image, as published. A scene of more than
    `MOST_PIXELS`, or with more than `MOST_SCORES`, is reduced to so many first, with antialiasing: memory
    grows neither with its size nor with the vocabulary.
    """

    def __post_init__(self) -> None:
        self.model.spec.check_vocabulary(self.vocabulary)

    @property
    def prompts(self) -> tuple[str, ...]:
        """All names of all classes."""
        return self.vocabulary.prompts("max")

    @property
    def notices(self) -> tuple[str, ...]:
        """See `Strategy.notices`."""
        return (*super().notices, *self.vocabulary.doubts)

    @property
    def background(self) -> int | None:
        """Id of the class for what no class scores enough; None without a threshold."""
        return self.model.spec.background if self.model.spec.threshold else None

    @property
    def merges_names(self) -> bool:
        """See `Strategy.merges_names`; a threshold raises the score of the background as well."""
        return self.background is not None or any(len(group) > 1 for group in self.vocabulary.synonyms)

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`; at the size of the image, or of the reduced scene."""
        size = self._reduced(*pixels.shape[:2])
        images = image_tensor(resize_image(pixels, size), self.model.device)[None]
        return resized_scores(self.model, self.model(images, self.vocabulary), size).float().cpu()

    def plan_scene(
        self, size: tuple[int, int], window: int | None, overlap: float | None, taper: str
    ) -> WindowPlan:
        """See `Strategy.plan_scene`: windows as large as its resized image, in cells of 4 px."""
        side = min(window or self.model.spec.long_side, max(size))
        cell = max(1, 4 * side // self.model.spec.long_side)
        return plan_windows(size, side, 1 / 3 if overlap is None else overlap, cell=cell, taper=taper)

    def window_maps(self, images: Tensor, windows: Sequence[Window], plan: WindowPlan, shared: Any) -> Tensor:
        """See `Strategy.window_maps`: the logits of all names, averaged over each cell."""
        logits = self.model(images, self.vocabulary).logits
        return F.adaptive_avg_pool2d(logits.float(), plan.window_cells).cpu()

    def map_scores(self, maps: Tensor) -> Tensor:
        """See `Strategy.map_scores`."""
        names = tuple(map(len, self.vocabulary.synonyms))
        scores: Tensor = self.model.class_scores(maps[None], names)[0]
        return scores

    @property
    def usual_size(self) -> tuple[int, int]:
        """See `Strategy.usual_size`: a square of the resized image."""
        return self.model.spec.long_side, self.model.spec.long_side

    def model_calls(self, size: tuple[int, int]) -> tuple[ModelCall, ...]:
        """See `Strategy.model_calls`: one, which sees all windows."""
        seen = self._reduced(*size)
        windows = self.model.windows(*seen)

        def run() -> object:
            return self.model(blank_images(self.model, 1, seen), self.vocabulary)

        crop = f"windows of {windows[0].width} x {windows[0].height} px of the resized image"
        return (ModelCall(crop, len(windows), 1, run),)

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> Coarseness | None:
        """See `Strategy.coarseness`."""
        side = self.model.spec.long_side
        cell = self.model.cell * max(size) / side
        remedy = (
            "segment it in windows (segment_scene, no --whole), or build the model with a larger long_side"
        )
        return Coarseness(side, "one patch of the image encoder", (cell, cell), remedy)

    def _reduced(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which the scores of an image are computed."""
        most = min(MOST_PIXELS, MOST_SCORES // len(self.prompts))
        factor = min(1.0, (most / (height * width)) ** 0.5)
        return max(1, int(height * factor)), max(1, int(width * factor))
