"""DINOv2 vision transformer (Oquab et al. 2023) without register tokens.

Key names are those of Meta's files and of timm's `vit_*_patch14_dinov2`, without the mask token of
pretraining.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from rskt_seg.encoders.dino import DinoBlock, PatchEmbed
from rskt_seg.encoders.features import check_sides, token_map
from rskt_seg.encoders.presets import DinoV2Preset
from rskt_seg.errors import ConfigError
from rskt_seg.layers.position import rescale_to_grid, resize_to_grid

_EPS = 1e-6  # of every LayerNorm, as in DINO
_POSITIONS: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {
    "hub": rescale_to_grid,
    "timm": partial(resize_to_grid, antialias=True),
}


class LayerScale(nn.Module):
    """A learned factor per channel. It starts at 1, so that untrained branches have an effect."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels, (B, L, C) -> (B, L, C)."""
        return x * self.gamma


class DinoV2Block(DinoBlock):
    """DINO's block with each branch scaled."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.ls1 = LayerScale(width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend and transform, (B, L, C) -> (B, L, C)."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DinoV2(nn.Module):
    """DINOv2 encoder that returns the patch tokens of its last block."""

    def __init__(self, preset: DinoV2Preset, positions: str = "hub") -> None:
        """Build the encoder with random weights.

        Args:
            preset: Sizes of the transformer.
            positions: How the position table is resized to another grid than the native one: "hub" as in
                Meta's code (bicubic without antialiasing, by the scale (grid + 0.1) / native grid), "timm" as
                in timm (bicubic with antialiasing, to the size).

        Raises:
            ConfigError: `positions` is another name.
        """
        super().__init__()
        if positions not in _POSITIONS:
            raise ConfigError(f"positions must be one of {', '.join(_POSITIONS)}; found {positions!r}")
        width = preset.width
        self.patch_size = preset.patch_size
        self.positions = positions
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + preset.native_grid**2, width))
        self.patch_embed = PatchEmbed(preset.patch_size, width)
        self.blocks = nn.ModuleList(DinoV2Block(width, preset.heads) for _ in range(preset.layers))
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, images: Tensor) -> Tensor:
        """Run all blocks and the final norm.

        Args:
            images: RGB (B, 3, H, W), normalised by ImageNet's statistics; sides are multiples of the patch.

        Returns:
            The patch tokens as a map (B, C, H / patch, W / patch).

        Raises:
            ConfigError: A side is no multiple of the patch.
        """
        check_sides(images, self.patch_size)
        patches = self.patch_embed(images)
        grid = (int(patches.shape[2]), int(patches.shape[3]))
        tokens = patches.flatten(2).transpose(1, 2)  # (B, H * W, C)
        tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = tokens + _POSITIONS[self.positions](self.pos_embed[0], grid)
        for block in self.blocks:
            tokens = block(tokens)
        return token_map(self.norm(tokens), grid)
