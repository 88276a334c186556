"""Test-time augmentation as the published evaluations do it."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import DatasetMapperTTA
from fvcore.transforms import HFlipTransform
from torch import Tensor, nn

from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.segmentor import RSSegmentor, unwrapped


class SegmentorTTA(nn.Module):
    """An `RSSegmentor` whose score maps are the plain mean over resized and mirrored views.

    The views are those of `TEST.AUG`: every size of `MIN_SIZES`, each also mirrored with `FLIP`. They go
    through the model one at a time.
    """

    @configurable
    def __init__(self, segmentor: RSSegmentor, *, views: DatasetMapperTTA) -> None:
        super().__init__()
        self.segmentor = segmentor
        self.views = views

    @classmethod
    def from_config(cls, cfg: CfgNode, segmentor: RSSegmentor) -> dict:
        """Arguments from a configuration."""
        return {"segmentor": segmentor, "views": DatasetMapperTTA(cfg)}

    def forward(self, batched_inputs: Sequence[Mapping]) -> list[dict[str, Tensor]]:
        """Inputs and outputs as `RSSegmentor` in evaluation; `image` must be on the CPU."""
        return [{"sem_seg": self._mean_scores(entry)} for entry in batched_inputs]

    def _mean_scores(self, entry: Mapping) -> Tensor:
        height, width = entry["image"].shape[1:]
        views = self.views({"height": height, "width": width, **entry})
        total: Tensor | None = None
        for view in views:
            mirrored = any(isinstance(step, HFlipTransform) for step in view.pop("transforms").transforms)
            scores = self.segmentor([view])[0]["sem_seg"]
            scores = torch.flip(scores, dims=[2]) if mirrored else scores
            total = scores if total is None else total + scores
        return total / len(views)


class SegmentorViews(nn.Module):
    """An `RSSegmentor` with a closed-set head, which averages the logits of the views of `TEST.AUG.VIEWS`."""

    def __init__(self, segmentor: RSSegmentor) -> None:
        super().__init__()
        self.segmentor = segmentor

    def forward(self, batched_inputs: Sequence[Mapping]) -> list[dict[str, Tensor]]:
        """Inputs and outputs as `RSSegmentor` in evaluation."""
        head = self.segmentor.sem_seg_head
        return self.segmentor.predict(batched_inputs, partial(head.scores, views=head.views))


def with_augmentation(cfg: CfgNode, segmentor: nn.Module) -> nn.Module:
    """Return a segmentor, which may be wrapped for distributed training, with test-time augmentation."""
    plain = unwrapped(segmentor)
    return SegmentorViews(plain) if method_of(cfg).method.is_closed else SegmentorTTA(cfg, plain)
