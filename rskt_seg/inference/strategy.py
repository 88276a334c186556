"""What a strategy, the way in which a kind of model sees images, owes to `rskt_seg.segmenter.Segmenter`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.vocabulary import Vocabulary


class Coarseness(NamedTuple):
    """Why an answer is coarse: the side (px) that the model sees, what of it covers `cell` (rows, columns)
    px of the image, and what to do about it."""

    side: int
    what: str
    cell: tuple[float, float]
    remedy: str


class Strategy(Protocol):
    """What `Segmenter` asks of a kind of model."""

    kind: str
    """The kind in words."""
    vocabulary: Vocabulary
    """The classes of the results."""
    notices: tuple[str, ...]
    """What was decided about the vocabulary on the user's behalf."""
    why_no_maps: str | None
    """What keeps this model from showing what others of its kind do."""

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """Scores (T, h, w) in 0..1, float32 on the CPU, at the resolution of the model."""

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> Coarseness | None:
        """Why the answer to an image of `size` (H, W) is much coarser than the image, if it is."""


def check_choice(name: str, value: object, choices: Sequence[str] | Mapping[str, object]) -> None:
    """Raise `ConfigError` unless the value of an option is one of its choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}; found {value!r}")


def check_tiles(tile: int, overlap: int) -> None:
    """Raise `ConfigError` unless tiles of this side (px) can overlap this much."""
    if tile < 1 or not 0 <= overlap < tile:
        raise ConfigError(
            f"tile >= 1 and 0 <= tile_overlap < tile expected; found tile {tile}, tile_overlap {overlap}"
        )
