"""Everything between the encoder's stages and the logits: aggregation, interaction layers, output heads.

Shapes: B image, N class, C channel, h w cell of the stride-4 map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.errors import ConfigError
from rskt_seg.layers.containers import ModuleListOf
from rskt_seg.layers.inference_form import FormBuilder, HasInferenceForm
from rskt_seg.models.bicor.attention import CrossAttention
from rskt_seg.models.bicor.spec import BiCoRSpec
from rskt_seg.models.bicor.synergy import HBIS

_LAYERS = {"hbis": HBIS, "cross_attention": CrossAttention}
STRIDE = 4
"""Side of a cell of the feature map in input pixels."""


class Aggregation(HasInferenceForm):
    """Aggregation of the encoder's stages to one map of C channels at the size of the first.

    Each stage is projected to C channels and resized bilinearly, all are concatenated with the last stage
    first, and mixed by a 1 x 1 convolution. Linear maps commute with the resizing, so each projection is
    multiplied by its slice of the mixing matrix and applied at the stage's own size. The products are
    computed in each call, so that gradients reach both factors.
    """

    def __init__(self, stage_widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.project: ModuleListOf[nn.Linear] = ModuleListOf(
            nn.Linear(inputs, width) for inputs in stage_widths
        )
        self.mix = nn.Linear(len(stage_widths) * width, width, bias=False)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Aggregate stages (B, C_i, h_i, w_i), largest first, to (B, C, h_0, w_0)."""
        weights, bias = self.products()
        maps = [
            F.conv2d(stage, weight[:, :, None, None]) for stage, weight in zip(stages, weights, strict=True)
        ]
        size = maps[0].shape[2:]
        resized = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in maps[1:]]
        return sum(resized, maps[0]) + bias[:, None, None]

    def products(self) -> tuple[Sequence[Tensor], Tensor]:
        """Return for each stage projection times mixing, (C, C_i), and their bias (C)."""
        slices = reversed(self.mix.weight.chunk(len(self.project), dim=1))
        weights, bias = [], torch.zeros_like(self.mix.weight[:, 0])
        for project, mix in zip(self.project, slices, strict=True):
            weights.append(mix @ project.weight)
            bias = bias + mix @ project.bias
        return weights, bias

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`."""
        return _MultipliedAggregation(self)


class _MultipliedAggregation(Aggregation):
    """`Aggregation` with its products computed once."""

    def __init__(self, aggregation: Aggregation) -> None:
        nn.Module.__init__(self)
        self._products = aggregation.products()

    def products(self) -> tuple[Sequence[Tensor], Tensor]:
        """See `Aggregation.products`."""
        return self._products


class ShuffleHead(nn.Module):
    """Published output head: two pixel shuffles to full resolution, then the product with projected classes.

    With `auxiliary` there is a second projection for auxiliary logits, which share the upsampler.
    """

    def __init__(self, width: int, auxiliary: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width // 4, eps=1e-6)
        self.classifier = nn.Linear(width, width // 16, bias=False)
        self.auxiliary = nn.Linear(width, width // 16, bias=False) if auxiliary else None

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Compute logits at four times the size of the features.

        Args:
            features: (B, C, h, w).
            classes: Class embeddings (B, N, C).

        Returns:
            Logits (B, N, 4h, 4w).
        """
        return _product(self.classifier(classes), self.upsample(features))

    def auxiliary_logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """Compute logits as `forward` does, by the auxiliary projection; no gradient reaches `classes`.

        Args:
            features: (B, C, h, w).
            classes: Class embeddings (B, N, C).

        Returns:
            Logits (B, N, 4h, 4w).

        Raises:
            ConfigError: The head was built without the auxiliary projection.
        """
        if self.auxiliary is None:
            raise ConfigError("a model with aux_weight=0 has no auxiliary head")
        return _product(self.auxiliary(classes.detach()), self.upsample(features))

    def upsample(self, features: Tensor) -> Tensor:
        """Shuffle channels to pixels twice, (B, C, h, w) -> (B, C / 16, 4h, 4w)."""
        x = F.pixel_shuffle(features, 2)  # (B, C / 4, 2h, 2w)
        x = F.gelu(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return F.gelu(F.pixel_shuffle(x, 2))


class ProductHead(nn.Module):
    """Output head of the paper's text: the product at stride 4, upsampled bilinearly; no parameters."""

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Compute logits at four times the size of the features.

        Args:
            features: (B, C, h, w).
            classes: Class embeddings (B, N, C).

        Returns:
            Logits (B, N, 4h, 4w).
        """
        return upsample_cells(_product(classes, features))

    def auxiliary_logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """Compute logits as `forward` does; no gradient reaches `classes`.

        Args:
            features: (B, C, h, w).
            classes: Class embeddings (B, N, C).

        Returns:
            Logits (B, N, 4h, 4w).
        """
        return self(features, classes.detach())


def _product(classes: Tensor, features: Tensor) -> Tensor:
    """Multiply class embeddings (B, N, C) by features (B, C, h, w), giving (B, N, h, w)."""
    return (classes @ features.flatten(2)).unflatten(2, features.shape[2:])


def upsample_cells(maps: Tensor) -> Tensor:
    """Resize maps bilinearly from cells to pixels, (B, N, h, w) -> (B, N, 4h, 4w)."""
    size = (STRIDE * maps.shape[2], STRIDE * maps.shape[3])
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Refined:
    """Output of the interaction layers.

    Attributes:
        features: (B, C, h, w) after the last layer.
        class_embeddings: (B, N, C) after each layer.
        heatmaps: With HBIS, the heatmap logits (B, N, h, w) of each layer; else empty.
    """

    features: Tensor
    class_embeddings: tuple[Tensor, ...]
    heatmaps: tuple[Tensor, ...]


class Decoder(nn.Module):
    """Class embeddings, interaction layers and output head of a specification."""

    def __init__(self, spec: BiCoRSpec) -> None:
        super().__init__()
        self.class_embeddings = nn.Parameter(torch.empty(spec.num_classes, spec.width))
        nn.init.trunc_normal_(self.class_embeddings, std=0.02)
        layer = _LAYERS[spec.interaction]
        self.layers = nn.ModuleList(layer(spec, spec.width, spec.width) for _ in range(spec.num_layers))
        shuffle = spec.head == "shuffle"
        self.head = ShuffleHead(spec.width, auxiliary=spec.aux_weight > 0) if shuffle else ProductHead()

    def refine(self, features: Tensor) -> Refined:
        """Run the interaction layers on features (B, C, h, w)."""
        size = features.shape[2:]
        pixels = features.flatten(2).transpose(1, 2)  # (B, h * w, C)
        classes = self.class_embeddings.expand(features.shape[0], -1, -1)  # (B, N, C)
        embeddings, heatmaps = [], []
        for layer in self.layers:
            classes, pixels, scores = layer(classes, pixels)
            embeddings.append(classes)
            if scores is not None:
                heatmaps.append(scores.unflatten(2, size))
        return Refined(pixels.transpose(1, 2).unflatten(2, size), tuple(embeddings), tuple(heatmaps))

    def auxiliary_logits(self, features: Tensor) -> Tensor:
        """Compute auxiliary logits (B, N, 4h, 4w) from features (B, C, h, w) before the layers.

        Raises:
            ConfigError: The model was built without an auxiliary head (`aux_weight=0`).
        """
        return self.head.auxiliary_logits(features, self.class_embeddings.expand(features.shape[0], -1, -1))
