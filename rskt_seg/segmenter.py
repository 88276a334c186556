"""`Segmenter`: segmentation of image files and arrays of any size, with any model."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Unpack, cast, overload

import numpy as np
import torch

from rskt_seg.decision import make_decision
from rskt_seg.devices import move_to
from rskt_seg.digests import weights_digest
from rskt_seg.errors import LabelError
from rskt_seg.geo.arrays import ImageSource, Reading, as_image
from rskt_seg.geo.raster import RasterImage
from rskt_seg.inference.cams import TileCams
from rskt_seg.inference.context_maps import PatchContexts
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.strategies import (
    MultiScaleOptions,
    PatchContextOptions,
    Strategy,
    TiledOptions,
    WholeImageOptions,
)
from rskt_seg.legend import Legend
from rskt_seg.methods.notices import model_notices
from rskt_seg.methods.optimize import optimize_for_inference
from rskt_seg.methods.record import ExplanationRequest
from rskt_seg.methods.registry import method_of
from rskt_seg.methods.trained import TrainedModel
from rskt_seg.methods.use import find_explanation, make_strategy, score_kind
from rskt_seg.methods.words import keep_texts
from rskt_seg.predicting import background_id, batches, make_result
from rskt_seg.scenes.options import SceneArguments, SceneOptions
from rskt_seg.scenes.outputs import SceneMap
from rskt_seg.scenes.segment import MapModel, make_engine, open_scene, segment_scenes
from rskt_seg.segmentation import Segmentation
from rskt_seg.typing import ScoreKind, SegmentationModel
from rskt_seg.vocabulary import Vocabulary, VocabularySource

logger = logging.getLogger(__name__)


class SegmenterOptions(WholeImageOptions, TiledOptions, PatchContextOptions, MultiScaleOptions, total=False):
    """Options of `Segmenter`: those of all strategies in `rskt_seg.inference.strategies`."""


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
            synonyms a and b, as is `{"a": ["b"]}` in place of a list. Closed-set models have their classes:
            names may be given only to repeat them, or to name them if the model does not know their names.
        background: Names that compete with the classes, and whose pixels get no class; open-vocabulary models
            only.
        threshold: Score in 0..1 below which a pixel gets no class, for classes without a threshold of their
            own in the vocabulary; None: none.
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
        vocabulary: VocabularySource | None = None,
        *,
        background: Sequence[str] = (),
        threshold: float | None = None,
        device: torch.device | str | None = None,
        precision: str | None = None,
        release: bool = False,
        text_cache: str | os.PathLike[str] | bool | None = None,
        **options: Unpack[SegmenterOptions],
    ) -> None:
        if isinstance(model, TrainedModel):
            stated, model = model.options, model.model
            options = cast(SegmenterOptions, {**stated, **options})
        self.model = model if device is None else move_to(model, device)
        self._precision, self._digest = precision, ""
        if precision is not None:
            self._digest = weights_digest(self.model.state_dict())  # that of a form is not to be had
            self.model = optimize_for_inference(self.model, precision=precision, release=release)
        keep_texts(self.model, text_cache)
        self._strategy = make_strategy(self.model, vocabulary, options)
        asked, self._decision = make_decision(
            self._strategy.vocabulary,
            background=background,
            threshold=threshold,
            colors_background=self._strategy.background,
            is_closed=method_of(self.model).is_closed,
        )
        if not method_of(self.model).is_closed:  # whose names nothing is added to
            self._strategy = make_strategy(self.model, asked, options)
        for notice in model_notices(self.model):
            logger.warning("%s", notice)

    @property
    def strategy(self) -> Strategy:
        """How the model sees images."""
        return self._strategy

    @property
    def vocabulary(self) -> Vocabulary:
        """What the model is asked for: the classes of the results, then the names of the background."""
        return self._strategy.vocabulary

    @property
    def legend(self) -> Legend:
        """Ids, names and colours of the results."""
        return self._decision.legend

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
        return background_id(self._strategy, self._decision)

    @property
    def score_kind(self) -> ScoreKind:
        """What the scores of results are, see `Segmentation.score_kind`."""
        return score_kind(self._strategy)

    @overload
    def predict(
        self, source: list[Any] | tuple[Any, ...], *, batch_size: int = 1, **reading: Unpack[Reading]
    ) -> list[Segmentation]: ...
    @overload
    def predict(
        self, source: ImageSource, *, batch_size: int = 1, **reading: Unpack[Reading]
    ) -> Segmentation: ...
    def predict(
        self,
        source: ImageSource | list[Any] | tuple[Any, ...],
        *,
        batch_size: int = 1,
        **reading: Unpack[Reading],
    ) -> Segmentation | list[Segmentation]:
        """Segment an image, or a list of images.

        The model does not see the values of pixels that are not valid. Its mode, training or evaluation, is
        restored.

        Args:
            source: A file, a URL, an array, an image of Pillow or a tensor, as
                `rskt_seg.geo.arrays.as_image` takes it; or a list or tuple of them.
            batch_size: Images of a list that are in memory at a time. Models that see the whole image see
                neighbours of one size together, with the same scores up to rounding (below 1e-6 in fp32);
                others one by one.
            reading: `bands`, `stretch` and `nodata`, as for `as_image`.

        Returns:
            Labels and scores at the size of the image; of a list a list, in its order.

        Raises:
            ImageReadError: The file cannot be read (see `read_image`), or this is no image.
            ConfigError: `bands`, `stretch` or `batch_size` is invalid.
            NotFiniteError: A score of the model is NaN or infinite.
        """
        if not isinstance(source, list | tuple):
            (result,) = self._predict([as_image(source, **reading)])
            return result
        return [each for images in batches(source, batch_size, reading) for each in self._predict(images)]

    def _predict(self, images: Sequence[RasterImage]) -> Iterator[Segmentation]:
        """Yield the results of some images, which the model sees together where it can."""
        seen = [image.filled() for image in images if image.valid.any()]
        with evaluating(self.model):
            maps = iter(list(self._strategy.score_maps(seen)))
        for image in images:
            score_map = next(maps) if image.valid.any() else None
            yield make_result(self._strategy, self._decision, image, score_map)

    def segment_scene(
        self,
        source: ImageSource,
        output: str | os.PathLike[str],
        *,
        name: str | None = None,
        workers: int = 0,
        scheduler: str | None = None,
        **options: Unpack[SceneArguments],
    ) -> SceneMap:
        """Segment a raster of any size in windows at its own resolution, and write maps beside each other.

        Memory is that of a chunk. A call that is interrupted goes on where it was when it is given again.

        Args:
            source: As in `predict`, one image.
            output: Folder of the results.
            name: Beginning of the names of the results; None: the stem of the file.
            workers: Number of processes that compute; 0: this one.
            scheduler: Address of a Dask scheduler whose workers compute; None: this machine does.
            options: Fields of `rskt_seg.scenes.options.SceneOptions`.

        Returns:
            The map, whose parts are read where they are asked for.

        Raises:
            ImageReadError: The file cannot be read.
            ConfigError: An option cannot be used, or the folder holds chunks of other settings.
            NotFiniteError: A score of the model is NaN or infinite.
            OSError: A result cannot be written.
        """
        chosen = SceneOptions(**options)
        scene = open_scene(source, chosen, name)
        engine = make_engine(self._strategy, workers, scheduler)
        maps, failed = segment_scenes(self.map_model(), [scene], Path(output), chosen, engine)
        for error in failed.values():
            raise error
        return maps[scene.name]

    def map_model(self) -> MapModel:
        """Return what `rskt_seg.scenes.segment.segment_scenes` needs of this segmenter."""
        facts = {
            "model": type(self.model).__name__,
            "weights": self._digest or weights_digest(self.model.state_dict()),
            "precision": self._precision,
            "vocabulary": [list(group) for group in self.vocabulary.synonyms],
            "options of the model": {key: repr(value) for key, value in sorted(self.options.items())},
        }
        notices = (*self._strategy.notices, *model_notices(self.model))
        return MapModel(self._strategy, self._decision, facts, notices)

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
        """See `Segmenter.explain`: name -> (len(prompts), h, w) float32, cosines of pixels and texts."""
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
