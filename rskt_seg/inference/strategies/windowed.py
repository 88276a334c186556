"""Strategy of open-vocabulary models that resize an image and cut it into windows themselves."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rskt_seg.inference.predict import resized_scores
from rskt_seg.inference.resize import image_tensor, resize_image
from rskt_seg.inference.strategies.strategy import Coarseness, ModelCall, Strategy, blank_images

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

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`; at the size of the image, or of the reduced scene."""
        size = self._reduced(*pixels.shape[:2])
        images = image_tensor(resize_image(pixels, size), self.model.device)[None]
        return resized_scores(self.model, self.model(images, self.vocabulary), size).float().cpu()

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
        remedy = "cut the image into parts, or build the model with a larger long_side"
        return Coarseness(side, "one patch of the image encoder", (cell, cell), remedy)

    def _reduced(self, height: int, width: int) -> tuple[int, int]:
        """Return the size at which the scores of an image are computed."""
        most = min(MOST_PIXELS, MOST_SCORES // len(self.prompts))
        factor = min(1.0, (most / (height * width)) ** 0.5)
        return max(1, int(height * factor)), max(1, int(width * factor))
