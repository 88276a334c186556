"""Adapters that put a plain model of this project in Detectron2's place for a segmentation head."""

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from rskt_seg.d2.specs import untrained_model
from rskt_seg.errors import DatasetError
from rskt_seg.inference.views import VIEWS, View

Entries = Sequence[Mapping]


class Head(nn.Module):
    """What every head has; owns no parameters besides `model`.

    Entries are those of `RSSegmentor`; their vocabulary comes apart.
    """

    splits_batches = False
    """Whether a training batch goes through the model in several `parts`."""

    def __init__(self, model: nn.Module, ignore_value: int) -> None:
        super().__init__()
        self.model = model
        self.ignore_value = ignore_value

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict:
        """Arguments from a configuration; `input_shape` is of no use, for there is no backbone."""
        return {"model": untrained_model(cfg), "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE}

    def parts(self, entries: Entries) -> Iterator[Entries]:
        """A training batch in parts, whose gradients are to be added up before a step."""
        yield entries

    def losses(self, entries: Entries, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """Named scalars for one part of a training batch, all targets of one size."""
        raise NotImplementedError

    def forward(self, entries: Entries, vocabulary: Sequence[str]) -> list[Tensor]:
        """Scores (T, height, width) in 0..1 of each entry, at the size of its source image."""
        raise NotImplementedError

    def images(self, entries: Entries) -> list[Tensor]:
        """The images (3, H, W) RGB 0..255, float32 where the model computes."""
        return [entry["image"].to(self.model.device, torch.float32) for entry in entries]

    def targets(self, entries: Entries) -> Tensor:
        """The labels (B, H, W) int64 where the model computes. Raises `DatasetError` for several sizes."""
        targets = [entry["sem_seg"] for entry in entries]
        if len({target.shape for target in targets}) > 1:
            raise DatasetError(
                f"the labels of a batch must have one size, found {[tuple(t.shape) for t in targets]}; set "
                "INPUT.CROP.ENABLED True and, with INPUT.AUGMENTATION ovrsis, INPUT.SIZE_DIVISIBILITY to the "
                "crop's side"
            )
        return torch.stack(targets).to(self.model.device, torch.int64)


class ClosedSetHead(Head):
    """A head whose model knows its classes, and no others.

    `views`: what test-time augmentation averages, if it is asked for.
    """

    def __init__(self, model: nn.Module, ignore_value: int, views: Sequence[View]) -> None:
        super().__init__(model, ignore_value)
        self.views = tuple(views)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict:
        """As `Head.from_config`, and the views of `TEST.AUG.VIEWS`. Raises `ConfigError`."""
        return super().from_config(cfg, input_shape) | {"views": VIEWS[cfg.TEST.AUG.VIEWS]}

    def check_classes(self, vocabulary: Sequence[str]) -> None:
        """Raise `DatasetError` unless the classes of the data are those of the model, in their order."""
        if self.model.class_names != tuple(vocabulary):
            raise DatasetError(
                f"the classes of this model are fixed: {', '.join(self.model.class_names)}; the dataset has "
                f"{', '.join(vocabulary)}"
            )

    def scores(self, entries: Entries, vocabulary: Sequence[str], views: Sequence[View]) -> list[Tensor]:
        """As `forward`, of the mean logits of several views of each image."""
        self.check_classes(vocabulary)
        maps = [self.probabilities(entry, views) for entry in entries]
        return [
            resized(scores, (entry.get("height", scores.shape[1]), entry.get("width", scores.shape[2])))
            for scores, entry in zip(maps, entries, strict=True)
        ]

    def forward(self, entries: Entries, vocabulary: Sequence[str]) -> list[Tensor]:
        """Scores (T, height, width) in 0..1 of each entry, at the size of its source image."""
        return self.scores(entries, vocabulary, VIEWS["none"])

    def probabilities(self, entry: Mapping, views: Sequence[View]) -> Tensor:
        """Scores (T, H, W) in 0..1 of one image at the size at which it is given."""
        raise NotImplementedError


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (T, h, w) at `size` (H, W), bilinearly; those of that size as they are."""
    if tuple(maps.shape[1:]) == tuple(size):
        return maps
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
