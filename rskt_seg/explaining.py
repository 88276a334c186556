"""What a segmenter shows of its model: cost maps, heatmaps, context maps and CAMs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rskt_seg.errors import LabelError
from rskt_seg.geo.arrays import ImageSource, as_image
from rskt_seg.inference.cams import TileCams
from rskt_seg.inference.context_maps import PatchContexts
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.strategies import Strategy
from rskt_seg.methods.record import ExplanationRequest
from rskt_seg.methods.use import find_explanation
from rskt_seg.typing import SegmentationModel


class Explains:
    """The explanations of a `Segmenter`; `source` is one image as `Segmenter.predict` takes it.

    Attributes:
        model: The model.
    """

    model: SegmentationModel
    _strategy: Strategy

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
        """See `explain`: name -> (len(prompts), h, w) float32, cosines of pixels and texts."""
        maps: dict[str, np.ndarray] = self.explain("cost_maps", source)
        return maps

    def heatmaps(self, source: ImageSource) -> np.ndarray:
        """See `explain`: (L layers, T classes, h = ceil(H / 4), w) float32 in 0..1."""
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
