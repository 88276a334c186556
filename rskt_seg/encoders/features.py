"""What an image encoder returns."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class EncoderFeatures:
    """Maps of one batch of images.

    `final` (B, C, H, W): the encoder's dense output, not normalised; None where the encoder stops at
    its last tapped block. `taps`: block index -> (B, W, H, W) output of that block, class token dropped.
    """

    final: Tensor | None
    taps: dict[int, Tensor]


def token_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, 1 + H * W, C) tokens with the class token first -> (B, C, H, W), row-major."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
