"""What the tests of the parts of the weakly supervised method draw."""

import torch

from rskt_seg.models.wsss.cams import initial_cam


def rand(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def randn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw_present(seed, images, classes):
    """Image-level labels; the first image has every class, the last one none."""
    present = rand(seed, images, classes) < 0.5
    present[0], present[-1] = True, False
    return present


def draw_scene(seed=0, images=3, classes=4, tokens=25, maps=3):
    """Joint features, attention, CAMs and image-level labels."""
    present = draw_present(seed, images, classes)
    cams = initial_cam(randn(seed, images, 6, tokens), randn(seed + 1, classes, 6), present, 1.0)
    attention = randn(seed + 2, images, maps, tokens, tokens).softmax(dim=-1) * rand(seed, images, maps, 1, 1)
    return 0.4 * randn(seed + 3, images, 8, tokens), attention, cams, present


def permuted(stack, order):
    return stack[:, [0, *(1 + c for c in order)]]
