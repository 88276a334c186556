"""MiT, the mix transformer encoder of SegFormer (Xie et al. 2021).

Sizes are the paper's (B2, B5). Trained weights of its authors are for non-commercial use. Shapes: B
image, L token, C channel, H W grid.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.features import EncoderFeatures
from rskt_seg.encoders.presets import IMAGENET_PIXEL_MEAN, IMAGENET_PIXEL_STD
from rskt_seg.layers.attention import attend

_EPS = 1e-6  # of the norms in the blocks and after a stage; the others have PyTorch's default


@dataclass(frozen=True)
class MitPreset:
    """Sizes of a MiT, four stages each.

    Attributes:
        widths: Channels of each stage.
        depths: Blocks of each stage.
        heads: Attention heads of each stage.
        reductions: Stride of the keys and values of each stage.
        drop_path: Probability that training skips a branch of the last block, growing from 0 linearly.
        decoder_width: Channels of SegFormer's decoder for this encoder.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    drop_path: float = 0.1
    decoder_width: int = 768


MIT_PRESETS: dict[str, MitPreset] = {
    "mitb2": MitPreset((64, 128, 320, 512), (3, 4, 6, 3)),
    "mitb5": MitPreset((64, 128, 320, 512), (3, 6, 40, 3)),
    "mit_tiny": MitPreset((8, 16, 24, 32), (1, 1, 1, 1), (1, 2, 3, 4), drop_path=0.0, decoder_width=32),
}


class ReducedAttention(nn.Module):
    """Self-attention whose keys and values come from a grid coarsened by a strided convolution."""

    def __init__(self, width: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)
        self.reduce = nn.Conv2d(width, width, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(width) if reduction > 1 else None

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Attend from every token to the coarse grid.

        Args:
            x: Tokens (B, H * W, C) in row-major order.
            grid: (H, W).

        Returns:
            (B, H * W, C).
        """
        source = x
        if self.reduce is not None and self.norm is not None:
            reduced = self.reduce(x.transpose(1, 2).unflatten(2, grid))
            source = self.norm(reduced.flatten(2).transpose(1, 2))
        return self.proj(attend(self.q(x), self.k(source), self.v(source), self.heads))


class MixFFN(nn.Module):
    """Linear, 3 x 3 depthwise convolution, GELU, linear: the convolution carries the position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.dwconv = nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Transform every token with its neighbours.

        Args:
            x: Tokens (B, H * W, C) in row-major order.
            grid: (H, W).

        Returns:
            (B, H * W, C).
        """
        x = self.fc1(x).transpose(1, 2).unflatten(2, grid)
        return self.fc2(F.gelu(self.dwconv(x).flatten(2).transpose(1, 2)))


class MixBlock(nn.Module):
    """Pre-norm block; in training either branch is left out for an image with probability `drop_path`."""

    def __init__(self, width: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = ReducedAttention(width, heads, reduction)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = MixFFN(width)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Attend and transform.

        Args:
            x: Tokens (B, H * W, C) in row-major order.
            grid: (H, W).

        Returns:
            (B, H * W, C).
        """
        x = x + self._drop(self.attn(self.norm1(x), grid))
        return x + self._drop(self.mlp(self.norm2(x), grid))

    def _drop(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.drop_path
        return x * kept / (1 - self.drop_path)


class Stage(nn.Module):
    """Overlapping patch embedding, blocks, a norm."""

    def __init__(self, before: int, preset: MitPreset, index: int, drop_paths: list[float]) -> None:
        super().__init__()
        width = preset.widths[index]
        kernel, stride = (7, 4) if index == 0 else (3, 2)
        self.proj = nn.Conv2d(before, width, kernel, stride, kernel // 2)
        self.proj_norm = nn.LayerNorm(width)
        heads, reduction = preset.heads[index], preset.reductions[index]
        self.blocks = nn.ModuleList(MixBlock(width, heads, reduction, p) for p in drop_paths)
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Coarsen and refine a map.

        Args:
            x: (B, C, H, W).

        Returns:
            (B, C', H', W') at a quarter (first stage) or half of the sides, rounded up.
        """
        x = self.proj(x)
        grid = (x.shape[2], x.shape[3])
        x = self.proj_norm(x.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x, grid)
        return self.norm(x).transpose(1, 2).unflatten(2, grid)


class MiT(nn.Module):
    """The four stages of SegFormer's encoder.

    Cell i of the final map is centred at the continuous input pixel `stride * i + offset`.
    """

    stride = 32
    offset = 0.5
    pixel_mean = IMAGENET_PIXEL_MEAN
    pixel_std = IMAGENET_PIXEL_STD

    def __init__(self, preset: MitPreset) -> None:
        super().__init__()
        self.widths = preset.widths
        total = sum(preset.depths)
        rates = [preset.drop_path * i / max(total - 1, 1) for i in range(total)]
        starts = [sum(preset.depths[:i]) for i in range(5)]
        self.stages = nn.ModuleList(
            Stage((3, *preset.widths)[i], preset, i, rates[starts[i] : starts[i + 1]]) for i in range(4)
        )
        self.apply(_initialise)

    def forward(self, images: Tensor) -> EncoderFeatures:
        """Run the four stages.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            `final`: stage 4, (B, 512, H / 32, W / 32). `taps` {1, 2, 3}: the stages at 1/4, 1/8 and 1/16 of
            the sides, which are rounded up (508 -> 127, 64, 32, 16).
        """
        maps: dict[int, Tensor] = {}
        x = images
        for number, stage in enumerate(self.stages, start=1):
            x = maps[number] = stage(x)
        return EncoderFeatures(final=maps.pop(4), taps=maps)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2.0 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
