"""Test-time augmentation as the published evaluations do it."""

from dataclasses import asdict
from functools import partial, reduce
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import DatasetMapperTTA
from fvcore.transforms import HFlipTransform
from torch import Tensor, nn

from rskt_seg.d2.heads import ClosedSetHead
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.segmentor import RSSegmentor, unwrapped
from rskt_seg.d2.specs import built_spec
from rskt_seg.d2.typing import DatasetDict, Entries, Entry
from rskt_seg.metrics.results import EvaluatedModel

SUFFIX = "_TTA"
"""What the names of its results end in."""


class SegmentorTTA(nn.Module):
    """An `RSSegmentor` whose score maps are the mean over resized and mirrored views of an image.

    The views are those of `TEST.AUG`: every size of `MIN_SIZES`, each also mirrored with `FLIP`. They go
    through the model one at a time.
    """

    @configurable
    def __init__(self, segmentor: RSSegmentor, *, views: DatasetMapperTTA) -> None:
        super().__init__()
        self.segmentor = segmentor
        self.views = views

    @classmethod
    def from_config(cls, cfg: CfgNode, segmentor: RSSegmentor) -> dict[str, Any]:
        """Return the arguments of the constructor.

        Args:
            cfg: The configuration.
            segmentor: The segmentor, not wrapped.

        Returns:
            Argument -> value; the views are those of `TEST.AUG`.
        """
        return {"segmentor": segmentor, "views": DatasetMapperTTA(cfg)}

    def forward(self, batched_inputs: Entries) -> list[dict[str, Tensor]]:
        """Return what `RSSegmentor` returns in evaluation; `image` of each input must be on the CPU."""
        return [{"sem_seg": self._mean_scores(entry)} for entry in batched_inputs]

    def _mean_scores(self, entry: Entry) -> Tensor:
        height, width = entry["image"].shape[1:]
        views = self.views({"height": height, "width": width, **entry})
        return reduce(torch.add, map(self._score_view, views)) / len(views)

    def _score_view(self, view: DatasetDict) -> Tensor:
        mirrored = any(isinstance(step, HFlipTransform) for step in view.pop("transforms").transforms)
        scores: Tensor = self.segmentor([view])[0]["sem_seg"]
        return torch.flip(scores, dims=[2]) if mirrored else scores


class SegmentorViews(nn.Module):
    """An `RSSegmentor` with a closed-set head, which averages the logits of the views of `TEST.AUG.VIEWS`."""

    def __init__(self, segmentor: RSSegmentor) -> None:
        super().__init__()
        head = segmentor.sem_seg_head
        if not isinstance(head, ClosedSetHead):
            raise TypeError(f"the head of a closed-set method must be a ClosedSetHead; found {type(head)}")
        self.segmentor = segmentor
        self.score = partial(head.scores, views=head.views)

    def forward(self, batched_inputs: Entries) -> list[dict[str, Tensor]]:
        """Return what `RSSegmentor` returns in evaluation."""
        return self.segmentor.predict(batched_inputs, self.score)


def with_augmentation(cfg: CfgNode, segmentor: nn.Module) -> nn.Module:
    """Wrap a segmentor for test-time augmentation.

    Args:
        cfg: The configuration.
        segmentor: An `RSSegmentor`, which may be wrapped for distributed training.

    Returns:
        A `SegmentorViews` for closed-set methods, otherwise a `SegmentorTTA`.
    """
    plain = unwrapped(segmentor)
    return SegmentorViews(plain) if method_of(cfg).method.is_closed else SegmentorTTA(cfg, plain)


def evaluated_model(cfg: CfgNode, augmented: bool) -> EvaluatedModel:
    """Return what an evaluation evaluates, and how it sees images.

    Args:
        cfg: The configuration.
        augmented: Whether the scores of the views of `TEST.AUG` are averaged.

    Returns:
        Method and options of the model, and the options and views of the evaluation.
    """
    record = method_of(cfg)
    keys = ("VIEWS",) if record.method.is_closed else ("FLIP", "MIN_SIZES", "MAX_SIZE")
    return EvaluatedModel(
        record.method.title,
        asdict(built_spec(cfg)),
        record.evaluation_options(cfg),
        {key.lower(): cfg.TEST.AUG[key] for key in keys} if augmented else None,
    )
