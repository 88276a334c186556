"""Segment an image file or array by words: what most users call."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rskt_seg.errors import ConfigError, DeviceError, ImageReadError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.raster import RasterImage, read_image
from rskt_seg.inference.predict import (
    MAX_SIDE,
    SHORT_SIDE,
    evaluating,
    predict_cost_maps,
    predict_scores,
    predict_sliding_scores,
)
from rskt_seg.inference.resize import ignore_label, label_map, upsample
from rskt_seg.inference.windows import sliding_sizes
from rskt_seg.vocabulary import Vocabulary, make_vocabulary

_PADDINGS = ("aligned", "published")


@dataclass(frozen=True)
class ClassArea:
    """What a class covers: pixels, their share of the valid ones (0..1), square metres if known."""

    name: str
    pixels: int
    share: float
    square_metres: float | None


@dataclass(frozen=True)
class Segmentation:
    """The result for one image of H x W pixels and T classes.

    Attributes:
        labels: (H, W) class ids, uint8 with 255 where the image is not valid (uint16 with 65535 for more
            than 255 classes).
        class_names: T names; id t is `class_names[t]`.
        valid: (H, W) bool, which pixels of the image are data.
        score_map: (T, h, w) float32 on the CPU, scores in 0..1 at the resolution of the model.
        georeference: that of the image, or None.
        notices: one line for everything that was decided on the user's behalf.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    valid: np.ndarray
    score_map: Tensor
    georeference: Georeference | None = None
    notices: tuple[str, ...] = ()

    @property
    def ignore_label(self) -> int:
        """The id of pixels that are not valid: 255 or 65535."""
        return ignore_label(len(self.class_names))

    @property
    def scores(self) -> np.ndarray:
        """(T, H, W) float32 in 0..1, 0 where not valid; made anew at each call, 4 * T * H * W bytes.

        `labels` is its arg-max wherever the image is valid.
        """
        scores = upsample(self.score_map, self.labels.shape)
        scores[:, ~self.valid] = 0
        return scores

    def area(self) -> tuple[ClassArea, ...]:
        """What each class covers, in the order of the classes.

        Square metres are those of the map's plane and given only for a projected CRS with a transform.
        """
        valid = max(int(self.valid.sum()), 1)
        pixel = self.georeference.pixel_area if self.georeference else None
        counts = np.bincount(self.labels[self.valid], minlength=len(self.class_names))
        return tuple(
            ClassArea(name, int(count), int(count) / valid, None if pixel is None else int(count) * pixel)
            for name, count in zip(self.class_names, counts, strict=True)
        )


