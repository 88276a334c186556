"""What image encoders return. Shapes: B image, L token, C and W channel, E embedding, H W grid."""

from dataclasses import dataclass

from torch import Tensor

from rskt_seg.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TappedFeatures:
    """Outputs of some blocks or stages of an encoder.

    Attributes:
        taps: Index -> (B, W, H, W) output of that block, class token dropped.
    """

    taps: dict[int, Tensor]


@dataclass(frozen=True, kw_only=True)
class EncoderFeatures(TappedFeatures):
    """Outputs of some blocks or stages, and the encoder's last map.

    Attributes:
        taps: As in `TappedFeatures`.
        final: (B, C, H, W), the encoder's dense output, not normalised.
    """

    final: Tensor


@dataclass(frozen=True, kw_only=True)
class TracedFeatures(EncoderFeatures):
    """Outputs of a CLIP image tower together with the attention on the way there.

    Attributes:
        taps: As in `TappedFeatures`.
        final: (B, E, H, W), the patch tokens after the final norm and the projection, not normalised.
        attention: Block index -> (B, L, L) float32 with L = H * W in row-major order, the softmax weights of
            each patch (row) on each patch (column), averaged over the heads. The row and the column of the
            class token are cut off and nothing is rescaled, so a row sums to the share that its patch gives
            to patches, less than 1.
    """

    attention: dict[int, Tensor]


def token_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Arrange tokens on their grid, without the class token.

    Args:
        tokens: (B, 1 + H * W, C), class token first, then patches in row-major order.
        grid: (H, W).

    Returns:
        (B, C, H, W).
    """
    return tokens[:, 1:].transpose(1, 2).unflatten(2, grid)


def check_sides(images: Tensor, patch_size: int) -> None:
    """Check that the sides of images are multiples of the patch; the encoder would drop the rest silently.

    Args:
        images: (B, 3, H, W).
        patch_size: Side of a patch in pixels.

    Raises:
        ConfigError: H or W is 0 or no multiple of `patch_size`.
    """
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size or not height or not width:
        raise ConfigError(
            f"images must have sides that are multiples of the patch of {patch_size} px; found {height} x "
            f"{width}: pad or resize them first"
        )
