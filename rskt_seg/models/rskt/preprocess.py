"""From images to the normalised squares that the encoders see."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError

_DIVISOR = 32  # the published code pads each image to a multiple of this


def prepare(
    images: Tensor | Sequence[Tensor], mean: Tensor, std: Tensor, sides: dict[str, int], padding: str
) -> dict[str, Tensor]:
    """Normalise, pad and resize: name -> (B, 3, side, side) float.

    "published": after normalisation each image is padded with zeros at the right and bottom to a
    multiple of 32, then resized bilinearly without antialiasing, aspect ratio not kept; the padding is
    squeezed into the square with the image. "aligned": no padding, and antialiasing where the image
    shrinks, so that every output cell lies where its pixels were.

    Args: images RGB 0..255, (B, 3, H, W) or a sequence of (3, H, W); mean, std (3, 1, 1).
    """
    if padding not in ("published", "aligned"):
        raise ConfigError(f"padding must be 'published' or 'aligned'; found {padding!r}")
    batches = [images] if isinstance(images, Tensor) else [image[None] for image in images]
    if not batches or any(batch.ndim != 4 or batch.shape[1] != 3 or 0 in batch.shape for batch in batches):
        shapes = [tuple(batch.shape) for batch in batches]
        raise ConfigError(f"images must be (B, 3, H, W) or a list of (3, H, W), not empty; found {shapes}")
    squares: dict[str, list[Tensor]] = {name: [] for name in sides}
    for batch in batches:
        # In float32 whatever the model's precision, which the squares take at the end.
        batch = (batch.to(mean.device, torch.float32) - mean.float()) / std.float()
        if padding == "published":
            batch = F.pad(batch, (0, -batch.shape[3] % _DIVISOR, 0, -batch.shape[2] % _DIVISOR))
        for name, side in sides.items():
            squares[name].append(_resize(batch, side, antialias=padding == "aligned"))
    return {name: torch.cat(parts).to(mean.dtype) for name, parts in squares.items()}


def _resize(batch: Tensor, side: int, antialias: bool) -> Tensor:
    return F.interpolate(batch, size=(side, side), mode="bilinear", align_corners=False, antialias=antialias)
