"""`Segmenter`: segmentation of image files and arrays of any size, with any model."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self, Unpack, cast, overload

import torch

from rskt_seg.decision import make_decision
from rskt_seg.devices import move_to
from rskt_seg.digests import weights_digest
from rskt_seg.errors import ConfigError
from rskt_seg.explaining import Explains
from rskt_seg.exporting import PROVIDERS, export_graph, open_graph
from rskt_seg.geo.arrays import ImageSource, Reading, as_image
from rskt_seg.geo.raster import RasterImage
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
from rskt_seg.methods.registry import method_of
from rskt_seg.methods.trained import TrainedModel
from rskt_seg.methods.use import make_strategy, score_kind
from rskt_seg.methods.words import keep_texts
from rskt_seg.predicting import background_id, batches, make_result
from rskt_seg.scenes.options import SceneArguments, SceneOptions
from rskt_seg.scenes.outputs import SceneMap
from rskt_seg.scenes.segment import MapModel, make_engine, open_scene, segment_scenes
from rskt_seg.segmentation import Segmentation
from rskt_seg.typing import ScoreKind, SegmentationModel
from rskt_seg.vocabulary import Vocabulary, VocabularySource, make_vocabulary

logger = logging.getLogger(__name__)


class SegmenterOptions(WholeImageOptions, TiledOptions, PatchContextOptions, MultiScaleOptions, total=False):
    """Options of `Segmenter`: those of all strategies in `rskt_seg.inference.strategies`."""


class Segmenter(Explains):
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

    @classmethod
    def from_onnx(
        cls,
        path: str | os.PathLike[str],
        vocabulary: VocabularySource | None = None,
        *,
        threshold: float | None = None,
        providers: Sequence[str] = PROVIDERS,
        **options: Unpack[SegmenterOptions],
    ) -> Self:
        """Use the graph of a file that `export` or `rskt-seg export` wrote; it needs the extra `export`.

        Args:
            path: The ONNX file.
            vocabulary: None, or the class names that are frozen in the file.
            threshold: As for `Segmenter`, for classes without a threshold in the file.
            providers: What computes, names of ONNX Runtime, the first that can.
            options: As for `Segmenter`; graphs of images alone have none.

        Returns:
            A segmenter without a model of this package, whose images and scenes are seen in windows.

        Raises:
            WeightsNotFoundError: There is no such file.
            CheckpointError: It is of another program, damaged, or of another release.
            VocabularyError: Other classes are asked for.
            ConfigError: A package is missing, or an option has no effect.
        """
        model = open_graph(path, providers)
        names = None if vocabulary is None else make_vocabulary(vocabulary)
        model.facts.check_names(names, os.fspath(path))
        classes, hidden = model.facts.vocabulary, model.facts.background
        stated = TrainedModel(cast(SegmentationModel, model), model.options)
        return cls(stated, classes, background=hidden, threshold=threshold, **options)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        window: int | None = None,
        overlap: float | None = None,
        resolution: float | None = None,
    ) -> None:
        """Write the model with its class names as one file, `.onnx` (extra `export`) or `.pt2`.

        Args:
            path: The file to write or to replace.
            window: Side (px) of the windows that the graph sees; None: what suits the model.
            overlap: Share of a window that the next one covers again; None: what suits the model.
            resolution: Ground resolution (m) of a pixel that the model is meant for; None: unknown.

        Raises:
            ConfigError: A value cannot be used, the model does not see windows, a package is missing, or this
                segmenter has another precision than that of its model.
            DiskFullError: There is no room for the file.
        """
        if self._precision is not None:
            raise ConfigError("the plain model is exported; make the segmenter without precision")
        weights = weights_digest(self.model.state_dict())
        export_graph(
            path, self._strategy, self._decision, weights=weights, window=window, overlap=overlap,
            resolution=resolution,
        )  # fmt: skip

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
            "model": method_of(self.model).name,
            "weights": self._digest or weights_digest(self.model.state_dict()),
            "precision": self._precision,
            "vocabulary": [list(group) for group in self.vocabulary.synonyms],
            "options of the model": {key: repr(value) for key, value in sorted(self.options.items())},
        }
        notices = (*self._strategy.notices, *model_notices(self.model))
        return MapModel(self._strategy, self._decision, facts, notices)
