"""From CAMs to pseudo labels: for each pixel, the channel that wins after pixel-adaptive refinement.

Shapes: B image, T foreground class, H W pixels, h w grid of the CAMs. Labels are channels of the stack
(0 background, 1..T foreground classes) or the ignore value; the caller maps them to class ids.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.models.wsss.par import ParOptions, refine_pixels


@torch.no_grad()
def complement_labels(
    images: Tensor,
    cams: Tensor,
    present: Tensor,
    *,
    par: ParOptions,
    valid: Tensor | None = None,
    background: bool = True,
    ignore_value: int = 255,
) -> Tensor:
    """Label every pixel by the largest map among the background's and those of the labeled classes.

    An image without any labeled class becomes all background, or all ignored if there is no background.

    Args:
        images: (B, 3, H, W), values of any range.
        cams: (B, 1 + T, h, w), resized to the images bilinearly.
        present: (B, T) bool, the image-level labels; best on the CPU, where they are read.
        par: Options of the refinement.
        valid: (B, H, W) bool, False where the image is padding and the label ignored.
        background: False: channel 0 is no class.
        ignore_value: Label of ignored pixels.

    Returns:
        (B, H, W) int64.
    """

    def label_image(image: Tensor, cam: Tensor, foreground: list[int]) -> Tensor:
        """Return the labels (H, W) of an image that contains the channels `foreground`."""
        channels = [0, *foreground] if background else foreground
        maps = _resize(_channels(cam, channels), image.shape[1:])
        return _best_channel(refine_pixels(image, maps, **asdict(par)), channels)

    labels = _label_images(label_image, images, cams, present, 0 if background else ignore_value)
    return labels if valid is None else labels.where(valid, ignore_value)


@torch.no_grad()
def dual_threshold_labels(
    images: Tensor,
    cams: Tensor,
    present: Tensor,
    *,
    par: ParOptions,
    high: float,
    low: float,
    down: int = 2,
    valid: Tensor | None = None,
    background: bool = True,
    ignore_value: int = 255,
) -> Tensor:
    """Label classes above `high` and background below `low`, ignore the rest (the scheme of AFA and CTFA).

    Each threshold replaces the background by a constant map; softmax and PAR run at 1 / `down` of the image
    size. Without a background, everything below `high` is ignored and `low` has no effect.

    Args:
        images: As in `complement_labels`.
        cams: As in `complement_labels`; channel 0 is not read.
        present: As in `complement_labels`.
        par: Options of the refinement.
        high: Background score that a class must exceed to be labeled.
        low: Background score below which every class must stay for the label background.
        down: Divisor of the image size for the refinement.
        valid: As in `complement_labels`.
        background: As in `complement_labels`.
        ignore_value: Label of ignored pixels.

    Returns:
        (B, H, W) int64.
    """
    thresholds = (high, low) if background else (high,)

    def label_image(image: Tensor, cam: Tensor, foreground: list[int]) -> Tensor:
        """Return the labels (H, W) of an image that contains the channels `foreground`."""
        size = image.shape[1:]
        small = [max(1, side // down) for side in size]
        maps = _resize(_channels(cam, foreground), size)
        stacks = [torch.cat([torch.full_like(maps[:1], level), maps]) for level in thresholds]
        # The stacks share the weights of the image, so all are refined in one call.
        shares = torch.cat([_resize(stack, small).softmax(dim=0) for stack in stacks])
        refined = _resize(refine_pixels(_resize(image, small), shares, **asdict(par)), size)
        above_high, *above_low = (
            _best_channel(stack, [0, *foreground]) for stack in refined.chunk(len(stacks))
        )
        ignored = torch.full_like(above_high, ignore_value)
        rest = ignored.where(above_low[0] > 0, 0) if above_low else ignored
        return above_high.where(above_high > 0, rest)

    labels = _label_images(label_image, images, cams, present, 0 if background else ignore_value)
    return labels if valid is None else labels.where(valid, ignore_value)


def _label_images(
    label_image: Callable[[Tensor, Tensor, list[int]], Tensor],
    images: Tensor,
    cams: Tensor,
    present: Tensor,
    default: int,
) -> Tensor:
    """Return the labels (B, H, W) that `label_image` gives each image; `default` if no class is present."""
    labels = torch.full_like(images[:, 0], default, dtype=torch.int64)
    for label, image, cam, row in zip(labels, images, cams, present.cpu().tolist(), strict=True):
        foreground = [1 + t for t, is_present in enumerate(row) if is_present]
        if foreground:
            label.copy_(label_image(image, cam, foreground))
    return labels


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps[None].float(), tuple(size), mode="bilinear", align_corners=False)[0]


def _best_channel(maps: Tensor, channels: list[int]) -> Tensor:
    """Return the channel (H, W) int64 of the largest map, of ascending channels; ties go to the first."""
    numbers = torch.arange(channels[-1] + 1, device=maps.device)
    return _channels(numbers, channels)[maps.argmax(dim=0)]


def _channels(maps: Tensor, channels: list[int]) -> Tensor:
    """Return some of the channels; an index that is a list would be copied to the device of the maps."""
    return torch.stack([maps[channel] for channel in channels])
