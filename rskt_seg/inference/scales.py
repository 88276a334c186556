"""Multi-scale inference: images seen at several scales and flipped, and the logits averaged.

Source: section 4.2 of the weakly supervised method's paper (Li, Genzano, Gianinetto, Scaioni) names
"multi-scale testing" and an average; the scales are this project's choice, the equal weights those of WeCLIP.
As there, images are resized bilinearly (align_corners False) and *not* antialiased when they shrink, unlike
the input of RSKT-Seg.

A model of stride s answers images (B, 3, H, W) with maps on a grid of ceil(H / s) x ceil(W / s) cells, each
of s x s px from the upper left; if s does not divide a side, the last cells hang over the image.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.inference.crf import CRFParameters, refine_in_tiles
from rskt_seg.inference.tiles import ImageModel, tiled
from rskt_seg.inference.views import VIEWS, View, average_views
from rskt_seg.layers.images import enlarge

SCALES = (0.75, 1.0, 1.25)
"""Scales of the sides of an image."""
TILE = 512
"""Side (px) of a tile: that of the datasets of the method."""
Predict = Callable[[Tensor], Tensor]


class StridedModel(ImageModel, Protocol):
    """A model whose logits lie on a grid of cells of `stride` px."""

    @property
    def stride(self) -> int: ...


class Pass(NamedTuple):
    """One way to see an image: resized, then perhaps flipped left-right."""

    scale: float
    flipped: bool


def passes(scales: Sequence[float] = SCALES, flip: bool = True) -> tuple[Pass, ...]:
    """Return a pass for every scale, and with `flip` a flipped one too.

    Args:
        scales: Factors of the image size.
        flip: Whether to add a mirrored pass for every scale.

    Returns:
        The passes, grouped by scale; the mirrored one comes second.

    Raises:
        ConfigError: Unless scales are one or more positive numbers.
    """
    is_text = isinstance(scales, str)  # a sequence of no numbers, which callers may pass by mistake
    if is_text or not scales or not all(0 < scale < math.inf for scale in scales):
        raise ConfigError(f"scales must be one or more positive numbers, such as {SCALES}; found {scales!r}")
    return tuple(Pass(*each) for each in product(scales, (False, True) if flip else (False,)))


def pass_size(size: Sequence[int], scale: float, stride: int) -> tuple[int, int]:
    """Return the size of an image at a scale, rounded to whole cells, at least one.

    Args:
        size: (H, W) of the image, in pixels.
        scale: Factor of the size. At scale 1 the size stays as it is.
        stride: Side (px) of a cell.

    Returns:
        (h, w) in pixels.
    """
    height, width = size if scale == 1 else (max(1, round(scale * side / stride)) * stride for side in size)
    return height, width


def mean_logits(
    predict: Predict, images: Tensor, *, stride: int, scales: Sequence[float] = SCALES, flip: bool = True
) -> Tensor:
    """Average the logits of all passes, resized bilinearly to the grid of the image; one pass at a time.

    Args:
        predict: Maps images (B, 3, h, w) to logits (B, K, ceil(h / stride), ceil(w / stride)).
        images: (B, 3, H, W) float.
        stride: Pixels of a cell.
        scales: Scales of the passes.
        flip: Whether every scale has a flipped pass too.

    Returns:
        Logits (B, K, ceil(H / stride), ceil(W / stride)) float32.

    Raises:
        ConfigError: Unless scales are one or more positive numbers.
        ValueError: If maps do not have the size that the stride implies.
    """
    rows, columns = (_centres(-(-side // stride)) * stride for side in images.shape[2:])
    return _mean_at(rows, columns, predict, images, stride, passes(scales, flip))


def mean_maps(
    predict: Predict, images: Tensor, *, stride: int, scales: Sequence[float] = SCALES, flip: bool = True
) -> Tensor:
    """Average maps such as CAMs over all passes, as `mean_logits`, but at every pixel.

    Args:
        predict: As in `mean_logits`.
        images: As in `mean_logits`, (B, 3, H, W).
        stride: As in `mean_logits`.
        scales: As in `mean_logits`.
        flip: As in `mean_logits`.

    Returns:
        Maps (B, K, H, W) float32.

    Raises:
        ConfigError: As `mean_logits`.
        ValueError: As `mean_logits`.
    """
    rows, columns = (_centres(side) for side in images.shape[2:])
    return _mean_at(rows, columns, predict, images, stride, passes(scales, flip))


def scaled_logits(
    model: StridedModel,
    image: Tensor,
    *,
    tile: int = TILE,
    overlap: int = TILE // 4,
    scales: Sequence[float] = SCALES,
    flip: bool = True,
    views: Sequence[View] = VIEWS["none"],
) -> Tensor:
    """Compute the multi-scale logits of an image of any size.

    An image of at most `tile` px a side is seen as a whole, a larger one in tiles: see
    `rskt_seg.inference.tiles.tiled`. Every tile is seen in each of the `views`, and every view at all scales.
    Call it inside `rskt_seg.inference.predict.evaluating(model)`.

    Args:
        model: Returns logits (1, K, ceil(h / stride), ceil(w / stride)).
        image: (3, H, W) RGB in 0..255, of any dtype and device.
        tile: Side (px) of a tile.
        overlap: Overlap (px) of neighbouring tiles.
        scales: Scales of the passes.
        flip: Whether every scale has a flipped pass too.
        views: Test-time augmentation of every tile.

    Returns:
        Logits (K, H, W) float32 on the CPU.

    Raises:
        ConfigError: For scales that are not positive, unless 0 <= overlap < tile, and if there are no views.
    """

    def predict_tile(images: Tensor) -> Tensor:
        return tile_logits(model, images.to(model.device), scales=scales, flip=flip, views=views)

    return tiled(predict_tile, image, tile=tile, overlap=overlap)


def tile_logits(
    model: StridedModel, images: Tensor, *, scales: Sequence[float], flip: bool, views: Sequence[View]
) -> Tensor:
    """Compute the multi-scale logits of tiles, each seen as a whole.

    Args:
        model: As in `scaled_logits`, like the other arguments.
        images: (B, 3, H, W) on the device of the model.
        scales: Scales of the passes.
        flip: Whether every scale has a flipped pass too.
        views: Test-time augmentation of every tile.

    Returns:
        Logits (B, K, H, W) float32.

    Raises:
        ConfigError: As `scaled_logits`.
    """

    def predict(seen: Tensor) -> Tensor:
        logits = mean_logits(
            lambda each: model(each).logits, seen, stride=model.stride, scales=scales, flip=flip
        )
        return enlarge(logits, seen.shape[2:], model.stride)

    return average_views(predict, images, views)


def scaled_scores(
    model: StridedModel,
    image: Tensor,
    *,
    tile: int = TILE,
    overlap: int = TILE // 4,
    scales: Sequence[float] = SCALES,
    flip: bool = True,
    views: Sequence[View] = VIEWS["none"],
    crf: CRFParameters | bool = False,
) -> Tensor:
    """Compute the class probabilities of an image: the softmax of `scaled_logits`, perhaps refined by a CRF.

    Args:
        model: As in `scaled_logits`, like all arguments but `crf`.
        image: (3, H, W) RGB in 0..255.
        tile: Side (px) of a tile, of the CRF too.
        overlap: Overlap (px) of neighbouring tiles.
        scales: Scales of the passes.
        flip: Whether every scale has a flipped pass too.
        views: Test-time augmentation of every tile.
        crf: A dense CRF that refines the probabilities; True for its default parameters.

    Returns:
        Probabilities (K, H, W) float32 on the CPU.

    Raises:
        ConfigError: As `scaled_logits`, and if the optional package of the CRF is missing.
    """
    scores = scaled_logits(
        model, image, tile=tile, overlap=overlap, scales=scales, flip=flip, views=views
    ).softmax(dim=0)
    if not crf:
        return scores
    pixels = image.permute(1, 2, 0).round().to("cpu", torch.uint8).numpy()
    parameters = crf if isinstance(crf, CRFParameters) else CRFParameters()
    return refine_in_tiles(scores, pixels, tile=tile, overlap=overlap, parameters=parameters)


def _centres(count: int) -> Tensor:
    """Return the centres of `count` unit cells: 0.5, 1.5, ... (count,) float64."""
    return torch.arange(count, dtype=torch.float64) + 0.5


def _mean_at(
    rows: Tensor, columns: Tensor, predict: Predict, images: Tensor, stride: int, all_passes: Sequence[Pass]
) -> Tensor:
    """Average the maps of all passes at the points (px) rows x columns of the images."""
    maps_of_passes = (
        _maps_at(rows, columns, predict, images, stride, image_pass) for image_pass in all_passes
    )
    total = next(maps_of_passes)
    for maps in maps_of_passes:
        total = total + maps
    return total / len(all_passes)


def _maps_at(
    rows: Tensor, columns: Tensor, predict: Predict, images: Tensor, stride: int, image_pass: Pass
) -> Tensor:
    """Return the maps of one pass at the points (px) rows x columns of the images."""
    full = (images.shape[2], images.shape[3])
    size = pass_size(full, image_pass.scale, stride)
    seen = images
    if size != full:
        seen = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    maps = predict(seen.flip(3) if image_pass.flipped else seen)
    cells = tuple(-(-side // stride) for side in size)
    if tuple(maps.shape[2:]) != cells:
        raise ValueError(
            f"an image of {size} px has {cells} cells at stride {stride}; found maps {tuple(maps.shape[2:])}"
        )
    if image_pass.flipped:  # flip the points, not the maps, whose last cells may hang over the other side now
        columns = full[1] - columns
    for axis, points, side, length in zip((2, 3), (rows, columns), size, full, strict=True):
        maps = _interpolate(maps, axis, points * (side / length / stride) - 0.5)
    return maps


def _interpolate(maps: Tensor, axis: int, points: Tensor) -> Tensor:
    """Interpolate maps (B, K, h, w) linearly along an axis at points in cells; beyond the ends, repeat them.

    Args:
        maps: (B, K, h, w).
        axis: 2 or 3.
        points: (N,) float64 on the CPU, for not every device has double precision; 0 is the first cell's
            centre.

    Returns:
        Maps (B, K, N, w) or (B, K, h, N) float32.
    """
    maps = maps.float()
    points = points.clamp(0, maps.shape[axis] - 1)
    weight = (points - points.floor()).float().to(maps.device)
    first = points.floor().long().to(maps.device)
    second = (first + 1).clamp(max=maps.shape[axis] - 1)
    weight = weight[:, None] if axis == 2 else weight
    return torch.lerp(maps.index_select(axis, first), maps.index_select(axis, second), weight)
