"""Class activation maps (CAMs) as stacks: the background first, then every foreground class.

Shapes: B image, T foreground class, C channel, L token. All of it computes in float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST_RANGE = 1e-6
_NEVER_WINS = -1.0


def normalised(maps: Tensor) -> Tensor:
    """Maps stretched to 0..1 over the last axis: Norm of equations 9 and 20.

    The range is taken as at least 1e-6, so a flat map becomes all zero. Returns float32, same shape.
    """
    maps = maps.float()
    low, high = maps.aminmax(dim=-1, keepdim=True)
    return (maps - low) / (high - low).clamp(min=_LEAST_RANGE)


def stack_cams(foreground: Tensor, present: Tensor, power: float | None) -> Tensor:
    """Foreground maps of the labelled classes below the background that follows from them.

    The background is (1 - strongest foreground map) ** power, so an image without any labelled class is
    background throughout. `power` None: the data have no background; its channel is -1 and never wins.

    Args: foreground (B, T, L) in 0..1; present (B, T) bool, the image-level label. Returns (B, 1 + T, L)
    float32, zero for absent classes.
    """
    foreground = foreground.float().where(present[..., None], 0.0)
    if power is None:
        background = torch.full_like(foreground[:, :1], _NEVER_WINS)
    else:
        background = (1 - foreground.amax(dim=1, keepdim=True)) ** power
    return torch.cat([background, foreground], dim=1)


@torch.no_grad()
def initial_cam(features: Tensor, text: Tensor, present: Tensor, power: float | None) -> Tensor:
    """Cosine of every token with every class text, stretched to 0..1 per class (equation 9).

    Args: features (B, C, L) in the joint space of CLIP and text (T, C), of any length; present (B, T)
    bool; `power` as in `stack_cams`. Returns (B, 1 + T, L) float32 in 0..1.
    """
    tokens, text = F.normalize(features.float(), dim=1), F.normalize(text.float(), dim=1)
    return stack_cams(normalised(text @ tokens), present, power)
