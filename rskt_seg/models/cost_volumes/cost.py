"""Cosine cost volumes of rotated CLIP features and of DINO features, fused to an embedding.

RS-CMA of RSKT-Seg, whose equations are cited; CAT-Seg, OVRS and GSNet are cases of it.

Shapes: B image, R rotation, P prompt, T class, C channel of the embedding, E text channel, H W grid.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.clip import VisionTower


def rotated_features(
    tower: VisionTower, images: Tensor, rotations: int, taps: tuple[int, ...]
) -> tuple[Tensor, dict[int, Tensor]]:
    """Encode images rotated by 0, 90, ... degrees in one batch, and rotate the features back.

    Args:
        tower: CLIP's image tower.
        images: (B, 3, S, S), normalised.
        rotations: Number of rotations R.
        taps: Indices (0-based) of blocks before the last one.

    Returns:
        Dense features (R, B, E, H, W), entry r those of the images rotated by r quarter turns, upright again;
        and the outputs of the blocks in `taps` for the unrotated images, block -> (B, W, H, W).
    """
    rotated = torch.cat([torch.rot90(images, r, dims=(2, 3)) for r in range(rotations)])  # (R * B, 3, S, S)
    features = tower.dense(rotated, taps, tapped=images.shape[0])
    turned = features.final.unflatten(0, (rotations, -1))
    upright = [torch.rot90(f, -r, dims=(2, 3)) for r, f in enumerate(turned)]
    return torch.stack(upright), features.taps


def cosine_cost(features: Tensor, text: Tensor) -> Tensor:
    """Compute the cosine of every pixel with every prompt (equations 1 and 2), without temperature.

    Args:
        features: (B, E, H, W).
        text: (T, P, E).

    Returns:
        (B, T, P, H, W) in -1..1.
    """
    pixels = F.normalize(features, dim=1)
    return torch.einsum("behw,tpe->btphw", pixels, F.normalize(text, dim=-1))


def rotated_cost(features: Tensor, text: Tensor) -> Tensor:
    """Concatenate the cost volumes of all rotations.

    Args:
        features: (R, B, E, H, W).
        text: (T, P, E).

    Returns:
        (B, T, R * P, H, W) in -1..1, prompts of the first rotation first.
    """
    return torch.cat([cosine_cost(rotation, text) for rotation in features], dim=2)


def per_class(function: Callable[..., Tensor], chunk: int, *volumes: Tensor) -> Tensor:
    """Apply a function that treats classes independently to a few classes at a time.

    This bounds the memory of its intermediates without changing a value.

    Args:
        function: Takes one (B * t, ...) tensor for each volume and returns one.
        chunk: Greatest number of classes t of a call.
        volumes: (B, T, ...) each.

    Returns:
        (B, T, ...).
    """
    parts = []
    for slices in zip(*(volume.split(chunk, dim=1) for volume in volumes), strict=True):
        folded = function(*(part.flatten(0, 1) for part in slices))
        parts.append(folded.unflatten(0, slices[0].shape[:2]))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class SeparateFusion(nn.Module):
    """f + a, where a and d embed the two cost volumes and f embeds a and d: the published form.

    Each embedding is a 7x7 convolution followed by a sigmoid.
    """

    def __init__(self, clip_maps: int, dino_maps: int, dim: int) -> None:
        super().__init__()
        self.clip = _conv7(clip_maps, dim)
        self.dino = _conv7(dino_maps, dim)
        self.both = _conv7(2 * dim, dim)

    def forward(self, clip: Tensor, dino: Tensor) -> Tensor:
        """Embed the cost maps.

        Args:
            clip: Cost maps (N, R * P, H, W) of CLIP.
            dino: Cost maps (N, P, H, W) of DINO.

        Returns:
            (N, C, H, W).
        """
        a, d = self.clip(clip).sigmoid(), self.dino(dino).sigmoid()
        return self.both(torch.cat([a, d], dim=1)).sigmoid() + a


class ConcatFusion(nn.Module):
    """One 7x7 convolution over all cost maps side by side."""

    def __init__(self, clip_maps: int, dino_maps: int, dim: int) -> None:
        super().__init__()
        self.clip = _conv7(clip_maps + dino_maps, dim)

    def forward(self, *maps: Tensor) -> Tensor:
        """Embed cost maps (N, R * P, H, W) and, with DINO, (N, P, H, W) as (N, C, H, W)."""
        return self.clip(torch.cat(maps, dim=1))


class MeanFusion(nn.Module):
    """One 7x7 convolution over the mean of all cost maps."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.clip = _conv7(1, dim)

    def forward(self, clip: Tensor, dino: Tensor) -> Tensor:
        """Embed the cost maps.

        Args:
            clip: Cost maps (N, R * P, H, W) of CLIP.
            dino: Cost maps (N, P, H, W) of DINO.

        Returns:
            (N, C, H, W).
        """
        return self.clip(torch.cat([clip, dino], dim=1).mean(dim=1, keepdim=True))


def _conv7(inputs: int, dim: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, dim, 7, padding=3)


class CostEmbedding(nn.Module):
    """Fused cost volume (equation 3), with the paper's linear projection behind it as an option."""

    def __init__(self, fusion: nn.Module, chunk: int, projection: nn.Module | None = None) -> None:
        super().__init__()
        self.fusion, self.chunk = fusion, chunk
        self.projection = nn.Identity() if projection is None else projection

    def forward(self, *costs: Tensor) -> Tensor:
        """Embed cost volumes clip (B, T, R * P, H, W) and, with DINO, dino (B, T, P, H, W).

        Returns:
            (B, T, C, H, W).
        """
        return per_class(lambda *maps: self.projection(self.fusion(*maps)), self.chunk, *costs)
