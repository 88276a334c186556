"""Strategy of closed-set models that see patches with larger context crops, or whole images."""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.inference.contexts import PATCH_OVERLAP
from rskt_seg.inference.patches import probabilities
from rskt_seg.inference.strategies.strategy import Coarseness, Strategy, check_choice
from rskt_seg.inference.views import VIEWS


class PatchContextOptions(TypedDict, total=False):
    """Options of `PatchContextStrategy`, as `Segmenter` takes them."""

    patch_overlap: int | None
    views: str


@dataclass(frozen=True)
class PatchContextStrategy(Strategy):
    """Overlapping patches with their contexts; whole images for models that are built for them.

    Attributes:
        patch_overlap: Smallest overlap (px) of neighbouring patches; None: 50 as published, but at most a
            quarter of a patch. Models of whole images take None only.
        views: Test-time augmentation, a name in `rskt_seg.inference.views.VIEWS`.
    """

    patch_overlap: int | None = None
    views: str = "none"

    def __post_init__(self) -> None:
        check_choice("views", self.views, VIEWS)
        if self.model.sees_whole:
            if self.patch_overlap is not None:
                raise ConfigError(
                    f"patch_overlap={self.patch_overlap} has no effect, as this model sees whole images; "
                    "leave it out"
                )
        elif not 0 <= self.overlap < self.model.patch_side:
            raise ConfigError(
                f"expected 0 <= patch_overlap < {self.model.patch_side}, the side of a patch; found "
                f"{self.patch_overlap}"
            )

    @property
    def overlap(self) -> int:
        """Smallest overlap (px) of neighbouring patches."""
        if self.patch_overlap is not None:
            return self.patch_overlap
        return min(PATCH_OVERLAP, self.model.patch_side // 4)

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`."""
        return probabilities(self.model, pixels, VIEWS[self.views], overlap=self.overlap)

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> Coarseness | None:
        """See `Strategy.coarseness`."""
        if not self.model.sees_whole:
            return None
        side = self.model.working_side
        what = f"one pixel of the {side} px that the model sees"
        return Coarseness(side, what, (size[0] / side, size[1] / side), "use a model of patches")
