"""Class activation maps (CAMs) as stacks: the background first, then every foreground class.

Shapes: B image, T foreground class, C channel, L token. Everything is computed in float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_MIN_RANGE = 1e-6
_NEVER_WINS = -1.0


def min_max_normalize(maps: Tensor) -> Tensor:
    """Stretch each map to 0..1 over the last axis: Norm of equations 9 and 20.

    The range is clamped to at least 1e-6, so a constant map becomes zero.

    Args:
        maps: (..., L) of any float dtype.

    Returns:
        float32 of the same shape.
    """
    maps = maps.float()
    low, high = maps.aminmax(dim=-1, keepdim=True)
    return (maps - low) / (high - low).clamp(min=_MIN_RANGE)


def valid_cells(valid: Tensor, stride: int) -> Tensor:
    """Return which cells have at least half of their pixels in a mask.

    Args:
        valid: (B, H, W) bool.
        stride: Side of a cell in pixels; pixels beyond the borders are not in the mask.

    Returns:
        (B, 1, L) float32, 0 or 1.
    """
    bottom, right = (-side % stride for side in valid.shape[1:])
    shares = F.avg_pool2d(F.pad(valid.float(), (0, right, 0, bottom))[:, None], stride)
    return (shares >= 0.5).float().flatten(2)


def stack_cams(foreground: Tensor, present: Tensor, power: float | None) -> Tensor:
    """Prepend the background to the maps of the foreground classes and zero those of absent classes.

    The background is (1 - strongest foreground map) ** power, so an image without any labeled class is
    background everywhere.

    Args:
        foreground: (B, T, L) in 0..1.
        present: (B, T) bool, the image-level labels.
        power: Exponent of the background. None: the data have no background class; its channel is -1 and
            never wins.

    Returns:
        (B, 1 + T, L) float32.
    """
    foreground = foreground.float().where(present[..., None], 0.0)
    if power is None:
        background = torch.full_like(foreground[:, :1], _NEVER_WINS)
    else:
        background = (1 - foreground.amax(dim=1, keepdim=True)) ** power
    return torch.cat([background, foreground], dim=1)


@torch.no_grad()
def initial_cam(features: Tensor, text: Tensor, present: Tensor, power: float | None) -> Tensor:
    """Return the cosine of every token with every class text, stretched to 0..1 per class (equation 9).

    Args:
        features: (B, C, L) in the joint embedding space of CLIP, of any norm.
        text: (T, C) class texts, of any norm.
        present: (B, T) bool, the image-level labels.
        power: As in `stack_cams`.

    Returns:
        (B, 1 + T, L) float32 in 0..1.
    """
    tokens, text = F.normalize(features.float(), dim=1), F.normalize(text.float(), dim=1)
    return stack_cams(min_max_normalize(text @ tokens), present, power)
