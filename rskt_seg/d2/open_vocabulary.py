"""What open-vocabulary methods of whole images share behind Detectron2: head, augmentations, keys."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.layers import ShapeSpec
from torch import Tensor

from rskt_seg.d2.augmentation import PadToMultiple, RandomFlip, RandomPhotometricDistortion
from rskt_seg.d2.heads import Head, resize_maps
from rskt_seg.d2.methods.record import Chain, DetectronMethod
from rskt_seg.d2.typing import Entries
from rskt_seg.inference.predict import sliding_scores
from rskt_seg.typing import OpenVocabularyModel
from rskt_seg.windows import sliding_sizes


class OpenVocabularyHead(Head):
    """Base of the heads of open-vocabulary models that see whole images or windows.

    Args:
        model: The plain model.
        ignore_value: Id of target pixels that the loss ignores.
        sliding_window: Whether to average the scores of overlapping windows and one global view.
        checkpointing: Whether training keeps less for the backward pass, and computes it again.
    """

    model: OpenVocabularyModel

    @configurable
    def __init__(
        self,
        *,
        model: OpenVocabularyModel,
        ignore_value: int = 255,
        sliding_window: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__(model, ignore_value)
        self.sliding_window, self.checkpointing = sliding_window, checkpointing

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"sliding_window": cfg.TEST.SLIDING_WINDOW, "checkpointing": cfg.MODEL.CHECKPOINTING}
        return super().from_config(cfg, input_shape) | own

    def losses(self, entries: Entries, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """Return named scalars for images and targets, all targets of one size."""
        targets = self.targets(entries)
        output = self.trained(self.images(entries), vocabulary)
        return self.model.losses(output, targets, self.ignore_value)

    def forward(self, entries: Entries, vocabulary: Sequence[str]) -> list[Tensor]:
        """Return scores (T, height, width) in 0..1 of each entry, at the size of its image file.

        With published padding the score map of a whole image is first cut to the size of the image fed,
        which matters only where a side of the image is smaller than the map. The published evaluation does
        so, to remove a padding that the map does not have.
        """
        images = self.images(entries)
        if self.sliding_window:
            tile, square = sliding_sizes(self.model.working_side)
            maps = [sliding_scores(self.model, x, vocabulary, tile=tile, square=square) for x in images]
        else:
            maps = list(self.model.scores(self.model(images, vocabulary)))
        cuts = self.model.spec.padding == "published" and not self.sliding_window
        results = []
        for scores, image, entry in zip(maps, images, entries, strict=True):
            height, width = image.shape[1:]
            fed = scores[:, :height, :width] if cuts else scores
            results.append(resize_maps(fed, (entry.get("height", height), entry.get("width", width))))
        return results


def _ovrsis_chain(cfg: CfgNode, *_: object) -> list[T.Augmentation]:
    sizes, style = cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    ignore = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    augmentations = [T.ResizeShortestEdge(sizes, cfg.INPUT.MAX_SIZE_TRAIN, style)]
    crop = cfg.INPUT.CROP
    if crop.ENABLED:
        augmentations.append(
            T.RandomCrop_CategoryAreaConstraint(crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, ignore)
        )
    if cfg.INPUT.COLOR_AUG_SSD:
        augmentations.append(RandomPhotometricDistortion())
    if cfg.INPUT.RANDOM_FLIP != "none":
        vertical = cfg.INPUT.RANDOM_FLIP == "vertical"
        augmentations.append(RandomFlip(horizontal=not vertical, vertical=vertical))
    if cfg.INPUT.SIZE_DIVISIBILITY > 0:
        augmentations.append(PadToMultiple(cfg.INPUT.SIZE_DIVISIBILITY, ignore))
    return augmentations


_CHAIN_KEYS = (
    "RANDOM_FLIP",
    "COLOR_AUG_SSD",
    "SIZE_DIVISIBILITY",
    "CROP.ENABLED",
    "CROP.SINGLE_CATEGORY_MAX_AREA",
)
OVRSIS_CHAIN = Chain(_ovrsis_chain, reads=frozenset(f"INPUT.{key}" for key in _CHAIN_KEYS))
"""Resize, crop, colour, flip, pad: the augmentation of the published codes, whose mapper is one."""
_KEYS = {
    # Evaluate overlapping windows and one global view instead of the whole image at once.
    "TEST.SLIDING_WINDOW": False,
    # Keep less for the backward pass, and compute it again: less memory for more time.
    "MODEL.CHECKPOINTING": False,
    # Learning rate of CLIP's trainable weights as a multiple of SOLVER.BASE_LR.
    "SOLVER.CLIP_MULTIPLIER": 0.01,
}


@dataclass(frozen=True)
class OpenVocabularyMethod(DetectronMethod):
    """A method with an `OpenVocabularyHead` whose model has a CLIP."""

    keys: Mapping[str, object] = field(default_factory=lambda: dict(_KEYS))

    def learning_rate_factors(self, cfg: CfgNode) -> Iterable[tuple[str, float]]:
        """Slow down CLIP, as published; the other encoders that train have the rate of the model."""
        return (("clip.", cfg.SOLVER.CLIP_MULTIPLIER),)

    def segmenter_options(self, cfg: CfgNode) -> dict[str, Any]:
        """Resize images as the evaluation does."""
        return {"short_side": cfg.INPUT.MIN_SIZE_TEST, "max_side": cfg.INPUT.MAX_SIZE_TEST}

    def evaluation_options(self, cfg: CfgNode) -> dict[str, Any]:
        """See `DetectronMethod.evaluation_options`."""
        seen = {"sliding": cfg.TEST.SLIDING_WINDOW, "padding": cfg.MODEL[self.section].PADDING}
        return {**self.segmenter_options(cfg), **seen}
