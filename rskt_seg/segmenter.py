"""Segment an image file or array by words: what most users call."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from rskt_seg.errors import DeviceError, ImageReadError, LabelError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.raster import RasterImage, read_image
from rskt_seg.inference.cams import TileCams, foreground_named
from rskt_seg.inference.context_maps import PatchContexts
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.resize import label_map, upsample
from rskt_seg.inference.strategies import make_strategy, show
from rskt_seg.inference.strategy import Coarseness
from rskt_seg.labels import ignore_label
from rskt_seg.vocabulary import Vocabulary


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
        score_map: (T, h, w) float32 on the CPU, scores in 0..1 at the resolution of the model: for
            closed-set models that of the image.
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
    """A model with its classes, ready to segment images of any size.

    Args:
        model: see `rskt_seg.inference.predict`, `tiles` and `contexts` for what is expected of it.
        vocabulary: class names. An open-vocabulary model needs them, and an entry `"a, b"` is one class with
            the synonyms a and b. A closed-set model knows its classes: None takes them, names that are given
            may only repeat them (or say them, where the model does not know what its classes are called).
        device: where to move the model; None leaves it where it is.
        options: what the kind of model reads, all with defaults; any other must have its default.

    Options of open-vocabulary models:
        sliding: the published sliding window in place of the image as a whole; finer and about five times
            slower (False).
        short_side, max_side: length (px) of the shorter side that the image is resized to first (in sliding
            mode at least that of the square which the windows are cut from), and limit of the longer (640,
            2560).
        synonyms: "first" asks for the first name of a class; "mean" and "max" ask for every name and merge
            their scores ("first").
        padding: "aligned" (nothing is shifted) or "published" (the quirk of the benchmark evaluation). BiCoR
            reads it too, for images that are no multiples of 32 ("aligned").

    Options of closed-set models, which see images at native resolution:
        views: test-time augmentation, a name of `rskt_seg.inference.views.VIEWS` ("none").
        tile, tile_overlap: of BiCoR, how images larger than a tile are seen (px; 1024, and a quarter of the
            tile: layers that pool over a whole tile let neighbours disagree, and the mean of both makes the
            seam fade; the published evaluation has no overlap). Of the weakly supervised method too (512, and
            a quarter of the tile).
        patch_overlap: of FCtL, the least overlap (px) of neighbouring patches (50 as published, but at most a
            quarter of a patch).
        scales, flip: of the weakly supervised method, the scales at which every tile is seen, and whether
            also mirrored; the logits are averaged ((0.75, 1.0, 1.25), True).
        crf: of the weakly supervised method, whether a dense CRF refines the scores: True, False, or
            `rskt_seg.inference.crf.CRFParameters`. It needs the optional package pydensecrf2 (False).

    `prompts` are the names that the model is asked for: one for each class, or all with "mean" and "max".
    Raises `VocabularyError` for a vocabulary that cannot be used, `ConfigError` for an option that cannot or
    that the model does not read, `DeviceError` for a device that this machine lacks.
    """

    def __init__(
        self,
        model: nn.Module,
        vocabulary: Sequence[str] | Vocabulary | None = None,
        *,
        device: torch.device | str | None = None,
        **options: object,
    ) -> None:
        self.model = model if device is None else _moved(model, device)
        self._strategy = make_strategy(self.model, vocabulary, options)

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes of the results."""
        return self._strategy.vocabulary

    @property
    def prompts(self) -> tuple[str, ...]:
        """The names that the model is asked for."""
        return self._strategy.prompts

    @property
    def background(self) -> int | None:
        """The id of the class that the model takes for all that is no other; None where none is.

        The model knows; a class that is merely called background does not count.
        """
        first = getattr(self.model, "channel_ids", (None,))[0]
        return first if first in range(len(self.vocabulary.names)) else None

    def predict(self, source: str | os.PathLike | np.ndarray | RasterImage) -> Segmentation:
        """Segment an image file, an (H, W, 3) or (H, W) uint8 array, or what `read_image` returned.

        Values of pixels that are not valid do not reach the model. Its mode (training or evaluation) is
        the same afterwards. Raises `ImageReadError` for a file that cannot be read (see `read_image`) or an
        array that is no 8-bit image.
        """
        image = _as_image(source)
        notices = [*image.notices, *(image.georeference.notices if image.georeference else ())]
        notices += self._strategy.notices
        if image.valid.any():
            with evaluating(self.model):
                score_map = self._strategy.score_map(_without_invalid(image))
            notices += _coarseness_notices(image, self._strategy.coarseness(image.valid.shape, score_map))
        else:
            score_map = torch.zeros(len(self.vocabulary.names), 1, 1)
        labels = label_map(score_map, image.valid.shape)
        labels[~image.valid] = ignore_label(len(score_map))
        return Segmentation(
            labels, self.vocabulary.names, image.valid, score_map, image.georeference, tuple(notices)
        )

    def check_shows(self, maps: str) -> None:
        """Raise `ConfigError` unless the model has "cost_maps", "heatmaps", "context_maps" or "cams"."""
        show(self._strategy, maps)

    def check_present(self, present: Sequence[str]) -> None:
        """Raise `VocabularyError` for names that `cams` would refuse, `ConfigError` for a model without."""
        show(self._strategy, "cams")
        foreground_named(self.model.foreground, present)

    def cost_maps(self, source: str | os.PathLike | np.ndarray | RasterImage) -> dict[str, np.ndarray]:
        """The cost maps of a whole image by name, each (len(prompts), h, w) float32, of RSKT-Seg.

        Raises as `predict`, and `ConfigError` for a model without them.
        """
        return self._shown("cost_maps", source)

    def heatmaps(self, source: str | os.PathLike | np.ndarray | RasterImage) -> np.ndarray:
        """The class heatmaps of every layer of BiCoR, (L, T, h, w) float32 in 0..1, h = ceil(H / 4).

        Raises as `predict`, and `ConfigError` for a model without them.
        """
        return self._shown("heatmaps", source)

    def context_maps(
        self, source: str | os.PathLike | np.ndarray | RasterImage, at: tuple[int, int] | None = None
    ) -> PatchContexts:
        """What the contexts of FCtL did for the patch around the pixel `at` (row, column), None the centre.

        Raises as `predict`, and `ConfigError` for a pixel outside of the image and a model without contexts.
        """
        return self._shown("context_maps", source, at)

    def cams(
        self,
        source: str | os.PathLike | np.ndarray | RasterImage,
        present: Sequence[str] | None = None,
        at: tuple[int, int] | None = None,
        truth: np.ndarray | None = None,
    ) -> TileCams:
        """The stages of the class activation maps of the weakly supervised method, for one tile.

        Args:
            source: as in `predict`.
            present: names of the image-level label, which says what the tile holds. None: the classes that
                `truth` has in the tile, or without it those that the model itself predicts there.
            at: (row, column) of the pixel around which the tile lies, None the centre of the image.
            truth: (H, W) class ids of the image, uint8; 255 is not labelled.

        As in `predict`, values of pixels that are not valid do not reach the model; `pixels` of the view are
        those of the file.

        Raises as `predict`; `VocabularyError` for names that are no foreground class, `LabelError` for a
        truth of another size, `ConfigError` for a pixel outside of the image and for a model without CAMs.
        """
        method = show(self._strategy, "cams")
        image = _as_image(source)
        if truth is not None and truth.shape != image.valid.shape:
            raise LabelError(
                f"a truth {image.valid.shape} expected, the size of the image; found {truth.shape}"
            )
        with evaluating(self.model):
            view = method(_without_invalid(image), image.valid, present=present, at=at, truth=truth)
        return replace(view, pixels=image.pixels[view.window.rows, view.window.columns])

    def _shown(self, maps: str, source: str | os.PathLike | np.ndarray | RasterImage, *options: object):
        method = show(self._strategy, maps)
        pixels = _without_invalid(_as_image(source))
        with evaluating(self.model):
            return method(pixels, *options)


def _coarseness_notices(image: RasterImage, found: Coarseness | None) -> list[str]:
    """A notice for an image of which the model sees much less than the file holds."""
    height, width = image.valid.shape
    if found is None or max(height, width) <= 2 * found.side:
        return []
    return [
        f"{width} x {height} px is over twice the working side of {found.side} px: {found.what} covers "
        f"{_extent(image, *found.cell)}; for more detail {found.remedy}"
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
