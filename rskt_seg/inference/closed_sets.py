"""How closed-set models see an image of any size: in tiles, in patches with contexts, at several scales.

Strategies as `rskt_seg.inference.strategy` says; images are (H, W, 3) uint8 RGB.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rskt_seg.errors import ConfigError
from rskt_seg.inference.cams import TileCams, tile_cams
from rskt_seg.inference.context_maps import PatchContexts, patch_contexts, why_no_maps
from rskt_seg.inference.contexts import PATCH_OVERLAP
from rskt_seg.inference.crf import CRFParameters, check_crf_installed
from rskt_seg.inference.patches import probabilities
from rskt_seg.inference.scales import SCALES, passes, scaled_scores
from rskt_seg.inference.scales import TILE as SMALL_TILE
from rskt_seg.inference.strategy import Coarseness, check_choice, check_tiles
from rskt_seg.inference.tiles import TILE, tile_logits, tiled
from rskt_seg.inference.views import VIEWS
from rskt_seg.vocabulary import Vocabulary

_HEATMAP_STRIDE = 4
PADDINGS = ("aligned", "published")
"""How images that are no multiple of a model's stride are filled up."""


@dataclass(frozen=True)
class ClosedSet:
    """A model that knows its classes: what the two kinds share."""

    notices = ()
    model: nn.Module
    vocabulary: Vocabulary

    @property
    def prompts(self) -> tuple[str, ...]:
        """The names of the classes, which the model does not read."""
        return self.vocabulary.names


@dataclass(frozen=True)
class SeenInTiles(ClosedSet):
    """A closed-set model that answers at the size of what it sees, such as BiCoR-Seg: native resolution, in
    tiles where the image is larger than one."""

    kind = "BiCoR-Seg models"
    tile: int = TILE
    tile_overlap: int | None = None
    padding: str = "aligned"
    views: str = "none"

    def __post_init__(self) -> None:
        check_choice("padding", self.padding, PADDINGS)
        check_choice("views", self.views, VIEWS)
        check_tiles(self.tile, self._overlap)

    @property
    def _overlap(self) -> int:
        return _quarter(self.tile, self.tile_overlap)

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`."""
        options = {"tile": self.tile, "overlap": self._overlap, "padding": self.padding}
        logits = tile_logits(self.model, _channels_first(pixels), views=VIEWS[self.views], **options)
        return logits.softmax(dim=0)

    @property
    def why_no_maps(self) -> str | None:
        """What keeps this model from having heatmaps."""
        crossed = self.model.spec.interaction == "cross_attention"
        return "this model attends without them (interaction='cross_attention')" if crossed else None

    def heatmaps(self, pixels: np.ndarray) -> np.ndarray:
        """The class heatmaps of every layer, (L, T, h, w) float32 in 0..1, h = ceil(H / 4)."""

        def predict(images: Tensor) -> Tensor:
            layers = self.model(images.to(self.model.device), padding=self.padding).heatmaps
            return torch.cat(layers, dim=1).sigmoid()

        maps = tiled(
            predict, _channels_first(pixels), tile=self.tile, overlap=self._overlap, stride=_HEATMAP_STRIDE
        )
        return maps.unflatten(0, (-1, len(self.vocabulary.names))).numpy()

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> None:
        """Nothing: the answer has the resolution of the image."""
        return None


@dataclass(frozen=True)
class SeenInPatches(ClosedSet):
    """A closed-set model of patches with contexts, such as FCtL; or of whole images, its baseline."""

    kind = "FCtL models"
    patch_overlap: int | None = None
    views: str = "none"

    def __post_init__(self) -> None:
        check_choice("views", self.views, VIEWS)
        if self.model.sees_whole:
            if self.patch_overlap is not None:
                raise ConfigError(
                    f"patch_overlap={self.patch_overlap} has no effect: the model sees whole images"
                )
        elif not 0 <= self._overlap < self.model.patch_side:
            raise ConfigError(
                f"0 <= patch_overlap < {self.model.patch_side} (the side of a patch) expected; found "
                f"{self.patch_overlap}"
            )

    @property
    def _overlap(self) -> int:
        return (
            min(PATCH_OVERLAP, self.model.patch_side // 4)
            if self.patch_overlap is None
            else self.patch_overlap
        )

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`."""
        return probabilities(self.model, pixels, VIEWS[self.views], overlap=self._overlap)

    @property
    def why_no_maps(self) -> str | None:
        """What keeps this model from having context maps."""
        return why_no_maps(self.model)

    def context_maps(self, pixels: np.ndarray, at: tuple[int, int] | None) -> PatchContexts:
        """What the contexts did for one patch: see `rskt_seg.inference.context_maps.patch_contexts`."""
        return patch_contexts(self.model, pixels, at, self._overlap)

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> Coarseness | None:
        """See `Strategy.coarseness`."""
        if not self.model.sees_whole:
            return None
        side = self.model.working_side
        what = f"one pixel of the {side} px that the model sees"
        return Coarseness(side, what, (size[0] / side, size[1] / side), "use a model of patches")


@dataclass(frozen=True)
class SeenAtScales(ClosedSet):
    """A closed-set model of a small field of view, such as the weakly supervised one: tiles, each at several
    scales and mirrored, then perhaps a dense CRF."""

    kind = "weakly supervised models (prior WSSS)"
    why_no_maps = None
    tile: int = SMALL_TILE
    tile_overlap: int | None = None
    scales: Sequence[float] = SCALES
    flip: bool = True
    crf: CRFParameters | bool = False
    views: str = "none"

    def __post_init__(self) -> None:
        check_choice("views", self.views, VIEWS)
        check_tiles(self.tile, self._overlap)
        passes(self.scales, self.flip)
        if not isinstance(self.crf, CRFParameters | bool):
            raise ConfigError(f"crf must be True, False or CRFParameters; found {self.crf!r}")
        if self.crf:
            check_crf_installed()

    @property
    def _overlap(self) -> int:
        return _quarter(self.tile, self.tile_overlap)

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`."""
        return scaled_scores(
            self.model,
            _channels_first(pixels),
            tile=self.tile,
            overlap=self._overlap,
            crf=self.crf,
            scales=self.scales,
            flip=self.flip,
            views=VIEWS[self.views],
        )

    def cams(self, pixels: np.ndarray, valid: np.ndarray, **options: object) -> TileCams:
        """The stages of the class activation maps of one tile: see `rskt_seg.inference.cams.tile_cams`."""
        return tile_cams(self.model, self.score_map, pixels, valid, tile=self.tile, **options)

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> None:
        """Nothing: the image is seen at its own resolution."""
        return None


def _channels_first(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def _quarter(tile: int, overlap: int | None) -> int:
    return tile // 4 if overlap is None else overlap
