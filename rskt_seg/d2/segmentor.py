"""`RSSegmentor`, the one meta-architecture: batches of dicts in, losses or score maps out."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_sem_seg_head
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys
from torch.nn.parallel import DistributedDataParallel

from rskt_seg.d2.heads import Head
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.typing import Entries, Entry
from rskt_seg.errors import DatasetError, VocabularyError
from rskt_seg.methods import load_checkpoint
from rskt_seg.typing import SegmentationModel

PREFIX = "sem_seg_head.model."
"""Prefix of the plain model's names in the state dict of an `RSSegmentor`."""


@META_ARCH_REGISTRY.register()
class RSSegmentor(nn.Module):
    """A segmentation head of this project as a model of Detectron2.

    It owns no parameters besides those of the head's model.

    Args:
        sem_seg_head: The head, with the plain model as its `model`.
        vocabulary: Class names for inputs without any, such as those of `DefaultPredictor`.
    """

    sem_seg_head: Head

    @configurable
    def __init__(self, *, sem_seg_head: Head, vocabulary: Sequence[str] | None = None) -> None:
        super().__init__()
        self.sem_seg_head = sem_seg_head
        self.vocabulary = tuple(vocabulary) if vocabulary is not None else None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Return the arguments of the constructor.

        The vocabulary is that of a closed-set model, or else that of the first test dataset, if any.

        Args:
            cfg: The whole configuration.

        Returns:
            `sem_seg_head` with random weights, and `vocabulary`, which is None without test datasets.
        """
        head, tests = build_sem_seg_head(cfg, None), cfg.DATASETS.TEST
        if method_of(cfg).method.is_closed:
            vocabulary = head.model.class_names
        else:
            vocabulary = MetadataCatalog.get(tests[0]).get("stuff_classes") if tests else None
        return {"sem_seg_head": head, "vocabulary": vocabulary}

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.sem_seg_head.model.device

    def forward(self, batched_inputs: Entries) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Return losses in training, and score maps otherwise.

        Args:
            batched_inputs: For each image a dict of

                * `image` (3, H, W) RGB 0..255, of any size;
                * `sem_seg` (H, W), integer class ids, in training with masks;
                * `vocabulary`, class names; default: those given to the constructor;
                * `height` and `width` of the score map, in evaluation; default: those of `image`.

        Returns:
            In training a dict of scalars, otherwise for each input `{"sem_seg": (T, height, width)}`,
            scores in 0..1.

        Raises:
            VocabularyError: An input has no vocabulary, and there is no default.
            DatasetError: The inputs of a training batch have several vocabularies.
        """
        if self.training:
            vocabularies = {self._vocabulary(entry) for entry in batched_inputs}
            if len(vocabularies) > 1:
                raise DatasetError(
                    f"a training batch must share one vocabulary; found {len(vocabularies)}; train on "
                    "datasets of the same classes"
                )
            return self.sem_seg_head.losses(batched_inputs, vocabularies.pop())
        return self.predict(batched_inputs, self.sem_seg_head)

    def predict(
        self, batched_inputs: Entries, score: Callable[[Entries, tuple[str, ...]], list[Tensor]]
    ) -> list[dict[str, Tensor]]:
        """Return what `forward` returns in evaluation, by another scoring than that of the head.

        Args:
            batched_inputs: As in `forward`.
            score: Called as `score(entries, vocabulary)` for neighbouring inputs of one vocabulary, in place
                of the head's `forward`.

        Returns:
            For each input `{"sem_seg": (T, height, width)}`, scores in 0..1.

        Raises:
            VocabularyError: An input has no vocabulary, and there is no default.
        """
        maps: list[Tensor] = []
        for vocabulary, group in groupby(batched_inputs, key=self._vocabulary):
            maps += score(list(group), vocabulary)
        return [{"sem_seg": scores} for scores in maps]

    def _vocabulary(self, entry: Entry) -> tuple[str, ...]:
        vocabulary = entry.get("vocabulary", self.vocabulary)
        if vocabulary is None:
            raise VocabularyError(
                "an input has no vocabulary: give each of them `vocabulary`, or RSSegmentor a default one"
            )
        return tuple(vocabulary)

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Load a state dict with the names of this model, the plain model or a published checkpoint.

        Loading is always strict and ignores `strict`: Detectron2 would merely warn of weights that stay
        random, and continue.

        Args:
            state_dict: Weights under any of these names.
            strict: Ignored.
            assign: Ignored: tensors are copied.

        Returns:
            No missing and no unexpected keys.

        Raises:
            CheckpointError: A tensor is missing, left over or of another shape; see `load_checkpoint`.
        """
        load_checkpoint(self.sem_seg_head.model, state_dict)
        return _IncompatibleKeys([], [])


def unwrapped(model: nn.Module) -> RSSegmentor:
    """Return a segmentor without the wrapper of distributed training, if it has one.

    Raises:
        TypeError: The model is no `RSSegmentor`.
    """
    segmentor = model.module if isinstance(model, DistributedDataParallel) else model
    if not isinstance(segmentor, RSSegmentor):
        raise TypeError(f"the model must be an RSSegmentor; found {type(segmentor).__name__}")
    return segmentor


def plain_model(model: nn.Module) -> SegmentationModel:
    """Return the plain torch model inside a segmentor, which may be wrapped for distributed training."""
    return unwrapped(model).sem_seg_head.model
