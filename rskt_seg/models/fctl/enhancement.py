"""Alternating local enhancement (ALE, algorithm 1) out of local feature interactions (LFI).

Its inputs are maps on the patch's own grid: the patch's features, and those of the contexts cropped and
resampled (`rskt_seg.models.fctl.geometry.crop_upsample`). Shapes: B patch, C channel, H W grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rskt_seg.models.fctl.context import pointwise
from rskt_seg.models.fctl.spec import FCtLSpec

_ACTIVATIONS = {"none": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
# Rounds of simultaneous updates of everything before the last update, which is of the patch alone.
_ROUNDS = {"a": 0, "b": 1, "c": 0, "d": 1, "e": 2}


def split_evenly(total: int, parts: int) -> list[int]:
    """`total` in `parts` that differ by at most one, larger ones first."""
    share, rest = divmod(total, parts)
    return [share + (i < rest) for i in range(parts)]


class LocalInteraction(nn.Module):
    """LFI (equations 6 and 7): the target, enhanced where a map of its neighbours in the references says.

    Each of `references` is projected to its share of the C channels; consecutive groups of them are
    convolved depthwise, each with its own of `windows`, to the attention map E.
    """

    def __init__(self, width: int, references: int, windows: Sequence[int], activation: str) -> None:
        super().__init__()
        self.target = pointwise(width, width)
        self.references = nn.ModuleList(pointwise(width, part) for part in split_evenly(width, references))
        self.groups = split_evenly(width, len(windows))
        self.windows = nn.ModuleList(
            nn.Conv2d(part, part, side, padding=side // 2, groups=part)
            for part, side in zip(self.groups, windows, strict=True)
        )
        self.activation = _ACTIVATIONS[activation]()
        for layer in self.windows:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, target: Tensor, references: Sequence[Tensor]) -> Tensor:
        """(B, C, H, W) and as many references of this shape -> (B, C, H, W)."""
        return self.enhance(target, self.attention(references))

    def enhance(self, target: Tensor, attention: Tensor) -> Tensor:
        """Equation 7."""
        return target + attention * self.target(target)

    def attention(self, references: Sequence[Tensor]) -> Tensor:
        """E (B, C, H, W) of equation 6."""
        tokens = torch.cat([layer(x) for layer, x in zip(self.references, references, strict=True)], dim=1)
        groups = tokens.split(self.groups, dim=1)
        maps = [layer(group) for layer, group in zip(self.windows, groups, strict=True)]
        return self.activation(torch.cat(maps, dim=1))


class Enhancement(nn.Module):
    """ALE in the structures of figure 13; every interaction has its own weights.

    "a": the patch from one context; "b": both from each other, then the patch again; "c", "d": the same
    with two contexts; "e": one more round of all three before the last.
    """

    def __init__(self, spec: FCtLSpec, width: int) -> None:
        super().__init__()
        self.delta = spec.ale_residual == "delta"
        count = len(spec.enhanced)

        def interaction() -> LocalInteraction:
            return LocalInteraction(width, count, spec.ale_windows, spec.ale_activation)

        self.rounds = nn.ModuleList(
            nn.ModuleList(interaction() for _ in range(count + 1)) for _ in range(_ROUNDS[spec.ale])
        )
        self.last = interaction()

    def forward(self, local: Tensor, contexts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The enhanced patch (B, C, H, W) (less the patch itself for "delta"), and E of its last update."""
        maps = [local, *contexts]
        for interactions in self.rounds:
            # All of one round read what the round before left: algorithm 1, "in the meantime".
            maps = [f(maps[i], maps[:i] + maps[i + 1 :]) for i, f in enumerate(interactions)]
        attention = self.last.attention(maps[1:])
        enhanced = self.last.enhance(maps[0], attention)
        return (enhanced - local if self.delta else enhanced), attention


class Concatenation(nn.Module):
    """The "Concat" row of table 7: patch and contexts concatenated, a 1 x 1 convolution back to C."""

    def __init__(self, width: int, contexts: int) -> None:
        super().__init__()
        self.join = pointwise((contexts + 1) * width, width)

    def forward(self, local: Tensor, contexts: Sequence[Tensor]) -> tuple[Tensor, None]:
        return self.join(torch.cat([local, *contexts], dim=1)), None


def build_enhancement(spec: FCtLSpec, width: int) -> nn.Module | None:
    """The module that `spec.ale` names, or None."""
    if spec.ale == "none":
        return None
    if spec.ale == "concat":
        return Concatenation(width, len(spec.enhanced))
    return Enhancement(spec, width)
