"""The "original" aggregator: window attention over space, padded attention over classes (CAT-Seg style).

The baseline of RSKT-Seg's RSF column (table 2). Shapes as in `rskt_seg.models.cost_volumes.aggregation`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.errors import ConfigError
from rskt_seg.layers.attention import (
    linear_attend,
    merge_heads,
    partition,
    shift_mask,
    split_heads,
    unpartition,
    weighted_attend,
)
from rskt_seg.models.cost_volumes.aggregation import (
    AggregationLayer,
    beside_text,
    from_class_tokens,
    to_class_tokens,
    to_maps,
    to_tokens,
)
from rskt_seg.models.cost_volumes.spec import WindowedSpec

PADDED_CLASSES = 256
"""Classes are padded to this number with a learned token, so that what they attend to hardly depends on T."""


class WindowAttention(nn.Module):
    """Softmax attention inside windows; queries and keys see the guidance, no position bias."""

    def __init__(self, dim: int, guidance_dim: int, heads: int) -> None:
        super().__init__()
        self.dim, self.heads = dim, heads
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, both: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows, W of them a map.

        Args:
            both: Tokens and guidance side by side (N * W, L, C + G), the windows of a map one after another.
            mask: Additive mask (W, L, L), see `shift_mask`; None: windows are not shifted.

        Returns:
            (N * W, L, C).
        """
        q, k, v = (
            split_heads(x, self.heads) for x in (self.q(both), self.k(both), self.v(both[..., : self.dim]))
        )
        if mask is None:
            return self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))
        windows = len(mask)
        q, k, v = (x.unflatten(0, (-1, windows)) for x in (q, k, v))  # (N, W, heads, L, C / heads)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[None, :, None].to(q.dtype))
        return self.proj(merge_heads(out.flatten(0, 1)))


class WindowBlock(nn.Module):
    """Pre-norm window attention and MLP; `shift` > 0 cyclically shifts the windows."""

    attn_mask: Tensor | None

    def __init__(self, dim: int, guidance_dim: int, heads: int, grid: int, window: int, shift: int) -> None:
        super().__init__()
        self.grid, self.window, self.shift = grid, window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, guidance_dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        mask = shift_mask(grid, grid, window, shift) if shift else None
        self.register_buffer("attn_mask", mask, persistent=False)

    def forward(self, tokens: Tensor, guidance: Tensor) -> Tensor:
        """Attend within windows and transform.

        Args:
            tokens: (N, L, C), L = grid ** 2.
            guidance: Normalised guidance (N, L, G).

        Returns:
            (N, L, C).
        """
        both = torch.cat([self.norm1(tokens), guidance], dim=-1).unflatten(1, (self.grid, self.grid))
        shifts = (self.shift, self.shift)
        windows = partition(torch.roll(both, (-self.shift, -self.shift), (1, 2)), self.window)
        out = unpartition(self.attn(windows, self.attn_mask), self.window, self.grid, self.grid)
        tokens = tokens + torch.roll(out, shifts, (1, 2)).flatten(1, 2)
        return tokens + self.mlp(self.norm2(tokens))


class WindowTransformer(nn.Module):
    """Two window blocks on every class map, the second one shifted by half a window."""

    def __init__(self, dim: int, guidance_dim: int, heads: int, grid: int, window: int) -> None:
        super().__init__()
        window = min(window, grid)
        if grid % window:
            raise ConfigError(f"window={window} must divide the {grid} x {grid} grid of the cost volume")
        shift = 0 if window == grid else window // 2
        self.block_1 = WindowBlock(dim, guidance_dim, heads, grid, window, 0)
        self.block_2 = WindowBlock(dim, guidance_dim, heads, grid, window, shift)
        self.guidance_norm = nn.LayerNorm(guidance_dim)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """Attend over space.

        Args:
            x: (N, C, H, W).
            guidance: (N, G, H, W), not normalised.

        Returns:
            (N, C, H, W).
        """
        guide = self.guidance_norm(to_tokens(guidance))
        return to_maps(self.block_2(self.block_1(to_tokens(x), guide), guide), x.shape[2:])


