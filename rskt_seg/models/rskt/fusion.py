"""RS-Fusion: the spatial (SET) and class (CET) enhancement transformers.

Shapes: N = B * t images times classes, T class, C channel, G guidance channel, H W grid, L = H * W.
The published form is the default; `guided_values`, `dino_in_set` (through a wider guidance) and
`text_in_pooling` restore the paper's wording of equations 4 to 7.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.layers.attention import attend
from rskt_seg.layers.inference_form import FormBuilder, HasInferenceForm
from rskt_seg.models.cost_volumes.aggregation import (
    AggregationLayer,
    beside_text,
    from_class_tokens,
    to_class_tokens,
    to_maps,
    to_tokens,
)
from rskt_seg.models.rskt.spec import RSKTSpec


class ReducedAttention(nn.Module):
    """Attention whose keys and values live on a grid of half the side (the paper's R_s)."""

    def __init__(self, dim: int, guidance_dim: int, heads: int, guided_values: bool) -> None:
        super().__init__()
        both = dim + guidance_dim
        value_dim = both if guided_values else dim
        self.heads, self.value_dim = heads, value_dim
        self.q = nn.Linear(both, dim)
        self.sr_k = nn.Conv2d(both, both, 2, stride=2)
        self.norm_k = nn.LayerNorm(both)
        self.k = nn.Linear(both, dim)
        self.sr_v = nn.Conv2d(value_dim, value_dim, 2, stride=2)
        self.norm_v = nn.LayerNorm(value_dim)
        self.v = nn.Linear(value_dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, guidance: Tensor) -> Tensor:
        """Attend over space.

        Args:
            tokens: (N, L, C).
            guidance: (N, G, H, W).

        Returns:
            (N, L, C).
        """
        both = torch.cat([tokens, to_tokens(guidance)], dim=-1)  # (N, L, C + G)
        maps = to_maps(both, guidance.shape[2:])
        k = self.k(self.norm_k(to_tokens(self.sr_k(maps))))
        v = self.v(self.norm_v(to_tokens(self.sr_v(maps[:, : self.value_dim]))))
        return self.proj(attend(self.q(both), k, v, self.heads))


class GatedMlp(nn.Module):
    """fc3(ReLU6(fc1 x) * fc2 x), hidden width 3 C."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 3 * dim)
        self.fc2 = nn.Linear(dim, 3 * dim)
        self.fc3 = nn.Linear(3 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis, (..., C) -> (..., C)."""
        return self.fc3(F.relu6(self.fc1(x)) * self.fc2(x))


class SpatialTransformer(nn.Module):
    """SET: every class attends over space, guided by image features (equations 4 and 5)."""

    def __init__(self, dim: int, guidance_dim: int, heads: int = 8, guided_values: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = ReducedAttention(dim, guidance_dim, heads, guided_values)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = GatedMlp(dim)
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.apply(_initialise)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Attend and transform, guided by maps that are not normalised.

        Args:
            x: (N, C, H, W).
            guidance: (N, G, H, W).

        Returns:
            (N, C, H, W).
        """
        tokens = to_tokens(x)
        tokens = tokens + self.attention(self.norm1(tokens), guidance)
        mixed = to_maps(self.mlp(self.norm2(tokens)), x.shape[2:])
        return to_maps(tokens, x.shape[2:]) + self.dwconv(mixed)


class ClassAttention(nn.Module):
    """Attention over classes; the text joins queries and keys (and values with `guided_values`)."""

    def __init__(self, dim: int, text_dim: int, heads: int, guided_values: bool) -> None:
        super().__init__()
        self.heads = heads
        self.value_dim = dim + text_dim if guided_values else dim
        self.q = nn.Linear(dim + text_dim, dim)
        self.k = nn.Linear(dim + text_dim, dim)
        self.v = nn.Linear(self.value_dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, both: Tensor) -> Tensor:
        """Attend over classes, cost tokens and text side by side (N, T, C + G) -> (N, T, C)."""
        v = self.v(both[..., : self.value_dim])
        return self.proj(attend(self.q(both), self.k(both), v, self.heads))


class ClassTransformer(nn.Module):
    """CET: every 2x2 patch attends over classes, guided by text (equations 6 and 7).

    The pooled stream is added to the input as published, so the embedding roughly doubles at every layer.
    With `text_in_pooling` the normalisation sees cost and text together; pooling the text changes nothing,
    because it is constant over space.
    """

    def __init__(
        self,
        dim: int,
        text_dim: int,
        heads: int = 8,
        guided_values: bool = False,
        text_in_pooling: bool = False,
    ) -> None:
        super().__init__()
        self.text_in_pooling = text_in_pooling
        self.norm1 = nn.LayerNorm(dim + text_dim if text_in_pooling else dim)
        self.attention = ClassAttention(dim, text_dim, heads, guided_values)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = GatedMlp(dim)
        self.apply(_initialise)

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """Attend over classes and transform.

        Args:
            x: (B, T, C, H, W).
            text: (B, T, G), or (1, T, G) for all images.

        Returns:
            (B, T, C, H, W).
        """
        tokens, grid = to_class_tokens(x, pooling=2)  # (B * h * w, T, C)
        if self.text_in_pooling:
            both = self.norm1(beside_text(tokens, text))
        else:
            both = beside_text(self.norm1(tokens), text)
        tokens = tokens + self.attention(both)
        tokens = tokens + F.relu6(self.mlp(self.norm2(tokens)))
        return x + from_class_tokens(tokens, grid, x.shape)


class FusionLayer(AggregationLayer, HasInferenceForm):
    """RS-Fusion's layer of one SET and one CET."""

    spatial: SpatialTransformer
    classes: ClassTransformer

    def __init__(self, spec: RSKTSpec, guidance_dim: int) -> None:
        """Build the layer.

        Args:
            spec: Options of the model.
            guidance_dim: Channels of the guidance.
        """
        dim, heads = spec.hidden_dim, spec.num_heads
        spatial = SpatialTransformer(dim, guidance_dim, heads, spec.guided_values)
        classes = ClassTransformer(dim, dim, heads, spec.guided_values, spec.text_in_pooling)
        super().__init__(spatial, classes, spec.class_chunk)
        self.published = not (spec.guided_values or spec.text_in_pooling)

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`; layers with the paper's options are computed as they are."""
        if not self.published:
            return builder.copy(self)
        from rskt_seg.models.rskt.fast_fusion import FastFusionLayer

        return FastFusionLayer(self.spatial, self.classes, self.chunk, builder)


def _initialise(module: nn.Module) -> None:
    # Published for these two blocks; everything else keeps PyTorch's defaults.
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
