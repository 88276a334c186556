"""Interface between `rskt_seg.segmenter.Segmenter` and inference strategies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.vocabulary import Vocabulary

PADDINGS = ("aligned", "published")
"""How images that are no multiple of a model's stride are padded."""


class Coarseness(NamedTuple):
    """Why an answer is coarse.

    `side`: px that the model sees along each axis. `what` covers `cell` (rows, columns) px of the image;
    `remedy`: what to do about it.
    """

    side: int
    what: str
    cell: tuple[float, float]
    remedy: str


@dataclass(frozen=True)
class Strategy:
    """A model with its classes, and how it sees images; subclasses add options as fields with defaults.

    Strategies are built by `Segmenter` and used inside `rskt_seg.inference.predict.evaluating(model)`. Images
    are (H, W, 3) uint8 RGB.
    """

    model: Any
    vocabulary: Vocabulary

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names that the model is asked for."""
        return self.vocabulary.names

    @property
    def notices(self) -> tuple[str, ...]:
        """What was decided about the vocabulary on the user's behalf."""
        return ()

    @property
    def background(self) -> int | None:
        """Id of the class that the model takes for everything else; None if there is none."""
        return None

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """Return scores (T, h, w) in 0..1, float32 on the CPU, at the resolution of the model."""
        raise NotImplementedError

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> Coarseness | None:
        """Return why the answer to an image of `size` (H, W) is much coarser than the image, if it is."""
        return None


def channels_first(pixels: np.ndarray) -> Tensor:
    """Return (H, W, 3) uint8 as (3, H, W) uint8."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def check_choice(name: str, value: object, choices: Sequence[str] | Mapping[str, object]) -> None:
    """Raise `ConfigError` if the value of an option is none of its choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}; found {value!r}")


def check_tiles(tile: int, overlap: int) -> None:
    """Raise `ConfigError` if tiles of this side (px) cannot overlap this much."""
    if tile < 1 or not 0 <= overlap < tile:
        raise ConfigError(
            f"tile >= 1 and 0 <= tile_overlap < tile expected; found tile {tile}, tile_overlap {overlap}"
        )
