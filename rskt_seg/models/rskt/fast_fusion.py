"""Inference form of a layer of RS-Fusion, in its published form: class tokens stay in token-major order.

The guidance never meets the cost tokens: linear layers over [cost; guidance] are sums of two, and the part of
the guidance is computed once for an image (SET) or a class (CET). Shapes: B image, T class, N = B * t images
times classes, L = H * W tokens, C channel, G guidance channel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.layers.attention import attend
from rskt_seg.layers.inference_form import FormBuilder
from rskt_seg.models.cost_volumes.aggregation import from_class_tokens, to_class_tokens, to_tokens
from rskt_seg.models.rskt.fusion import (
    ClassTransformer,
    GatedMlp,
    ReducedAttention,
    SpatialTransformer,
)


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)


class FastGatedMlp(nn.Module):
    """`GatedMlp` whose products end in the activation and in the gating."""

    def __init__(self, mlp: GatedMlp, builder: FormBuilder) -> None:
        super().__init__()
        self.fc1 = builder.linear(mlp.fc1.weight, mlp.fc1.bias, "relu6")
        self.fc2 = builder.linear(mlp.fc2.weight, mlp.fc2.bias)
        self.fc3 = builder.linear(mlp.fc3.weight, mlp.fc3.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transform the last axis, (..., C) -> (..., C)."""
        x = x.to(self.fc1.dtype)
        return self.fc3(self.fc2.times(x, self.fc1(x)))


