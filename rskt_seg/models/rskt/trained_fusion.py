"""A layer of RS-Fusion as it is trained on a CPU: the computation of its inference form, with gradients.

Shapes: T class, L token, C channel, G guidance channel, H W grid.
"""

import torch
from torch import Tensor, nn

from rskt_seg.layers.packed_products import packed_gated_mlp
from rskt_seg.layers.training_form import LiveBuilder
from rskt_seg.models.cost_volumes.aggregation import from_class_tokens, to_class_tokens
from rskt_seg.models.rskt.fast_fusion import FastClassTransformer, FastGatedMlp, FastSpatialTransformer
from rskt_seg.models.rskt.fusion import FusionLayer, GatedMlp


class _TrainedGatedMlp(FastGatedMlp):
    """`FastGatedMlp` with the gradients of packed products."""

    def __init__(self, mlp: GatedMlp) -> None:
        nn.Module.__init__(self)
        self.mlp = mlp

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis, (..., C) -> (..., C)."""
        return packed_gated_mlp(x, self.mlp.fc1, self.mlp.fc2, self.mlp.fc3)


class TrainedFusionLayer(nn.Module):
    """`FusionLayer` in its published form, with the same parameters."""

    def __init__(self, layer: FusionLayer) -> None:
        super().__init__()
        self.spatial, self.classes, self.chunk = layer.spatial, layer.classes, layer.chunk

    def forward(self, x: Tensor, image: Tensor, text: Tensor) -> Tensor:
        """See `AggregationLayer.forward`; the result has its channels last in memory."""
        builder = LiveBuilder()
        spatial = FastSpatialTransformer(self.spatial, builder)
        classes = FastClassTransformer(self.classes, builder)
        spatial.mlp = _TrainedGatedMlp(self.spatial.mlp)
        classes.mlp = _TrainedGatedMlp(self.classes.mlp)
        return torch.stack(
            [
                self._refine(*of_image, spatial, classes)
                for of_image in zip(x, image, text.expand(len(x), -1, -1), strict=True)
            ]
        )

    def _refine(
        self,
        x: Tensor,
        guidance: Tensor,
        text: Tensor,
        spatial: FastSpatialTransformer,
        classes: FastClassTransformer,
    ) -> Tensor:
        """Refine the embedding (T, C, H, W) of an image by its guidance (G, H, W) and the text's (T, G)."""
        grid = (x.shape[2], x.shape[3])
        terms = spatial.attention.guide(guidance)
        parts = x.flatten(2).transpose(1, 2).split(self.chunk)  # (t, L, C) each
        maps = torch.cat([spatial(part, terms, grid) for part in parts]).transpose(1, 2).unflatten(2, grid)
        cells, pooled = to_class_tokens(maps[None], pooling=2)  # (h * w, T, C)
        cells = classes(cells, classes.guide(text))
        return maps + from_class_tokens(cells, pooled, maps[None].shape)[0]
