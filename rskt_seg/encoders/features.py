"""What an image encoder returns."""

from dataclasses import dataclass

from torch import Tensor

from rskt_seg.errors import ConfigError


@dataclass(frozen=True)
class EncoderFeatures:
    """Maps of one batch of images.

    `final` (B, C, H, W): the encoder's dense output, not normalised; None where the encoder stops at
    its last tapped block. `taps`: block index -> (B, W, H, W) output of that block, class token dropped.
    """

    final: Tensor | None
    taps: dict[int, Tensor]


@dataclass(frozen=True)
class TracedFeatures:
    """What a CLIP image tower returns together with the attention on the way there.

    `final` (B, E, H, W): the patch tokens after the final norm and the projection, not normalised. `taps`:
    as in `EncoderFeatures`. `attention`: block index -> (B, L, L) float32 with L = H * W in row-major order,
    the softmax weights of each patch (row) on each patch (column), averaged over the heads. The row and the
    column of the class token are cut off and nothing is rescaled, so a row sums to what its patch leaves
    for patches, less than 1.
    """

    final: Tensor
    taps: dict[int, Tensor]
    attention: dict[int, Tensor]


def token_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, 1 + H * W, C) tokens with the class token first -> (B, C, H, W), row-major."""
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)


def check_sides(images: Tensor, patch_size: int) -> None:
    """Raise `ConfigError` unless H and W of (B, 3, H, W) are multiples of the patch: the rest of an image
    would be cut off unseen."""
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size or not height or not width:
        raise ConfigError(
            f"images must have sides that are multiples of the patch of {patch_size} px; found {height} x "
            f"{width}: pad or resize them first"
        )