def _blocks(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lay cells of 2 x 2 tokens side by side, (N, H * W, C) -> (N, H * W / 4, 4 * C)."""
    n, _, c = tokens.shape
    h, w = grid
    cells = tokens.view(n, h // 2, 2, w // 2, 2, c).transpose(2, 3)
    return cells.reshape(n, h * w // 4, 4 * c)


def _as_linear(weight: Tensor) -> Tensor:
    """Return a 2 x 2 convolution of stride 2 as a layer on `_blocks`, (out, C, 2, 2) -> (out, 4 * C)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


class FastReducedAttention(nn.Module):
    """`ReducedAttention` with the guidance as terms that are computed once for an image."""

    def __init__(self, attention: ReducedAttention, builder: FormBuilder) -> None:
        super().__init__()
        dim = attention.value_dim
        self.heads, self.norm_k, self.norm_v = attention.heads, attention.norm_k, attention.norm_v
        q, sr_k, sr_v = attention.q, attention.sr_k, attention.sr_v
        self.q = builder.linear(q.weight[:, :dim], None)
        self.q_guidance = builder.linear(q.weight[:, dim:], q.bias)
        self.reduced = sr_k.out_channels
        reduce = torch.cat([_as_linear(sr_k.weight[:, :dim]), _as_linear(sr_v.weight)])
        self.reduce = builder.linear(reduce, None)
        self.reduce_guidance = builder.linear(_as_linear(sr_k.weight[:, dim:]), sr_k.bias)
        self.bias_v = sr_v.bias
        self.k = builder.linear(attention.k.weight, attention.k.bias)
        self.v = builder.linear(attention.v.weight, attention.v.bias)
        self.proj = builder.linear(attention.proj.weight, attention.proj.bias)

    def guide(self, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the terms of the guidance (G, H, W) in queries (L, C) and reduced keys (L / 4, C + G)."""
        tokens = to_tokens(guidance[None])
        blocks = _blocks(tokens, (guidance.shape[1], guidance.shape[2]))
        return self.q_guidance(tokens)[0], self.reduce_guidance(blocks)[0]

    def forward(self, tokens: Tensor, terms: tuple[Tensor, Tensor], grid: tuple[int, int]) -> Tensor:
        """Attend over space, (N, L, C) -> (N, L, C)."""
        reduced = self.reduce(_blocks(tokens, grid))
        k, v = reduced[..., : self.reduced] + terms[1], reduced[..., self.reduced :] + self.bias_v
        k, v = self.k(_norm(self.norm_k, k)), self.v(_norm(self.norm_v, v))
        return self.proj(attend(self.q(tokens) + terms[0], k, v, self.heads))


class FastSpatialTransformer(nn.Module):
    """`SpatialTransformer` on tokens."""

    def __init__(self, spatial: SpatialTransformer, builder: FormBuilder) -> None:
        super().__init__()
        self.norm1, self.norm2, self.dwconv = spatial.norm1, spatial.norm2, spatial.dwconv
        self.attention = FastReducedAttention(spatial.attention, builder)
        self.mlp = FastGatedMlp(spatial.mlp, builder)

    def forward(self, tokens: Tensor, terms: tuple[Tensor, Tensor], grid: tuple[int, int]) -> Tensor:
        """Attend and transform, (N, L, C) -> (N, L, C)."""
        tokens = tokens + self.attention(_norm(self.norm1, tokens), terms, grid)
        mixed = self.mlp(_norm(self.norm2, tokens)).float()
        maps = mixed.transpose(1, 2).unflatten(2, grid)  # channels last
        return tokens + to_tokens(self.dwconv(maps))


class FastClassTransformer(nn.Module):
    """`ClassTransformer` with the text as terms that are computed once for a class."""

    def __init__(self, classes: ClassTransformer, builder: FormBuilder) -> None:
        super().__init__()
        attention, dim = classes.attention, classes.attention.value_dim
        self.heads, self.norm1, self.norm2 = attention.heads, classes.norm1, classes.norm2
        weight = torch.cat([attention.q.weight[:, :dim], attention.k.weight[:, :dim], attention.v.weight])
        bias = torch.cat([attention.q.bias, attention.k.bias, attention.v.bias])
        self.qkv = builder.linear(weight, bias)
        text = torch.cat([attention.q.weight[:, dim:], attention.k.weight[:, dim:]])
        self.text = builder.linear(text, None)
        self.proj = builder.linear(attention.proj.weight, attention.proj.bias)
        self.mlp = FastGatedMlp(classes.mlp, builder)

    def guide(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return the terms of the text (T, G) in queries and keys, (T, C) each."""
        for_q, for_k = self.text(text).chunk(2, dim=-1)
        return for_q, for_k

    def forward(self, tokens: Tensor, terms: tuple[Tensor, Tensor]) -> Tensor:
        """Attend over classes and transform, cells (N, T, C) -> (N, T, C)."""
        q, k, v = self.qkv(_norm(self.norm1, tokens)).chunk(3, dim=-1)
        tokens = tokens + self.proj(attend(q + terms[0], k + terms[1], v, self.heads))
        return tokens + F.relu6(self.mlp(_norm(self.norm2, tokens)))


class FastFusionLayer(nn.Module):
    """A layer of `SpatialTransformer` and `ClassTransformer`, of which a part is in memory at a time.

    SET takes a few classes, CET a few cells; both take about as many tokens.
    """

    def __init__(
        self, spatial: SpatialTransformer, classes: ClassTransformer, chunk: int, builder: FormBuilder
    ) -> None:
        super().__init__()
        self.spatial = FastSpatialTransformer(spatial, builder)
        self.classes = FastClassTransformer(classes, builder)
        self.chunk = chunk

    def forward(self, x: Tensor, image: Tensor, text: Tensor) -> Tensor:
        """See `AggregationLayer.forward`; the result (B, T, C, H, W) has its channels last in memory.

        If those of `x` are last too, the result takes its memory.
        """
        grid = (x.shape[3], x.shape[4])
        tokens = x.flatten(3).transpose(2, 3).contiguous()  # (B, T, L, C)
        for of_image, guidance, words in zip(tokens, image, text.expand(len(x), -1, -1), strict=True):
            terms = self.spatial.attention.guide(guidance)
            for part in of_image.split(self.chunk):
                part.copy_(self.spatial(part, terms, grid))
            self._add_classes(of_image.transpose(1, 2).unflatten(2, grid), words)
        return tokens.transpose(2, 3).unflatten(3, grid)

    def _add_classes(self, maps: Tensor, text: Tensor) -> None:
        """Add CET of an image to its maps (T, C, H, W) in place, guided by text (T, G)."""
        cells, pooled = to_class_tokens(maps[None], pooling=2)  # (h * w, T, C)
        terms, (classes, _, height, width) = self.classes.guide(text), maps.shape
        for part in cells.split(max(1, self.chunk * height * width // classes)):
            part.copy_(self.classes(part, terms))
        for some, of_them in zip(maps.split(self.chunk), cells.split(self.chunk, dim=1), strict=True):
            some += from_class_tokens(of_them, pooled, some[None].shape)[0]
