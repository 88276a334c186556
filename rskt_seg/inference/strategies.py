"""How each kind of model sees an image of any size: the options that it reads, and what it can show.

A strategy is built by `make_strategy` and used by `rskt_seg.segmenter.Segmenter`, inside
`rskt_seg.inference.predict.evaluating(model)`. Images are (H, W, 3) uint8 RGB.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches

import numpy as np
import torch
from torch import Tensor, nn

from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.inference.closed_sets import PADDINGS, SeenAtScales, SeenInPatches, SeenInTiles
from rskt_seg.inference.predict import (
    MAX_SIDE,
    SHORT_SIDE,
    predict_cost_maps,
    predict_scores,
    predict_sliding_scores,
)
from rskt_seg.inference.strategy import Coarseness, Strategy, check_choice
from rskt_seg.vocabulary import Vocabulary, fixed_vocabulary, make_vocabulary
from rskt_seg.windows import sliding_sizes


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
        check_choice("padding", self.padding, PADDINGS)
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


_KINDS = (AskedByWords, SeenInTiles, SeenInPatches, SeenAtScales)


def make_strategy(
    model: nn.Module, vocabulary: Sequence[str] | Vocabulary | None, options: Mapping[str, object]
) -> Strategy:
    """The strategy of a model. An option that its kind does not read must have its default.

    Raises `ConfigError` for an unknown option, one that would change nothing and one with a value that cannot
    be used, `VocabularyError` for a vocabulary that does not fit the model.
    """
    if hasattr(model, "class_names"):
        kind = _closed_kind(model)
        classes = fixed_vocabulary(model.class_names, model.spec.num_classes, vocabulary)
    elif vocabulary is None:
        raise VocabularyError("this model is asked by words: give it a vocabulary, a list of class names")
    else:
        kind, classes = AskedByWords, make_vocabulary(vocabulary)
    return kind(model, classes, **_read_by(kind, options))


def show(strategy: Strategy, maps: str) -> Callable:
    """The method `maps` ("cost_maps", "heatmaps", "context_maps" or "cams") of a strategy.

    Raises `ConfigError` without it.
    """
    words = "CAMs" if maps == "cams" else maps.replace("_", " ")
    if not hasattr(strategy, maps):
        able = next(kind.kind for kind in _KINDS if hasattr(kind, maps))
        raise ConfigError(f"{words} are those of {able}; this is one of the {strategy.kind}")
    if strategy.why_no_maps:
        raise ConfigError(f"there are no {words}: {strategy.why_no_maps}")
    return getattr(strategy, maps)


def _closed_kind(model: nn.Module) -> type:
    if hasattr(model, "stages"):
        return SeenAtScales
    return SeenInPatches if hasattr(model, "patch_side") else SeenInTiles


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
