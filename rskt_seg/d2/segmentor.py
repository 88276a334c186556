"""`RSSegmentor`, the one meta-architecture: batches of dicts in, losses or score maps out."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_sem_seg_head
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys
from torch.nn.parallel import DistributedDataParallel

from rskt_seg.d2.methods.registry import method_of
from rskt_seg.errors import DatasetError, VocabularyError
from rskt_seg.methods import load_checkpoint
from rskt_seg.typing import SegmentationModel

PREFIX = "sem_seg_head.model."
"""What stands before the names of the plain model in the state of an `RSSegmentor`."""


@META_ARCH_REGISTRY.register()
class RSSegmentor(nn.Module):
    """Hosts a segmentation head of this project; owns no parameters besides the head's model.

    The head is a `rskt_seg.d2.heads.Head`, with the plain model as `model`.
    """

    @configurable
    def __init__(self, *, sem_seg_head: nn.Module, vocabulary: Sequence[str] | None = None) -> None:
        """`vocabulary`: class names for inputs that bring none, such as those of `DefaultPredictor`."""
        super().__init__()
        self.sem_seg_head = sem_seg_head
        self.vocabulary = tuple(vocabulary) if vocabulary is not None else None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Arguments from a configuration; the vocabulary is that of the model, where its classes are fixed,
        else of the first test dataset, if any."""
        head, tests = build_sem_seg_head(cfg, None), cfg.DATASETS.TEST
        if method_of(cfg).method.is_closed:
            vocabulary = head.model.class_names
        else:
            vocabulary = MetadataCatalog.get(tests[0]).get("stuff_classes") if tests else None
        return {"sem_seg_head": head, "vocabulary": vocabulary}

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.sem_seg_head.model.device

    def forward(self, batched_inputs: Sequence[Mapping]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training, score maps otherwise.

        Each input has `image` (3, H, W) RGB 0..255 of any size; in training `sem_seg` (H, W), integers;
        optionally `vocabulary` (class names, else those given to the constructor) and, for evaluation,
        `height` and `width` of the wanted map (else those of `image`).

        Returns in training a dict of scalars, otherwise for each input `{"sem_seg": (T, height, width)}`
        with scores in 0..1. Raises `VocabularyError` where there is no vocabulary, `DatasetError` for a
        training batch of several.
        """
        if self.training:
            vocabularies = {self._vocabulary(entry) for entry in batched_inputs}
            if len(vocabularies) > 1:
                raise DatasetError(
                    "a training batch must share one vocabulary; train on one class list at a time"
                )
            return self.sem_seg_head.losses(batched_inputs, vocabularies.pop())
        return self.predict(batched_inputs, self.sem_seg_head)

    def predict(
        self, batched_inputs: Sequence[Mapping], score: Callable[[list, tuple[str, ...]], list[Tensor]]
    ) -> list[dict[str, Tensor]]:
        """What `forward` returns in evaluation, where `score` stands for the head's own `forward`."""
        maps: list[Tensor] = []
        for vocabulary, group in groupby(batched_inputs, key=self._vocabulary):
            maps += score(list(group), vocabulary)
        return [{"sem_seg": scores} for scores in maps]

    def _vocabulary(self, entry: Mapping) -> tuple[str, ...]:
        vocabulary = entry.get("vocabulary", self.vocabulary)
        if vocabulary is None:
            raise VocabularyError("no vocabulary: give each input `vocabulary`, or RSSegmentor a default one")
        return tuple(vocabulary)

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False):
        """Load this model's names, those of the plain model, or those of the published checkpoints.

        Always strict, whatever the caller asks: Detectron2 would report a model left at random in a
        warning and go on. Raises `CheckpointError`.
        """
        load_checkpoint(self.sem_seg_head.model, state_dict)
        return _IncompatibleKeys([], [])


def unwrapped(model: nn.Module) -> RSSegmentor:
    """Return the segmentor itself, which may be wrapped for distributed training."""
    segmentor = model.module if isinstance(model, DistributedDataParallel) else model
    if not isinstance(segmentor, RSSegmentor):
        raise TypeError(f"an RSSegmentor expected; found {type(segmentor).__name__}")
    return segmentor


def plain_model(model: nn.Module) -> SegmentationModel:
    """Return the plain torch model inside a segmentor, which may be wrapped for distributed training."""
    return unwrapped(model).sem_seg_head.model
