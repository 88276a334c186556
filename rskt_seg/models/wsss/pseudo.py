"""From CAMs to pseudo labels: per pixel, the channel that wins after pixel-adaptive refinement.

Shapes: B image, T foreground class, H W pixels, h w grid of the CAMs. Labels are channels of the stack
(0 background, 1..T foreground classes) or the ignore value; mapping them to dataset ids is the caller's.
"""

from collections.abc import Callable
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
    """The winner among the labelled classes and the background, which is a map of its own.

    An image without any labelled class is all background, or all ignored where there is none.

    Args: images (B, 3, H, W), values of any range; cams (B, 1 + T, h, w), resized to the images
    bilinearly; present (B, T) bool; valid (B, H, W) bool, False where the image is padding and the label
    ignored; `background` False: channel 0 is no class. Returns (B, H, W) int64.
    """

    def winner(image: Tensor, cam: Tensor, foreground: list[int]) -> Tensor:
        """The labels (H, W) of an image that shows the channels `foreground`."""
        channels = [0, *foreground] if background else foreground
        maps = _resized(cam[channels], image.shape[1:])
        return _best(_refined(image, maps, par), channels)

    labels = _each(winner, images, cams, present, 0 if background else ignore_value)
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
    """Classes above `high`, background below `low`, in between ignored (the scheme of AFA and CTFA).

    Each threshold stands for the background as a constant map; softmax and PAR run at 1 / `down` of the
    image size. Without a background, everything below `high` is ignored and `low` has no part.
    Arguments and result as in `complement_labels`.
    """
    thresholds = (high, low) if background else (high,)

    def winner(image: Tensor, cam: Tensor, foreground: list[int]) -> Tensor:
        """The labels (H, W) of an image that shows the channels `foreground`, ignored between the levels."""
        size = image.shape[1:]
        small = [max(1, side // down) for side in size]
        maps = _resized(cam[foreground], size)
        stacks = [torch.cat([torch.full_like(maps[:1], level), maps]) for level in thresholds]
        # All stacks in one go, since they share the image's weights.
        shares = torch.cat([_resized(stack, small).softmax(dim=0) for stack in stacks])
        refined = _resized(_refined(_resized(image, small), shares, par), size)
        certain, *doubtful = (_best(stack, [0, *foreground]) for stack in refined.chunk(len(stacks)))
        nothing = torch.full_like(certain, ignore_value)
        below = nothing.where(doubtful[0] > 0, 0) if doubtful else nothing
        return certain.where(certain > 0, below)

    labels = _each(winner, images, cams, present, 0 if background else ignore_value)
    return labels if valid is None else labels.where(valid, ignore_value)


def _each(
    winner: Callable[[Tensor, Tensor, list[int]], Tensor],
    images: Tensor,
    cams: Tensor,
    present: Tensor,
    otherwise: int,
) -> Tensor:
    """Labels (B, H, W), image by image: of `winner`, or `otherwise` throughout where no class is labelled."""
    labels = torch.full_like(images[:, 0], otherwise, dtype=torch.int64)
    for label, image, cam, row in zip(labels, images, cams, present.tolist(), strict=True):
        foreground = [1 + t for t, here in enumerate(row) if here]
        if foreground:
            label.copy_(winner(image, cam, foreground))
    return labels


def _resized(maps: Tensor, size: torch.Size | list[int]) -> Tensor:
    return F.interpolate(maps[None].float(), tuple(size), mode="bilinear", align_corners=False)[0]


def _refined(image: Tensor, maps: Tensor, par: ParOptions) -> Tensor:
    return refine_pixels(image, maps, **asdict(par))


def _best(maps: Tensor, channels: list[int]) -> Tensor:
    """The channel (H, W) int64 of the largest map; ties go to the first."""
    return torch.tensor(channels, device=maps.device)[maps.argmax(dim=0)]
