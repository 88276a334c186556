"""Outputs of the weakly supervised model.

Shapes: B image, T foreground class, K class, L token, d adapter width, E embedding, H W pixel, h w cell of
CLIP's grid. Stacks of CAMs have 1 + T channels, the background first.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Evidence:
    """Features and attention that pseudo labels are made from.

    Attributes:
        features: (B, E, L), CLIP's tokens in the embedding space of its texts.
        attention: (B, n, L, L), attention of CLIP's blocks N0 to the last, averaged over the heads, without
            the class token.
        joint: (B, 2 d, L), joint features of equation 10; they carry the gradient.
        affinity: (B, L, L), affinity of equation 11; it carries the gradient.
        grid: (h, w), with L = h w.
    """

    features: Tensor
    attention: Tensor
    joint: Tensor
    affinity: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True)
class PriorOutput:
    """Output of `PriorWSSS`.

    Attributes:
        logits: (B, K, h, w) at CLIP's grid, h = ceil(H / stride).
        evidence: Input of the pseudo labels, if requested.
    """

    logits: Tensor
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Cams:
    """Stages of the CAM, each (B, 1 + T, L) in 0..1; a stage that is switched off repeats the previous one.

    Attributes:
        initial: Cosine of tokens and texts (equation 9).
        refined: After the diffusion of USR (equation 15).
        final: After the comparison with the visual prototypes of VPE (equation 20).
    """

    initial: Tensor
    refined: Tensor
    final: Tensor


@dataclass(frozen=True)
class Stages:
    """Stages from CAMs to pseudo labels.

    Attributes:
        initial: As in `Cams`, but (B, 1 + T, h, w).
        refined: As in `Cams`, but (B, 1 + T, h, w).
        final: As in `Cams`, but (B, 1 + T, h, w).
        labels: (B, H, W) int64 pseudo labels, class ids or 255.
    """

    initial: Tensor
    refined: Tensor
    final: Tensor
    labels: Tensor
