"""How each kind of model sees an image of any size: the options that it reads, and what it can show.

A strategy is built by `make_strategy` and used by `rskt_seg.segmenter.Segmenter`, inside
`rskt_seg.inference.predict.evaluating(model)`. Images are (H, W, 3) uint8 RGB.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.inference.context_maps import PatchContexts, patch_contexts, why_no_maps
from rskt_seg.inference.contexts import PATCH_OVERLAP, probabilities
from rskt_seg.inference.predict import (
    MAX_SIDE,
    SHORT_SIDE,
    predict_cost_maps,
    predict_scores,
    predict_sliding_scores,
)
from rskt_seg.inference.tiles import TILE, tile_logits, tiled
from rskt_seg.inference.views import VIEWS
from rskt_seg.inference.windows import sliding_sizes
from rskt_seg.vocabulary import Vocabulary, fixed_vocabulary, make_vocabulary

_PADDINGS = ("aligned", "published")
_HEATMAP_STRIDE = 4


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


@dataclass(frozen=True)
class AskedByWords:
    """A model with an open vocabulary, such as RSKT-Seg: the image as a whole, or a sliding window."""

    kind = "open-vocabulary models (RSKT-Seg)"
    why_no_maps = None
    model: nn.Module
    vocabulary: Vocabulary
    sliding: bool = False
    padding: str = "aligned"
    short_side: int = SHORT_SIDE
    max_side: int = MAX_SIDE
    synonyms: str = "first"

    def __post_init__(self) -> None:
        _check_choice("padding", self.padding, _PADDINGS)
        if not 1 <= self.short_side <= self.max_side:
            raise ConfigError(
                f"1 <= short_side <= max_side expected; found short_side {self.short_side}, "
                f"max_side {self.max_side}"
            )
        self.vocabulary.prompts(self.synonyms)  # refuses what cannot be used

    @property
    def prompts(self) -> tuple[str, ...]:
        """The names that the model is asked for."""
        return self.vocabulary.prompts(self.synonyms)

    @property
    def notices(self) -> tuple[str, ...]:
        """See `Strategy.notices`."""
        return self.vocabulary.notices if self.synonyms == "first" else ()

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`."""
        if self.sliding:
            scores = predict_sliding_scores(self.model, pixels, self.prompts, **self._sliding_options)
        else:
            scores = predict_scores(self.model, pixels, self.prompts, **self._options)
        return self._merged(scores.float().cpu())

    def cost_maps(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """The model's cost maps of a whole image by name, each (len(prompts), h, w) float32."""
        return predict_cost_maps(self.model, pixels, self.prompts, **self._options)

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> Coarseness | None:
        """See `Strategy.coarseness`."""
        cell = (size[0] / score_map.shape[1], size[1] / score_map.shape[2])
        if self.sliding:
            side = score_map.shape[1]
            what = f"in sliding mode one pixel of the {side} px that the model sees"
            return Coarseness(side, what, cell, "cut the image into parts")
        remedy = "use the sliding mode (sliding=True, --sliding) or cut the image into parts"
        return Coarseness(self.model.working_side, "one output cell", cell, remedy)

    @property
    def _options(self) -> dict:
        return {"short_side": self.short_side, "max_side": self.max_side, "padding": self.padding}

    @property
    def _sliding_options(self) -> dict:
        tile, square = sliding_sizes(self.model.working_side)
        # Resized to less than the square, an image would lose what the windows are to see.
        sides = {"short_side": max(self.short_side, square), "max_side": max(self.max_side, square)}
        return {**self._options, **sides, "tile": tile, "square": square}

    def _merged(self, scores: Tensor) -> Tensor:
        if self.synonyms == "first":
            return scores
        groups = scores.split([len(group) for group in self.vocabulary.synonyms])
        if self.synonyms == "mean":
            return torch.stack([group.mean(dim=0) for group in groups])
        return torch.stack([group.amax(dim=0) for group in groups])


@dataclass(frozen=True)
class _ClosedSet:
    """A model that knows its classes: what the two kinds share."""

    notices = ()
    model: nn.Module
    vocabulary: Vocabulary

    @property
    def prompts(self) -> tuple[str, ...]:
        """The names of the classes, which the model does not read."""
        return self.vocabulary.names


@dataclass(frozen=True)
class SeenInTiles(_ClosedSet):
    """A closed-set model that answers at the size of what it sees, such as BiCoR-Seg: native resolution, in
    tiles where the image is larger than one."""

    kind = "BiCoR-Seg models"
    tile: int = TILE
    tile_overlap: int | None = None
    padding: str = "aligned"
    views: str = "none"

    def __post_init__(self) -> None:
        _check_choice("padding", self.padding, _PADDINGS)
        _check_choice("views", self.views, VIEWS)
        if self.tile < 1 or not 0 <= self._overlap < self.tile:
            raise ConfigError(
                f"tile >= 1 and 0 <= tile_overlap < tile expected; found tile {self.tile}, "
                f"tile_overlap {self.tile_overlap}"
            )

    @property
    def _overlap(self) -> int:
        return self.tile // 4 if self.tile_overlap is None else self.tile_overlap

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
class SeenInPatches(_ClosedSet):
    """A closed-set model of patches with contexts, such as FCtL; or of whole images, its baseline."""

    kind = "FCtL models"
    patch_overlap: int | None = None
    views: str = "none"

    def __post_init__(self) -> None:
        _check_choice("views", self.views, VIEWS)
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
        return probabilities(self.model, pixels, VIEWS[self.views], min_overlap=self._overlap)

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


_KINDS = (AskedByWords, SeenInTiles, SeenInPatches)


def make_strategy(
    model: nn.Module, vocabulary: Sequence[str] | Vocabulary | None, options: Mapping[str, object]
) -> Strategy:
    """The strategy of a model. An option that its kind does not read must have its default.

    Raises `ConfigError` for an unknown option, one that would change nothing and one with a value that cannot
    be used, `VocabularyError` for a vocabulary that does not fit the model.
    """
    if hasattr(model, "class_names"):
        kind = SeenInPatches if hasattr(model, "patch_side") else SeenInTiles
        classes = fixed_vocabulary(model.class_names, model.spec.num_classes, vocabulary)
    elif vocabulary is None:
        raise VocabularyError("this model is asked by words: give it a vocabulary, a list of class names")
    else:
        kind, classes = AskedByWords, make_vocabulary(vocabulary)
    return kind(model, classes, **_read_by(kind, options))


def show(strategy: Strategy, maps: str) -> Callable:
    """The method "cost_maps", "heatmaps" or "context_maps" of a strategy; raises `ConfigError` without it."""
    words = maps.replace("_", " ")
    if not hasattr(strategy, maps):
        able = next(kind.kind for kind in _KINDS if hasattr(kind, maps))
        raise ConfigError(f"{words} are those of {able}; this is one of the {strategy.kind}")
    if strategy.why_no_maps:
        raise ConfigError(f"there are no {words}: {strategy.why_no_maps}")
    return getattr(strategy, maps)


def _read_by(kind: type, options: Mapping[str, object]) -> dict[str, object]:
    defaults = {each: {f.name: f.default for f in fields(each)[2:]} for each in _KINDS}
    read = {}
    for name, value in options.items():
        readers = [each for each in _KINDS if name in defaults[each]]
        if not readers:
            known = sorted({option for names in defaults.values() for option in names})
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"options are {', '.join(known)}"
            raise ConfigError(f"a segmenter has no option {name!r}; {hint}")
        if kind in readers:
            read[name] = value
        elif value != defaults[readers[0]][name]:
            able = " and ".join(each.kind for each in readers)
            raise ConfigError(f"{name}={value!r} has no effect on {kind.kind}; it is an option of {able}")
    return read


def _check_choice(name: str, value: object, choices: Sequence[str] | Mapping[str, object]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}; found {value!r}")


def _channels_first(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
