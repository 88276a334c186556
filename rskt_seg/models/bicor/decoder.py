"""What lies between the encoder's stages and the logits: aggregation, interaction layers, output heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.models.bicor.attention import CrossAttention
from rskt_seg.models.bicor.spec import BiCoRSpec
from rskt_seg.models.bicor.synergy import HBIS

_LAYERS = {"hbis": HBIS, "cross_attention": CrossAttention}
STRIDE = 4
"""Input pixels a cell of the feature map, along each side."""


class Aggregation(nn.Module):
    """Four stages -> one map of C channels at the size of the first.

    Each stage is projected to C channels and resized bilinearly, all are concatenated with the last stage
    first, and mixed by a 1 x 1 convolution. Linear maps commute with the resizing, so each projection is
    multiplied with its slice of the mixing matrix and applied at the stage's own size. The products are
    formed anew in each call; gradients reach both factors.
    """

    def __init__(self, stage_widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(inputs, width) for inputs in stage_widths)
        self.mix = nn.Linear(len(stage_widths) * width, width, bias=False)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Stages (B, C_i, H_i, W_i), largest first -> (B, C, H_0, W_0)."""
        slices = reversed(self.mix.weight.chunk(len(stages), dim=1))
        bias = torch.zeros_like(self.mix.weight[:, 0])
        maps = []
        for stage, project, mix in zip(stages, self.project, slices, strict=True):
            maps.append(F.conv2d(stage, (mix @ project.weight)[:, :, None, None]))
            bias = bias + mix @ project.bias
        size = maps[0].shape[2:]
        resized = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps[1:]]
        return sum(resized, maps[0]) + bias[:, None, None]


class ShuffleHead(nn.Module):
    """Published output head: two pixel shuffles to full resolution, then the product with projected classes.

    `auxiliary` adds the projection of the auxiliary head, which shares the upsampler.
    """

    def __init__(self, width: int, auxiliary: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width // 4, eps=1e-6)
        self.classifier = nn.Linear(width, width // 16, bias=False)
        self.auxiliary = nn.Linear(width, width // 16, bias=False) if auxiliary else None

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Features (B, C, h, w), embeddings (B, N, C) -> logits (B, N, 4h, 4w)."""
        return _product(self.classifier(classes), self.upsample(features))

    def auxiliary_logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """As `forward` with the auxiliary projection; no gradient reaches `classes`."""
        return _product(self.auxiliary(classes.detach()), self.upsample(features))

    def upsample(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C / 16, 4h, 4w)."""
        x = F.pixel_shuffle(features, 2)
        x = F.gelu(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return F.gelu(F.pixel_shuffle(x, 2))


class ProductHead(nn.Module):
    """Output head of the paper's text: the product at stride 4, upsampled bilinearly; no parameters."""

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Features (B, C, h, w), embeddings (B, N, C) -> logits (B, N, 4h, 4w)."""
        return upsample_cells(_product(classes, features))

    def auxiliary_logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """As `forward`; no gradient reaches `classes`."""
        return self(features, classes.detach())


def _product(classes: Tensor, features: Tensor) -> Tensor:
    """(B, N, C) and (B, C, h, w) -> (B, N, h, w)."""
    return (classes @ features.flatten(2)).unflatten(2, features.shape[2:])


def upsample_cells(maps: Tensor) -> Tensor:
    """(B, N, h, w) -> (B, N, 4h, 4w), bilinear."""
    size = (STRIDE * maps.shape[2], STRIDE * maps.shape[3])
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Refined:
    """What the layers make of a feature map (B, C, h, w).

    `features` (B, C, h, w); for each layer an entry of `class_embeddings` (B, N, C) and, with HBIS, of
    `heatmaps`, logits (B, N, h, w).
    """

    features: Tensor
    class_embeddings: tuple[Tensor, ...]
    heatmaps: tuple[Tensor, ...]


class Decoder(nn.Module):
    """Class embeddings, interaction layers and output head of `spec`."""

    def __init__(self, spec: BiCoRSpec) -> None:
        super().__init__()
        self.class_embeddings = nn.Parameter(torch.empty(spec.num_classes, spec.width))
        nn.init.trunc_normal_(self.class_embeddings, std=0.02)
        layer = _LAYERS[spec.interaction]
        self.layers = nn.ModuleList(layer(spec, spec.width, spec.width) for _ in range(spec.num_layers))
        auxiliary = spec.aux_weight > 0
        self.head = ShuffleHead(spec.width, auxiliary) if spec.head == "shuffle" else ProductHead()

    def refine(self, features: Tensor) -> Refined:
        """Run the layers on features (B, C, h, w)."""
        size = features.shape[2:]
        pixels = features.flatten(2).transpose(1, 2)
        classes = self.class_embeddings.expand(len(features), -1, -1)
        embeddings, heatmaps = [], []
        for layer in self.layers:
            classes, pixels, scores = layer(classes, pixels)
            embeddings.append(classes)
            if scores is not None:
                heatmaps.append(scores.unflatten(2, size))
        return Refined(pixels.transpose(1, 2).unflatten(2, size), tuple(embeddings), tuple(heatmaps))

    def auxiliary_logits(self, features: Tensor) -> Tensor:
        """Logits (B, N, 4h, 4w) of the features (B, C, h, w) that go into the layers."""
        return self.head.auxiliary_logits(features, self.class_embeddings.expand(len(features), -1, -1))
