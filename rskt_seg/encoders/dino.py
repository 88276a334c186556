"""DINO (v1) vision transformer (Caron et al. 2021), as RS-DINO uses it; standard DINO key names."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rskt_seg.encoders.features import TappedFeatures, token_map
from rskt_seg.encoders.presets import DinoPreset
from rskt_seg.layers.attention import attend
from rskt_seg.layers.inference_form import FormBuilder, HasInferenceForm
from rskt_seg.layers.position import rescale_to_grid

_EPS = 1e-6  # DINO's LayerNorm epsilon; PyTorch's default of 1e-5 moves the logits visibly


class FusedAttention(HasInferenceForm):
    """Multi-head self-attention with one packed `qkv` projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from every token to every token, (B, L, C) -> (B, L, C)."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.proj(attend(q, k, v, self.heads))

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`."""
        qkv = builder.linear(self.qkv.weight, self.qkv.bias)
        return builder.copy(self, qkv=qkv, proj=builder.linear(self.proj.weight, self.proj.bias))


class Mlp(HasInferenceForm):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform every token, (B, L, C) -> (B, L, C)."""
        return self.fc2(self.act(self.fc1(x)))

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`."""
        fc1, fc2 = self.fc1, self.fc2
        return nn.Sequential(
            builder.linear(fc1.weight, fc1.bias, "gelu"), builder.linear(fc2.weight, fc2.bias)
        )


class DinoBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = FusedAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend and transform, (B, L, C) -> (B, L, C)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Patch projection under DINO's key `patch_embed.proj`."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Project every patch, (B, 3, S, S) -> (B, C, H, W)."""
        return self.proj(images)


class DINO(nn.Module):
    """DINO vision transformer that returns intermediate maps."""

    def __init__(self, preset: DinoPreset) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, preset.width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + preset.native_grid**2, preset.width))
        self.patch_embed = PatchEmbed(preset.patch_size, preset.width)
        self.blocks = nn.ModuleList(DinoBlock(preset.width, preset.heads) for _ in range(preset.layers))
        self.norm = nn.LayerNorm(preset.width, eps=_EPS)

    def forward(self, images: Tensor, taps: Sequence[int]) -> TappedFeatures:
        """Run the blocks up to the last tapped one.

        Args:
            images: (B, 3, S, S), normalised.
            taps: Indices (0-based) of the blocks whose outputs are returned.

        Returns:
            The outputs of the blocks in `taps`, (B, C, H, W) each, after the final norm, as in the published
            code.
        """
        patches = self.patch_embed(images)
        grid = (int(patches.shape[2]), int(patches.shape[3]))
        tokens = patches.flatten(2).transpose(1, 2)  # (B, H * W, C)
        tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = tokens + rescale_to_grid(self.pos_embed[0], grid)
        maps: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks[: max(taps) + 1]):
            tokens = block(tokens)
            if index in taps:
                maps[index] = token_map(self.norm(tokens), grid)
        return TappedFeatures(taps=maps)
