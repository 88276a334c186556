"""Images seen at several scales and mirrored, and what a model says of them averaged.

Source: section 4.2 of the weakly supervised method's paper (Li, Genzano, Gianinetto, Scaioni) names
"multi-scale testing" and an average; the scales are this project's choice, the equal weights those of WeCLIP.
As there, images are resized bilinearly (align_corners False) and *not* antialiased where they shrink, in
contrast to what RSKT-Seg is given.

A model of stride s answers an image (B, 3, H, W) by maps on a grid of ceil(H / s) x ceil(W / s) cells, each
of s x s px from the upper left; where s does not divide a side, the last cells hang over the image.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.errors import ConfigError
from rskt_seg.inference.crf import CRFParameters, refine_in_tiles
from rskt_seg.inference.tiles import tiled
from rskt_seg.inference.views import VIEWS, View, average_views
from rskt_seg.layers.images import enlarge

SCALES = (0.75, 1.0, 1.25)
"""Scales of the sides of an image."""
TILE = 512
"""Side (px) of a tile: that of the data sets of the method."""
Predict = Callable[[Tensor], Tensor]


class Pass(NamedTuple):
    """One way to see an image: resized, then perhaps mirrored left-right."""

    scale: float
    mirrored: bool


def passes(scales: Sequence[float] = SCALES, flip: bool = True) -> tuple[Pass, ...]:
    """Every scale, with `flip` each also mirrored. Raises `ConfigError` unless scales are positive."""
    if isinstance(scales, str) or not scales or not all(0 < scale < math.inf for scale in scales):
        raise ConfigError(f"scales must be one or more positive numbers, such as {SCALES}; found {scales!r}")
    return tuple(Pass(*each) for each in product(scales, (False, True) if flip else (False,)))


def pass_size(size: Sequence[int], scale: float, stride: int) -> tuple[int, int]:
    """Size (px) of an image of `size` (H, W) at a scale: whole cells, at least one; at scale 1 as it is."""
    if scale == 1:
        return tuple(size)
    return tuple(max(1, round(scale * side / stride)) * stride for side in size)


def mean_logits(
    predict: Predict, images: Tensor, *, stride: int, scales: Sequence[float] = SCALES, flip: bool = True
) -> Tensor:
    """The plain mean of the logits of all passes, resized bilinearly to the grid of the image.

    Args:
        predict: images (B, 3, h, w) -> maps (B, K, ceil(h / stride), ceil(w / stride)).
        images: (B, 3, H, W) float.
        scales, flip: see `passes`.

    Returns (B, K, ceil(H / stride), ceil(W / stride)) float32. One pass at a time is in memory. Raises as
    `passes`, and `ValueError` where maps have not the size that the stride says.
    """
    centres = [(_numbers(-(-side // stride)) + 0.5) * stride for side in images.shape[2:]]
    return _mean(predict, images, centres, stride, passes(scales, flip))


def mean_maps(
    predict: Predict, images: Tensor, *, stride: int, scales: Sequence[float] = SCALES, flip: bool = True
) -> Tensor:
    """As `mean_logits`, but every map is resized to the pixels of the image, as for CAMs: (B, K, H, W)."""
    centres = [_numbers(side) + 0.5 for side in images.shape[2:]]
    return _mean(predict, images, centres, stride, passes(scales, flip))


def scaled_logits(
    model: nn.Module,
    image: Tensor,
    *,
    tile: int = TILE,
    overlap: int = TILE // 4,
    scales: Sequence[float] = SCALES,
    flip: bool = True,
    views: Sequence[View] = VIEWS["none"],
) -> Tensor:
    """Logits (K, H, W) float32 on the CPU of one image (3, H, W) RGB in 0..255, of any dtype and device.

    An image of at most `tile` px a side is seen as a whole. A larger one is seen in tiles every
    `tile - overlap` px, the last of each axis shifted inside; where tiles overlap, the mean of their logits
    counts. Every tile is seen at all `scales`, with `flip` also mirrored, all that in each of the `views`.

    The model has `stride` (px) and `device` and is called as `model(images)`, which returns an object with
    `.logits` (1, K, ceil(h / stride), ceil(w / stride)). Call it inside
    `rskt_seg.inference.predict.evaluating(model)`. Raises as `passes` and `tiled`.
    """

    def predict(images: Tensor) -> Tensor:
        logits = mean_logits(
            lambda seen: model(seen).logits, images, stride=model.stride, scales=scales, flip=flip
        )
        return enlarge(logits, images.shape[2:], model.stride)

    def tile_logits(images: Tensor) -> Tensor:
        return average_views(predict, images.to(model.device), views)

    return tiled(tile_logits, image, tile=tile, overlap=overlap)


def scaled_scores(
    model: nn.Module,
    image: Tensor,
    *,
    tile: int = TILE,
    overlap: int = TILE // 4,
    crf: CRFParameters | bool = False,
    **options: object,
) -> Tensor:
    """Class probabilities (K, H, W) float32 on the CPU of one image (3, H, W) RGB in 0..255.

    The softmax of `scaled_logits`, whose `options` these are; with `crf` a dense CRF refines it, in the same
    tiles (True: with its default parameters). Raises as `scaled_logits` and
    `rskt_seg.inference.crf.check_crf_installed`.
    """
    scores = scaled_logits(model, image, tile=tile, overlap=overlap, **options).softmax(dim=0)
    if not crf:
        return scores
    pixels = image.permute(1, 2, 0).round().to("cpu", torch.uint8).numpy()
    parameters = crf if isinstance(crf, CRFParameters) else CRFParameters()
    return refine_in_tiles(scores, pixels, tile=tile, overlap=overlap, parameters=parameters)


def _mean(
    predict: Predict, images: Tensor, centres: Sequence[Tensor], stride: int, seen: Sequence[Pass]
) -> Tensor:
    """The mean of all passes at the places of the image (px) that are the product of two `centres`."""
    size = tuple(images.shape[2:])
    total: Tensor | None = None
    for each in seen:
        maps = _read(predict, images, each, pass_size(size, each.scale, stride), stride, centres)
        total = maps if total is None else total + maps
    return total / len(seen)


def _read(
    predict: Predict,
    images: Tensor,
    way: Pass,
    size: tuple[int, int],
    stride: int,
    centres: Sequence[Tensor],
) -> Tensor:
    maps = predict(_seen(images, size, way.mirrored))
    cells = tuple(-(-side // stride) for side in size)
    if tuple(maps.shape[2:]) != cells:
        raise ValueError(
            f"an image of {size} px has {cells} cells at stride {stride}; found maps {tuple(maps.shape[2:])}"
        )
    rows, columns = centres
    if way.mirrored:  # in the image's own pixels, for cells that hang over do so on the other side now
        columns = images.shape[3] - columns
    scales = [seen / side / stride for seen, side in zip(size, images.shape[2:], strict=True)]
    return _interpolated(maps, (rows * scales[0] - 0.5, columns * scales[1] - 0.5))


def _seen(images: Tensor, size: tuple[int, int], mirrored: bool) -> Tensor:
    if size != tuple(images.shape[2:]):
        images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    return images.flip(3) if mirrored else images


def _interpolated(maps: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Maps (B, K, h, w) between the cells, at the product of `places` along both axes; outside, the last."""
    maps = maps.float()
    for axis, place in zip((2, 3), places, strict=True):
        place = place.clamp(0, maps.shape[axis] - 1)  # in double precision, which not every device has
        after = (place - place.floor()).float().to(maps.device)
        after = after[:, None] if axis == 2 else after
        first = place.floor().long().to(maps.device)
        second = (first + 1).clamp(max=maps.shape[axis] - 1)
        maps = torch.lerp(maps.index_select(axis, first), maps.index_select(axis, second), after)
    return maps


def _numbers(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float64)
