"""`Segmenter`: segmentation of image files and arrays of any size, with any model."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Unpack, cast

import numpy as np
import torch
from torch import Tensor

from rskt_seg.errors import DeviceError, LabelError
from rskt_seg.finite import check_scores
from rskt_seg.geo.area import AreaSummary, ClassArea, measure_classes, pixel_areas, pixel_size
from rskt_seg.geo.arrays import ImageSource, as_image, name_of
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.raster import RasterImage
from rskt_seg.inference.cams import TileCams
from rskt_seg.inference.context_maps import PatchContexts
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.resize import label_map, upsample
from rskt_seg.inference.strategies import (
    Coarseness,
    MultiScaleOptions,
    PatchContextOptions,
    TiledOptions,
    WholeImageOptions,
)
from rskt_seg.labels import ignore_label
from rskt_seg.methods.optimize import optimize_for_inference
from rskt_seg.methods.record import ExplanationRequest
from rskt_seg.methods.trained import TrainedModel
from rskt_seg.methods.untrained import untrained_notices
from rskt_seg.methods.use import find_explanation, make_strategy
from rskt_seg.methods.words import keep_texts
from rskt_seg.typing import SegmentationModel
from rskt_seg.vocabulary import Vocabulary

logger = logging.getLogger(__name__)


class SegmenterOptions(WholeImageOptions, TiledOptions, PatchContextOptions, MultiScaleOptions, total=False):
    """Options of `Segmenter`: those of all strategies in `rskt_seg.inference.strategies`."""


@dataclass(frozen=True)
class Segmentation:
    """Result for one image of H x W pixels and T classes.

    Attributes:
        labels: (H, W) class ids, uint8 with 255 where the image is not valid (uint16 with 65535 for more
            than 255 classes).
        class_names: T names; id t is `class_names[t]`.
        valid: (H, W) bool, False for nodata.
        score_map: (T, h, w) float32 on the CPU, scores in 0..1 at the resolution of the model, which for
            closed-set models is that of the image.
        georeference: Georeference of the image; None if it has none.
        notices: Decisions that the user should know of, one line each.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    valid: np.ndarray
    score_map: Tensor
    georeference: Georeference | None = None
    notices: tuple[str, ...] = ()

    @property
    def ignore_label(self) -> int:
        """Id of pixels that are not valid: 255 or 65535."""
        return ignore_label(len(self.class_names))

    @property
    def scores(self) -> np.ndarray:
        """Scores (T, H, W) float32 in 0..1, 0 where not valid; `labels` is their argmax elsewhere.

        They are computed at each access and take 4 * T * H * W bytes.
        """
        scores = upsample(self.score_map, self.labels.shape)
        if not self.valid.all():
            invalid = ~self.valid
            for each in scores:  # one index of all of them would take 16 bytes a pixel and class
                each[invalid] = 0
        return scores

    def area(self) -> tuple[ClassArea, ...]:
        """Return the area of each class on the ground, in the order of the classes."""
        return self.area_summary().classes

    def area_summary(self) -> AreaSummary:
        """Return the areas of the classes, their total, that of the nodata, and how they were measured."""
        return measure_classes(self.labels, self.valid, self.class_names, self.georeference)