class Segmenter:
    """A model with a vocabulary, ready to segment images of any size.

    Args:
        model: see `rskt_seg.inference.predict` for what is expected of it.
        vocabulary: class names; an entry `"a, b"` is one class with the synonyms a and b.
        sliding: the published sliding window in place of the image as a whole; finer and about five
            times slower.
        padding: "aligned" (nothing is shifted) or "published" (the quirk of the benchmark evaluation).
        short_side: length (px) of the shorter side that the image is resized to first (in sliding mode
            at least that of the square which the windows are cut from).
        max_side: upper limit (px) of the longer side.
        synonyms: "first" asks for the first name of a class; "mean" and "max" ask for every name and
            merge their scores.
        device: where to move the model; None leaves it where it is.

    `prompts` are the names that the model is asked for: one for each class, or all with "mean" and "max".
    Raises `VocabularyError` for a vocabulary that cannot be used, `ConfigError` for an option that cannot,
    `DeviceError` for a device that this machine lacks.
    """

    def __init__(
        self,
        model: nn.Module,
        vocabulary: Sequence[str] | Vocabulary,
        *,
        sliding: bool = False,
        padding: str = "aligned",
        short_side: int = SHORT_SIDE,
        max_side: int = MAX_SIDE,
        synonyms: str = "first",
        device: torch.device | str | None = None,
    ) -> None:
        if padding not in _PADDINGS:
            raise ConfigError(f"padding must be one of {', '.join(_PADDINGS)}; found {padding!r}")
        if not 1 <= short_side <= max_side:
            raise ConfigError(
                f"1 <= short_side <= max_side expected; found short_side {short_side}, max_side {max_side}"
            )
        self.vocabulary = make_vocabulary(vocabulary)
        self.synonyms = synonyms
        self.prompts = self.vocabulary.prompts(synonyms)
        self.model = model if device is None else _moved(model, device)
        self.sliding, self.padding = sliding, padding
        self.short_side, self.max_side = short_side, max_side

    def predict(self, source: str | os.PathLike | np.ndarray | RasterImage) -> Segmentation:
        """Segment an image file, an (H, W, 3) or (H, W) uint8 array, or what `read_image` returned.

        Values of pixels that are not valid do not reach the model. Its mode (training or evaluation) is
        the same afterwards. Raises `ImageReadError` for a file that cannot be read (see `read_image`) or an
        array that is no 8-bit image.
        """
        image = _as_image(source)
        notices = [*image.notices, *(image.georeference.notices if image.georeference else ())]
        if self.synonyms == "first":
            notices += self.vocabulary.notices
        if image.valid.any():
            score_map = self._score_map(image)
            notices += self._coarseness(image, score_map)
        else:
            score_map = torch.zeros(len(self.vocabulary.names), 1, 1)
        labels = label_map(score_map, image.valid.shape)
        labels[~image.valid] = ignore_label(len(score_map))
        return Segmentation(
            labels, self.vocabulary.names, image.valid, score_map, image.georeference, tuple(notices)
        )

    def cost_maps(self, source: str | os.PathLike | np.ndarray | RasterImage) -> dict[str, np.ndarray]:
        """The model's cost maps of a whole image by name, each (len(prompts), h, w) float32.

        Raises as `predict`.
        """
        pixels = _without_invalid(_as_image(source))
        with evaluating(self.model):
            return predict_cost_maps(self.model, pixels, self.prompts, **self._options)

    @property
    def _options(self) -> dict:
        return {"short_side": self.short_side, "max_side": self.max_side, "padding": self.padding}

    @property
    def _sliding_options(self) -> dict:
        tile, square = sliding_sizes(self.model.working_side)
        # Resized to less than the square, an image would lose what the windows are to see.
        sides = {"short_side": max(self.short_side, square), "max_side": max(self.max_side, square)}
        return {**self._options, **sides, "tile": tile, "square": square}

    def _score_map(self, image: RasterImage) -> Tensor:
        pixels = _without_invalid(image)
        with evaluating(self.model):
            if self.sliding:
                scores = predict_sliding_scores(self.model, pixels, self.prompts, **self._sliding_options)
            else:
                scores = predict_scores(self.model, pixels, self.prompts, **self._options)
            return self._merged(scores.float().cpu())

    def _merged(self, scores: Tensor) -> Tensor:
        if self.synonyms == "first":
            return scores
        groups = scores.split([len(group) for group in self.vocabulary.synonyms])
        if self.synonyms == "mean":
            return torch.stack([group.mean(dim=0) for group in groups])
        return torch.stack([group.amax(dim=0) for group in groups])

    def _coarseness(self, image: RasterImage, score_map: Tensor) -> list[str]:
        """A notice for an image of which the model sees much less than the file holds."""
        height, width = image.valid.shape
        side = score_map.shape[1] if self.sliding else self.model.working_side
        if max(height, width) <= 2 * side:
            return []
        cell = _extent(image, height / score_map.shape[1], width / score_map.shape[2])
        if self.sliding:
            what, remedy = f"in sliding mode one pixel of the {side} px that the model sees", ""
        else:
            what, remedy = "one output cell", "use the sliding mode (sliding=True, --sliding) or "
        return [
            f"{width} x {height} px is over twice the working side of {side} px: {what} covers {cell}; "
            f"for more detail {remedy}cut the image into parts"
        ]


def _extent(image: RasterImage, rows: float, columns: float) -> str:
    size = image.georeference.pixel_size if image.georeference else None
    if size is None:
        return f"{_figures(columns)} x {_figures(rows)} px of the image"
    return f"{_figures(columns * size[1])} x {_figures(rows * size[0])} m on the ground"


def _figures(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _without_invalid(image: RasterImage) -> np.ndarray:
    """The pixels with the mean valid colour where there are no data: the least striking neighbour."""
    if image.valid.all() or not image.valid.any():
        return image.pixels
    pixels = image.pixels.copy()
    pixels[~image.valid] = np.rint(image.pixels[image.valid].mean(axis=0))
    return pixels


def _as_image(source: str | os.PathLike | np.ndarray | RasterImage) -> RasterImage:
    if isinstance(source, RasterImage):
        return source
    if isinstance(source, str | os.PathLike):
        return read_image(source)
    if not isinstance(source, np.ndarray):
        raise ImageReadError(
            f"an image must be a path or a numpy array (H, W, 3) uint8; found {type(source).__name__}"
        )
    _check_array(source)
    notices: tuple[str, ...] = ()
    if source.ndim == 2:
        source = np.repeat(source[:, :, None], 3, axis=2)
        notices = ("one band: copied to three equal channels",)
    return RasterImage(source, np.ones(source.shape[:2], bool), notices=notices)


def _check_array(array: np.ndarray) -> None:
    found = f"found {array.shape} {array.dtype}"
    if 0 in array.shape or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        hint = ""
        if array.ndim == 3 and array.shape[0] == 3:
            hint = "; channels come last: pass array.transpose(1, 2, 0)"
        elif array.ndim == 3 and array.shape[2] == 4:
            hint = "; pass array[:, :, :3], or a file whose alpha says which pixels are valid"
        raise ImageReadError(f"an image array must be (H, W, 3) or (H, W); {found}{hint}")
    if array.dtype == np.uint8:
        return
    hint = "scale it to 0..255 and convert it with .astype(numpy.uint8), or save it and pass the file"
    if array.dtype.kind == "f":
        hint = "values of 0..1 become (array * 255).round().astype(numpy.uint8)"
    raise ImageReadError(f"an image array must be uint8, RGB in 0..255; {found}; {hint}")


def _moved(model: nn.Module, device: torch.device | str) -> nn.Module:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"cannot use device {device!s}: {str(error).splitlines()[0]}") from error
