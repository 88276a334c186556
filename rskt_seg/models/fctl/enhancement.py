"""Alternating local enhancement (ALE, algorithm 1), built from local feature interactions (LFI).

All inputs are maps on the patch's own grid: the features of the patch, and those of the contexts, cropped and
resampled (`rskt_seg.models.fctl.geometry.crop_upsample`). Shapes: B patch, C channel, H W grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rskt_seg.models.fctl.context import pointwise
from rskt_seg.models.fctl.spec import FCtLSpec

_ACTIVATIONS = {"none": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
# Rounds that update all maps at once, before the last update, which changes the patch alone.
_ROUNDS = {"a": 0, "b": 1, "c": 0, "d": 1, "e": 2}


def split_evenly(total: int, parts: int) -> list[int]:
    """Split a number into sizes that differ by at most one, larger ones first.

    Args:
        total: The sum of the sizes.
        parts: Number of sizes.

    Returns:
        The sizes.
    """
    share, rest = divmod(total, parts)
    return [share + (i < rest) for i in range(parts)]


class LocalInteraction(nn.Module):
    """LFI (equations 6 and 7): the target, enhanced by an attention map of its references.

    Each reference is projected to its share of the C channels. The channels are then split into one group
    per window side and convolved depthwise, which gives the attention map E.

    Args:
        width: Channels C.
        references: Number of reference maps.
        windows: Side of the depthwise convolution of each group, odd.
        activation: Function applied to E: "none", "sigmoid" or "tanh".
    """

    def __init__(self, width: int, references: int, windows: Sequence[int], activation: str) -> None:
        super().__init__()
        self.target = pointwise(width, width)
        self.references = nn.ModuleList(pointwise(width, part) for part in split_evenly(width, references))
        self.groups = split_evenly(width, len(windows))
        depthwise = [
            nn.Conv2d(part, part, side, padding=side // 2, groups=part)
            for part, side in zip(self.groups, windows, strict=True)
        ]
        self.windows = nn.ModuleList(depthwise)
        self.activation = _ACTIVATIONS[activation]()
        for layer in depthwise:
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, target: Tensor, references: Sequence[Tensor]) -> Tensor:
        """Enhance the target by references.

        Args:
            target: (B, C, H, W).
            references: Maps of the shape of the target.

        Returns:
            (B, C, H, W).
        """
        return self.enhance(target, self.attention(references))

    def enhance(self, target: Tensor, attention: Tensor) -> Tensor:
        """Apply an attention map to the target (equation 7).

        Args:
            target: (B, C, H, W).
            attention: The attention map E (B, C, H, W).

        Returns:
            (B, C, H, W).
        """
        return target + attention * self.target(target)

    def attention(self, references: Sequence[Tensor]) -> Tensor:
        """Return the attention map E (B, C, H, W) of the references (equation 6)."""
        tokens = torch.cat([layer(x) for layer, x in zip(self.references, references, strict=True)], dim=1)
        groups = tokens.split(self.groups, dim=1)
        maps = [layer(group) for layer, group in zip(self.windows, groups, strict=True)]
        return self.activation(torch.cat(maps, dim=1))


class SimultaneousRound(nn.ModuleList):
    """One round of algorithm 1, with one interaction per map: all maps are updated at once.

    Every interaction reads the maps as the round before left them ("in the meantime").
    """

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return each map (B, C, H, W), enhanced by all the others."""
        return [interact(maps[i], maps[:i] + maps[i + 1 :]) for i, interact in enumerate(self)]


class Enhancement(nn.Module):
    """ALE in the structures of figure 13; every interaction has its own weights.

    "a": the patch from one context; "b": both from each other, then the patch again; "c", "d": the same
    with two contexts; "e": one more round of all three before the last update.
    """

    def __init__(self, spec: FCtLSpec, width: int) -> None:
        super().__init__()
        self.delta = spec.ale_residual == "delta"
        count = len(spec.enhanced)

        def interaction() -> LocalInteraction:
            return LocalInteraction(width, count, spec.ale_windows, spec.ale_activation)

        self.rounds = nn.ModuleList(
            SimultaneousRound(interaction() for _ in range(count + 1)) for _ in range(_ROUNDS[spec.ale])
        )
        self.last = interaction()

    def forward(self, local: Tensor, contexts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Enhance the patch by its contexts.

        Args:
            local: (B, C, H, W), features of the patch.
            contexts: One map (B, C, H, W) for each context in `spec.enhanced`.

        Returns:
            The enhanced patch (B, C, H, W), minus the patch itself for `ale_residual="delta"`, and the
            attention map E (B, C, H, W) of the last update.
        """
        maps = [local, *contexts]
        for update in self.rounds:
            maps = update(maps)
        attention = self.last.attention(maps[1:])
        enhanced = self.last.enhance(maps[0], attention)
        return (enhanced - local if self.delta else enhanced), attention


class Concatenation(nn.Module):
    """The "Concat" row of table 7: patch and contexts concatenated, a 1 x 1 convolution back to C."""

    def __init__(self, width: int, contexts: int) -> None:
        super().__init__()
        self.join = pointwise((contexts + 1) * width, width)

    def forward(self, local: Tensor, contexts: Sequence[Tensor]) -> tuple[Tensor, None]:
        """Fuse the patch and its contexts.

        Args:
            local: (B, C, H, W), features of the patch.
            contexts: One map (B, C, H, W) for each context in `spec.enhanced`.

        Returns:
            The fused features (B, C, H, W), and None in place of an attention map.
        """
        return self.join(torch.cat([local, *contexts], dim=1)), None


def build_enhancement(spec: FCtLSpec, width: int) -> Enhancement | Concatenation | None:
    """Build the module that `spec.ale` names.

    Args:
        spec: Options of the model.
        width: Channels of the maps.

    Returns:
        The module; None for "none".
    """
    if spec.ale == "none":
        return None
    if spec.ale == "concat":
        return Concatenation(width, len(spec.enhanced))
    return Enhancement(spec, width)
