"""Batches of images, as models are given them, and the maps that they are answered by."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError


def stack_images(images: Tensor | Sequence[Tensor]) -> Tensor:
    """Images (B, 3, H, W), or a list of (3, H, W) of one size, as one tensor. Raises `ConfigError`."""
    if not isinstance(images, Tensor):
        sizes = {tuple(image.shape) for image in images}
        if len(sizes) > 1:
            raise ConfigError(
                f"the images of a batch must have one size; found {sorted(sizes)}: crop or pad them, or call "
                "the model for each"
            )
        images = torch.stack(list(images)) if sizes else torch.empty(0)
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ConfigError(
            f"images must be (B, 3, H, W) or a list of (3, H, W), not empty; found {tuple(images.shape)}"
        )
    return images


def enlarge(maps: Tensor, size: Sequence[int], stride: int) -> Tensor:
    """Maps (B, C, h, w) on the grid of an image -> (B, C, H, W) at its `size`.

    Bilinear (align_corners False): cells become stride x stride px, and what hangs over the image is cut off.
    """
    full = [cells * stride for cells in maps.shape[2:]]
    maps = F.interpolate(maps, full, mode="bilinear", align_corners=False)
    return maps[..., : size[0], : size[1]]
