"""Adapters that put a plain model of this project in Detectron2's place for a segmentation head."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from rskt_seg.d2.specs import rskt_spec
from rskt_seg.errors import DatasetError
from rskt_seg.inference.predict import sliding_scores
from rskt_seg.inference.windows import sliding_sizes
from rskt_seg.models.rskt import RSKT


@SEM_SEG_HEADS_REGISTRY.register()
class RSKTSegHead(nn.Module):
    """RSKT-Seg (`rskt_seg.models.rskt.RSKT`) built from a configuration; owns no parameters of its own."""

    @configurable
    def __init__(self, *, model: RSKT, ignore_value: int = 255, sliding_window: bool = False) -> None:
        super().__init__()
        self.model = model
        self.ignore_value = ignore_value
        self.sliding_window = sliding_window

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict:
        """Arguments from a configuration; `input_shape` is of no use, for there is no backbone."""
        return {
            "model": RSKT(rskt_spec(cfg)),
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "sliding_window": cfg.TEST.SLIDING_WINDOW,
        }

    def losses(
        self, images: list[Tensor], targets: list[Tensor], vocabulary: Sequence[str]
    ) -> dict[str, Tensor]:
        """Named scalars for images (3, H, W) and targets (H, W) int64, all targets of one size."""
        if len({target.shape for target in targets}) > 1:
            raise DatasetError(
                f"the labels of a batch must have one size, found {[tuple(t.shape) for t in targets]}; set "
                "INPUT.CROP.ENABLED True and INPUT.SIZE_DIVISIBILITY to the crop's side"
            )
        output = self.model(images, vocabulary)
        return self.model.losses(output, torch.stack(targets), self.ignore_value)

    def forward(self, images: list[Tensor], vocabulary: Sequence[str]) -> list[Tensor]:
        """Scores (T, h, w) in 0..1 of each image (3, H, W), at the model's own resolution.

        With `sliding_window` each is the mean of overlapping windows and one global view.
        """
        if self.sliding_window:
            tile, square = sliding_sizes(self.model.working_side)
            return [sliding_scores(self.model, x, vocabulary, tile=tile, square=square) for x in images]
        output = self.model(images, vocabulary)
        return list(self.model.scores(output))

    def to_size(self, scores: Tensor, image_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Scores (T, h, w) of an image that was fed at `image_size` (H, W), resized to `size` (H, W).

        With published padding the score map itself is first cut to `image_size`, which bites only where
        a side of the image is smaller than the map. The published evaluation does so, to remove a padding
        that the map does not have.
        """
        if self.model.spec.padding == "published" and not self.sliding_window:
            scores = scores[:, : image_size[0], : image_size[1]]
        return F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
