"""The trained parts: adapters of the frozen features, and the decoder (equations 5 to 8).

Shapes: B image, K class, L token, C channel of an encoder, d adapter width, h w grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.clip_blocks import QuickGELU
from rskt_seg.encoders.dino import FusedAttention

_MLP_RATIO = 4


class LevelAdapter(nn.Module):
    """Two linear layers with ReLU between, applied token by token (equation 5)."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, dim)
        self.fc2 = nn.Linear(dim, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, d, h, w)."""
        tokens = features.movedim(1, -1)
        return self.fc2(F.relu(self.fc1(tokens))).movedim(-1, 1)


class Adapter(nn.Module):
    """The levels of one frozen encoder, each adapted on its own, then fused by a 1 x 1 convolution (eq. 6).

    Args:
        levels: Number of levels.
        width: Channels C of every level.
        dim: Channels d of the result.
    """

    def __init__(self, levels: int, width: int, dim: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(LevelAdapter(width, dim) for _ in range(levels))
        self.fuse = nn.Conv2d(levels * dim, dim, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map one (B, C, h, w) per level to (B, d, h, w)."""
        adapted = [level(x) for level, x in zip(self.levels, features, strict=True)]
        return self.fuse(torch.cat(adapted, dim=1))


class DecoderMlp(nn.Module):
    """Linear, QuickGELU, linear."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, _MLP_RATIO * dim)
        self.act = QuickGELU()
        self.fc2 = nn.Linear(_MLP_RATIO * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, d) to (B, L, d)."""
        return self.fc2(self.act(self.fc1(x)))


class DecoderBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = FusedAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = DecoderMlp(dim)
        # As in torch's own multi-head attention, which the codes that the method builds on use.
        nn.init.xavier_uniform_(self.attn.qkv.weight)
        nn.init.zeros_(self.attn.qkv.bias)
        nn.init.zeros_(self.attn.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, d) to (B, L, d)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    """Transformer blocks without positional embeddings, then a logit for each class (equations 7 and 8)."""

    def __init__(self, dim: int, layers: int, heads: int, num_classes: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DecoderBlock(dim, heads) for _ in range(layers))
        self.classifier = nn.Conv2d(dim, num_classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, d, h, w) to logits (B, K, h, w)."""
        tokens = features.flatten(2).transpose(1, 2)  # (B, L, d)
        for block in self.blocks:
            tokens = block(tokens)
        return self.classifier(tokens.transpose(1, 2).unflatten(2, features.shape[2:]))