class PaddedClassTransformer(nn.Module):
    """Attention over classes padded with learned tokens, on a grid that is pooled as the mode says."""

    def __init__(
        self,
        dim: int,
        text_dim: int,
        heads: int,
        pooling: int,
        attention: str,
        padded_classes: int = PADDED_CLASSES,
        test_pooling: int | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.pooling, self.padded_classes = heads, pooling, padded_classes
        self.test_pooling = pooling if test_pooling is None else test_pooling
        self.attend = linear_attend if attention == "linear" else weighted_attend
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, dim))
        self.padding_guidance = nn.Parameter(torch.zeros(1, 1, text_dim))
        self.norm1 = nn.LayerNorm(dim)
        self.q = nn.Linear(dim + text_dim, dim)
        self.k = nn.Linear(dim + text_dim, dim)
        self.v = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """Attend over classes and transform.

        Args:
            x: (B, T, C, H, W).
            text: (B, T, G), or (1, T, G) for all images.

        Returns:
            (B, T, C, H, W).
        """
        classes = x.shape[1]
        pooling = self.pooling if self.training else self.test_pooling
        tokens, grid = to_class_tokens(x, pooling)  # (B * h * w, T, C)
        missing = max(self.padded_classes - classes, 0)
        # The padding is one token many times, and nobody reads what becomes of it: one stands for all.
        one = min(missing, 1)
        padded = torch.cat([tokens, self.padding_tokens.expand(tokens.shape[0], one, -1)], dim=1)
        text = torch.cat([text, self.padding_guidance.expand(text.shape[0], one, -1)], dim=1)
        normed = self.norm1(padded)  # (B * h * w, T + 1, C)
        both = beside_text(normed, text)
        q, k, v = self.q(both[:, :classes]), self.k(both), self.v(normed)
        tokens = tokens + self.attend(q, k, v, self.heads, max(missing, 1))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return x + from_class_tokens(tokens, grid, x.shape)


def original_layer(
    dim: int,
    *,
    grid: int,
    window: int,
    heads: int,
    pooling: int,
    test_pooling: int,
    attention: str,
    chunk: int,
) -> AggregationLayer:
    """Build a layer of window attention over space and padded attention over classes.

    Args:
        dim: Channels of the cost embedding, of the image guidance and of the text guidance.
        grid: Side of the cost volume in cells.
        window: Side of a window in cells.
        heads: Attention heads of both blocks.
        pooling: Side of the pooled cells of class attention in training.
        test_pooling: The same in evaluation.
        attention: Class attention: "linear" or "full".
        chunk: Number of classes that the block over space processes at a time.

    Returns:
        The layer.

    Raises:
        ConfigError: The window does not divide the grid of the cost volume, or the pooling exceeds it.
    """
    for name, side in (("pooling", pooling), ("test_pooling", test_pooling)):
        if side > grid:
            raise ConfigError(f"{name}={side} exceeds the {grid} x {grid} grid of the cost volume")
    spatial = WindowTransformer(dim, dim, heads, grid, window)
    classes = PaddedClassTransformer(dim, dim, heads, pooling, attention, test_pooling=test_pooling)
    return AggregationLayer(spatial, classes, chunk)


def original_layers(spec: WindowedSpec, grid: int) -> list[AggregationLayer]:
    """Build the layers of a specification.

    Args:
        spec: Options of the model.
        grid: Side of the cost volume in cells.

    Returns:
        `spec.num_layers` layers.

    Raises:
        ConfigError: As `original_layer`.
    """
    return [
        original_layer(
            spec.hidden_dim,
            grid=grid,
            window=spec.window,
            heads=spec.window_heads,
            pooling=spec.pooling,
            test_pooling=spec.test_pooling,
            attention=spec.attention,
            chunk=spec.class_chunk,
        )
        for _ in range(spec.num_layers)
    ]
