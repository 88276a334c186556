"""Batches of images, and maps at the size of images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError


def stack_images(images: Tensor | Sequence[Tensor]) -> Tensor:
    """Stack images to one tensor.

    Args:
        images: (B, 3, H, W), or a list of (3, H, W), all of one size.

    Returns:
        (B, 3, H, W), of the dtype of the images.

    Raises:
        ConfigError: The images differ in size, have another shape, or there are none.
    """
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
    """Resize maps from the grid of an image to its size, bilinearly (align_corners False).

    Args:
        maps: (B, C, h, w).
        size: (H, W) of the image, at most (h, w) times `stride`.
        stride: Side of a cell in pixels.

    Returns:
        (B, C, H, W); what exceeds the image on the right and at the bottom is cut off.
    """
    full = [cells * stride for cells in maps.shape[2:]]
    maps = F.interpolate(maps, full, mode="bilinear", align_corners=False)
    return maps[..., : size[0], : size[1]]
