"""From images to the normalised squares that the encoders take."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError

_DIVISOR = 32  # the published code pads each image to a multiple of this


def prepare(
    images: Tensor | Sequence[Tensor], mean: Tensor, std: Tensor, sides: dict[str, int], padding: str
) -> dict[str, Tensor]:
    """Normalise, pad and resize images to a square for every encoder; the aspect ratio is not kept.

    Args:
        images: RGB in 0..255, (B, 3, H, W), or a sequence of (3, H, W) of any sizes.
        mean: Mean colour (3, 1, 1), of the dtype and on the device of the result.
        std: Standard deviation of the colours (3, 1, 1).
        sides: Name of an encoder -> side of its square in pixels.
        padding: "published": each normalised image is padded with zeros at the right and bottom to a multiple
            of 32, and resized with its padding, bilinearly without antialiasing. "aligned": no padding, and
            antialiasing where the image shrinks, so that every cell of the output lies where its pixels are.

    Returns:
        Name of an encoder -> (B, 3, side, side).

    Raises:
        ConfigError: `padding` is another name, an image has another shape, or there are none.
    """
    if padding not in ("published", "aligned"):
        raise ConfigError(f"padding must be 'published' or 'aligned'; found {padding!r}")
    batches = [images] if isinstance(images, Tensor) else [image[None] for image in images]
    if not batches or any(batch.ndim != 4 or batch.shape[1] != 3 or 0 in batch.shape for batch in batches):
        shapes = [tuple(batch.shape) for batch in batches]
        raise ConfigError(f"images must be (B, 3, H, W) or a list of (3, H, W), not empty; found {shapes}")
    squares: dict[str, list[Tensor]] = {name: [] for name in sides}
    for batch in batches:
        # Computed in float32; the squares take the model's precision at the end.
        batch = (batch.to(mean.device, torch.float32) - mean.float()) / std.float()
        if padding == "published":
            batch = F.pad(batch, (0, -batch.shape[3] % _DIVISOR, 0, -batch.shape[2] % _DIVISOR))
        for name, side in sides.items():
            square = F.interpolate(
                batch,
                size=(side, side),
                mode="bilinear",
                align_corners=False,
                antialias=padding == "aligned",
            )
            squares[name].append(square)
    return {name: torch.cat(parts).to(mean.dtype) for name, parts in squares.items()}
