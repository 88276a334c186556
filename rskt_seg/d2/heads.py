"""Bases of the segmentation heads, each of which adapts a plain model of this project to Detectron2."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from rskt_seg.d2.specs import untrained_model
from rskt_seg.d2.typing import Entries, Entry
from rskt_seg.d2.words import check_vocabularies
from rskt_seg.errors import DatasetError
from rskt_seg.inference.views import VIEWS, View
from rskt_seg.methods.load import class_names_of
from rskt_seg.methods.optimize import optimize_for_training
from rskt_seg.typing import SegmentationModel

SHARE = "share"
"""Key of the entries of a part that several processes have together: which share of it these entries are."""


class Head(nn.Module):
    """Base of all heads; it owns no parameters besides `model`.

    Entries are the inputs of `RSSegmentor`; their vocabulary is an argument of its own. A subclass states
    the type of its `model` and implements `losses` and `forward`.

    Attributes:
        model: The plain model.
        ignore_value: Id of target pixels that the loss ignores.
        splits_batches: Whether a training batch goes through the model in several `parts`.
        checkpointing: Whether training keeps less for the backward pass, and computes it again.
    """

    model: SegmentationModel
    splits_batches = False
    checkpointing = False

    def __init__(self, model: SegmentationModel, ignore_value: int) -> None:
        super().__init__()
        self.model = model
        self.ignore_value = ignore_value
        # The training form; in a tuple, so that it is no submodule: its parameters are those of the model.
        self._trained: tuple[Any, ...] = ()

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict[str, Any]:
        """Return the arguments of the constructor.

        Args:
            cfg: The configuration.
            input_shape: Ignored, because there is no backbone.

        Returns:
            Argument -> value; the model has random weights.

        Raises:
            VocabularyError: Its text encoder cannot read the class names of a dataset of the run.
        """
        model = untrained_model(cfg)
        check_vocabularies(cfg, model)
        return {"model": model, "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE}

    def begin_training(self, amp: torch.dtype | None) -> None:
        """Build the training form of the model, once the weights are loaded.

        Args:
            amp: The dtype of mixed precision; None without it.
        """
        form = optimize_for_training(self.model, dtype=amp or torch.float32, recompute=self.checkpointing)
        self._trained = (form,)

    @property
    def trained(self) -> Any:
        """What computes the output for the losses: the training form, or the model before there is one."""
        (model,) = self._trained or (self.model,)
        return model

    def parts(self, entries: Entries) -> Iterator[Entries]:
        """Yield a training batch in parts, whose gradients are summed before the optimizer steps.

        A part does not depend on the number of processes; one that has images of several of them is in each
        of these as its own entries, with their `SHARE`.
        """
        yield entries

    def count_parts(self, entries: Entries) -> int:
        """Return how many `parts` a training batch of this process makes, as far as it can be told before."""
        return 1

    def losses(self, entries: Entries, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """Compute the losses of one part of a training batch.

        Args:
            entries: Inputs of one part (see `parts`), with `image` and targets; all targets have one size.
            vocabulary: Class names of the data, which the ids of the targets index.

        Returns:
            Named scalars whose sum is the training objective.

        Raises:
            ConfigError: The method is not trained.
        """
        raise NotImplementedError

    def forward(self, entries: Entries, vocabulary: Sequence[str]) -> list[Tensor]:
        """Score every pixel.

        Args:
            entries: Inputs with `image` (3, H, W) and perhaps `height` and `width`, the size of the image
                file.
            vocabulary: T class names.

        Returns:
            Scores (T, height, width) in 0..1 of each entry.
        """
        raise NotImplementedError

    def images(self, entries: Entries) -> list[Tensor]:
        """Return the images (3, H, W) RGB 0..255 as float32 on the device of the model.

        They are copied there as they are: from pinned memory without waiting, and as bytes.
        """
        device = self.model.device
        return [entry["image"].to(device, non_blocking=True).to(torch.float32) for entry in entries]

    def targets(self, entries: Entries) -> Tensor:
        """Return the labels (B, H, W) int64 on the device of the model.

        Call it before the model: a copy to the device from memory that is not pinned waits for all that the
        device has to do by then. Ids are not checked, which the mapper has done.

        Raises:
            DatasetError: The labels have several sizes.
        """
        targets = [entry["sem_seg"] for entry in entries]
        if len({target.shape for target in targets}) > 1:
            raise DatasetError(
                f"the labels of a batch must have one size; found {[tuple(t.shape) for t in targets]}; set "
                "INPUT.CROP.ENABLED True and, with INPUT.AUGMENTATION ovrsis, INPUT.SIZE_DIVISIBILITY to the "
                "crop's side"
            )
        copies = [target.to(self.model.device, non_blocking=True) for target in targets]
        return torch.stack(copies).to(torch.int64)


class ClosedSetHead(Head):
    """Base of the heads of closed-set models.

    Attributes:
        views: The views that test-time augmentation averages.
    """

    def __init__(self, model: SegmentationModel, ignore_value: int, views: Sequence[View]) -> None:
        super().__init__(model, ignore_value)
        self.views = tuple(views)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict[str, Any]:
        """Return the arguments of the constructor; see `Head.from_config`. The views are `TEST.AUG.VIEWS`."""
        return super().from_config(cfg, input_shape) | {"views": VIEWS[cfg.TEST.AUG.VIEWS]}

    def check_classes(self, vocabulary: Sequence[str]) -> None:
        """Check that the classes of the data are those of the model, in their order.

        Raises:
            DatasetError: They differ.
        """
        names = class_names_of(self.model)
        if names != tuple(vocabulary):
            raise DatasetError(
                f"the classes of this model are fixed: {', '.join(names or ())}; the dataset has "
                f"{', '.join(vocabulary)}"
            )

    def forward(self, entries: Entries, vocabulary: Sequence[str]) -> list[Tensor]:
        """Score every pixel from the image alone, without further views; see `Head.forward`.

        Raises:
            DatasetError: The vocabulary is not that of the model.
        """
        return self.scores(entries, vocabulary, VIEWS["none"])

    def scores(self, entries: Entries, vocabulary: Sequence[str], views: Sequence[View]) -> list[Tensor]:
        """Score every pixel by the mean logits of several views of each image.

        Args:
            entries: As in `forward`.
            vocabulary: Class names of the data.
            views: The views that are averaged.

        Returns:
            Scores (T, height, width) in 0..1 of each entry, at the size of its image file.

        Raises:
            DatasetError: The vocabulary is not that of the model.
        """
        self.check_classes(vocabulary)
        maps = [self.probabilities(entry, views) for entry in entries]
        return [
            resize_maps(scores, (entry.get("height", scores.shape[1]), entry.get("width", scores.shape[2])))
            for scores, entry in zip(maps, entries, strict=True)
        ]

    def probabilities(self, entry: Entry, views: Sequence[View]) -> Tensor:
        """Score every pixel of one image at the size of `entry["image"]`.

        Args:
            entry: An input with `image` (3, H, W) RGB in 0..255.
            views: The views whose logits are averaged.

        Returns:
            Scores (T, H, W) in 0..1.
        """
        raise NotImplementedError


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps bilinearly.

    Args:
        maps: (T, h, w).
        size: (H, W) of the result.

    Returns:
        Maps (T, H, W); `maps` itself if it has that size.
    """
    if tuple(maps.shape[1:]) == tuple(size):
        return maps
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