class Segmenter:
    """A model with its classes, ready to segment images of any size.

    `Segmenter(model).options` lists the options of a model and their values. Open-vocabulary models
    (`rskt_seg.inference.strategies.WholeImageStrategy`) take:

        sliding (bool, False): Use the published sliding window instead of the whole image. Finer, and about
            five times slower.
        short_side, max_side (int, 640 and 2560): Length (px) to which the shorter side of the image is
            resized first (with `sliding` at least the side of the square that windows are cut from), and
            upper limit of the longer side.
        synonyms (str, "first"): "first" asks for the first name of each class; "mean" and "max" ask for all
            its names and merge their scores.
        padding (str, "aligned"): "aligned" (nothing is shifted) or "published" (with the shift of the
            benchmark evaluation).

    Those that cut windows themselves (`WindowedStrategy`) take none, and always ask for all names of a class.
    Closed-set models see images at native resolution. All of them take:

        views (str, "none"): Test-time augmentation, a name in `rskt_seg.inference.views.VIEWS`.

    Depending on their strategy, they also take:

        tile, tile_overlap (int; `TiledStrategy`, `MultiScaleStrategy`): Side (px) of a tile (1024; 512) and
            overlap (px) of neighbouring tiles (a quarter of the tile).
        padding (str, "aligned"; `TiledStrategy`): "aligned" or "published", for images whose size is not a
            multiple of the model's stride.
        patch_overlap (int; `PatchContextStrategy`): Smallest overlap (px) of neighbouring patches (50 as
            published, but at most a quarter of a patch).
        scales, flip (tuple and bool; `MultiScaleStrategy`): Scales at which every tile is seen, and whether
            also flipped left-right; the logits are averaged ((0.75, 1.0, 1.25), True).
        crf (bool or `rskt_seg.inference.crf.CRFParameters`, False; `MultiScaleStrategy`): Refine the scores
            by a dense CRF. Needs the optional package pydensecrf2.

    A model that still has the random weights it was built with is warned of in the log, and in the notices of
    its results.

    Args:
        model: A model of a registered method, from `rskt_seg.create_model`, or with the options that its
            checkpoint states, from `rskt_seg.load`.
        vocabulary: Class names. Open-vocabulary models need them; an entry `"a, b"` is one class with the
            synonyms a and b. Closed-set models have their classes: names may be given only to repeat them,
            or to name them if the model does not know their names.
        device: Where to move the model; None: leave it where it is.
        precision: Segment with the inference form of the model, see `rskt_seg.optimize_for_inference`: "fp32"
            (the same up to rounding, faster), "bf16" or, on GPUs, "fp16"; None: with the model as it is.
        release: With `precision`: free the weights of `model` that its form has in another layout. The model
            cannot be used afterwards.
        text_cache: Folder in which the model, from now on, finds text embeddings and keeps new ones, so that
            processes with the same weights and names encode them once; True: that of the user,
            `$XDG_CACHE_HOME/rskt_seg/text` or in `~/.cache`; None: nowhere. Results are the same to the last
            bit. Models without a text encoder do not need it.
        options: See above. Options that only other models take must have their default value.

    Raises:
        VocabularyError: The vocabulary cannot be used.
        ConfigError: An option is unknown, has no effect on the model, or its value cannot be used; or the
            device does not have the precision.
        DeviceError: This machine does not have the device.
    """

    def __init__(
        self,
        model: SegmentationModel | TrainedModel,
        vocabulary: Sequence[str] | Vocabulary | None = None,
        *,
        device: torch.device | str | None = None,
        precision: str | None = None,
        release: bool = False,
        text_cache: str | os.PathLike[str] | bool | None = None,
        **options: Unpack[SegmenterOptions],
    ) -> None:
        if isinstance(model, TrainedModel):
            stated, model = model.options, model.model
            options = cast(SegmenterOptions, {**stated, **options})
        try:
            self.model = model if device is None else model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise DeviceError(
                f"cannot use device {device!s}: {str(error).splitlines()[0]}; choose another device"
            ) from error
        if precision is not None:
            self.model = optimize_for_inference(self.model, precision=precision, release=release)
        keep_texts(self.model, text_cache)
        self._strategy = make_strategy(self.model, vocabulary, options)
        for notice in untrained_notices(self.model):
            logger.warning("%s", notice)

    @property
    def vocabulary(self) -> Vocabulary:
        """Classes of the results."""
        return self._strategy.vocabulary

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names that the model is asked for: one for each class, or all synonyms."""
        return self._strategy.prompts

    @property
    def options(self) -> dict[str, object]:
        """Options of this model and their values."""
        return {option.name: getattr(self._strategy, option.name) for option in fields(self._strategy)[2:]}

    @property
    def background(self) -> int | None:
        """Id of the class that stands for everything else; None if there is none."""
        return self._strategy.background

    def predict(self, source: ImageSource) -> Segmentation:
        """Segment an image.

        The model does not see the values of pixels that are not valid. Its mode, training or evaluation, is
        restored.

        Args:
            source: An image file, an (H, W, 3) or (H, W) uint8 array, or the result of `read_image`.

        Returns:
            Labels and scores at the size of the image.

        Raises:
            ImageReadError: The file cannot be read (see `read_image`), or the array is no 8-bit image.
            NotFiniteError: A score of the model is NaN or infinite.
        """
        image = as_image(source)
        area_notices = pixel_areas(image.georeference, image.valid.shape).notices
        notices = [*image.notices, *area_notices, *self._strategy.notices, *untrained_notices(self.model)]
        if image.valid.any():
            with evaluating(self.model):
                score_map = self._strategy.score_map(image.filled())
            check_scores(score_map, name_of(source))
            notices += _coarseness_notices(image, self._strategy.coarseness(image.valid.shape, score_map))
        else:
            score_map = torch.zeros(len(self.vocabulary.names), 1, 1)
        labels = label_map(score_map, image.valid.shape)
        labels[~image.valid] = ignore_label(len(score_map))
        return Segmentation(
            labels, self.vocabulary.names, image.valid, score_map, image.georeference, tuple(notices)
        )

    def check_explanation(self, name: str, present: Sequence[str] | None = None) -> None:
        """Check the arguments of `explain` before anything is computed.

        Args:
            name: As for `explain`.
            present: As for `explain`.

        Raises:
            ConfigError: The model does not offer this explanation.
            VocabularyError: A name in `present` is not a class that it can show.
        """
        find_explanation(self.model, name).check(self.model, present)

    def explain(
        self,
        name: str,
        source: ImageSource,
        *,
        at: tuple[int, int] | None = None,
        present: Sequence[str] | None = None,
        truth: np.ndarray | None = None,
    ) -> Any:
        """Return what the model computes for an image, such as its cost maps.

        The model does not see the values of pixels that are not valid.

        Args:
            name: A key of `Method.explanations` of the model's method, such as "cost_maps", "heatmaps",
                "context_maps" or "cams".
            source: As in `predict`.
            at: (row, column) of a pixel of the patch or tile to explain; None: the centre of the image.
            present: Class names of the image-level label; None: the classes in `truth`, or without it the
                predicted ones.
            truth: (H, W) class ids of the image, uint8, 255 where there is no label; None: unknown.

        Returns:
            The result of `Explanation.compute`, whose type depends on `name`.

        Raises:
            ConfigError: The model does not offer this explanation, or `at` is outside the image.
            ImageReadError: As `predict`.
            LabelError: `truth` has another size than the image.
            VocabularyError: A name in `present` is not a class that it can show.
        """
        explanation = find_explanation(self.model, name)
        image = as_image(source)
        if truth is not None and truth.shape != image.valid.shape:
            raise LabelError(
                f"expected a truth of the size of the image, {image.valid.shape}; found {truth.shape}"
            )
        request = ExplanationRequest(image.filled(), image.pixels, image.valid, at, present, truth)
        with evaluating(self.model):
            return explanation.compute(self._strategy, request)

    def cost_maps(self, source: ImageSource) -> dict[str, np.ndarray]:
        """Compute the cost maps of a whole image.

        Args:
            source: As in `predict`.

        Returns:
            Name -> (len(prompts), h, w) float32, cosines of pixel and text features.

        Raises:
            ConfigError: The model has none.
            ImageReadError: As `predict`.
        """
        maps: dict[str, np.ndarray] = self.explain("cost_maps", source)
        return maps

    def heatmaps(self, source: ImageSource) -> np.ndarray:
        """See `Segmenter.explain`: (L layers, T classes, h = ceil(H / 4), w) float32 in 0..1."""
        maps: np.ndarray = self.explain("heatmaps", source)
        return maps

    def context_maps(self, source: ImageSource, at: tuple[int, int] | None = None) -> PatchContexts:
        """Return the maps of the contexts of one patch.

        Args:
            source: As in `predict`.
            at: (row, column) of a pixel of the patch; None: the centre of the image.

        Returns:
            The patch, its contexts and their maps.

        Raises:
            ConfigError: The model has no contexts, or `at` is outside the image.
            ImageReadError: As `predict`.
        """
        maps: PatchContexts = self.explain("context_maps", source, at=at)
        return maps

    def cams(
        self,
        source: ImageSource,
        present: Sequence[str] | None = None,
        at: tuple[int, int] | None = None,
        truth: np.ndarray | None = None,
    ) -> TileCams:
        """Return the stages of the class activation maps of one tile.

        Args:
            source: As in `explain`, like the other arguments.
            present: Class names of the image-level label.
            at: (row, column) of a pixel of the tile.
            truth: (H, W) class ids of the image.

        Returns:
            The maps of the tile, with all that they are made from.

        Raises:
            RSKTSegError: As `explain`.
        """
        view: TileCams = self.explain("cams", source, at=at, present=present, truth=truth)
        return view


def _coarseness_notices(image: RasterImage, found: Coarseness | None) -> list[str]:
    """Return a notice for an image with far more pixels than the model sees."""
    height, width = image.valid.shape
    if found is None or max(height, width) <= 2 * found.side:
        return []
    rows, columns = found.cell
    if (size := pixel_size(image.georeference, (height, width))) is not None:
        extent = f"{_figures(columns * size[1])} x {_figures(rows * size[0])} m on the ground"
    else:
        extent = f"{_figures(columns)} x {_figures(rows)} px of the image"
    return [
        f"{width} x {height} px is more than twice the {found.side} px that the model works at: "
        f"{found.what} covers {extent}; for more detail {found.remedy}"
    ]


def _figures(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
