"""FCtL's inference on a large image: overlapping patches with their contexts, logits added up.

Source: section 3.1 of the paper and the published code. Call these functions inside
`rskt_seg.inference.predict.evaluating(model)`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from rskt_seg.inference.blend import sum_bands
from rskt_seg.inference.contexts import (
    PATCH_OVERLAP,
    ContextReader,
    PatchModel,
    encode_whole,
    pad_image,
    patch_counts,
    patch_grid,
    resize_square,
)
from rskt_seg.inference.resize import image_tensor, upsample_bands
from rskt_seg.inference.views import VIEWS, View, check_views
from rskt_seg.windows import Window

PATCH_BATCH = 4
"""Patches that go through the model at a time."""
_BAND_ROWS = 256


def patch_logits(
    model: PatchModel,
    image: np.ndarray,
    *,
    whole: np.ndarray | None = None,
    overlap: int = PATCH_OVERLAP,
    batch_size: int = PATCH_BATCH,
) -> Iterator[tuple[Window, Tensor]]:
    """Yield every patch of an image with its logits, row by row.

    Images smaller than a patch are padded with black.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB.
        whole: The image at the model's working side, if it exists already; contexts that are the whole image
            are encoded from it.
        overlap: Least overlap (px) of neighbouring patches.
        batch_size: Patches that go through the model at a time.

    Yields:
        Pairs (window, logits (T, side, side) float32 on the CPU).
    """
    side = model.patch_side
    image = pad_image(image, side)
    reader = ContextReader(model, image, None if whole is None else encode_whole(model, whole))
    grid = patch_grid(reader.extent.height, reader.extent.width, side, overlap)
    with tqdm(total=len(grid), desc="patches", unit="patch", leave=False, disable=None) as progress:
        for start in range(0, len(grid), batch_size):
            patches = grid[start : start + batch_size]
            logits = reader.predict(patches).logits.float().cpu()
            if logits.shape[-1] != side:
                logits = F.interpolate(logits, size=(side, side), mode="bilinear", align_corners=False)
            yield from zip(patches, logits, strict=True)
            progress.update(len(patches))


def score_bands(
    model: PatchModel,
    image: np.ndarray,
    *,
    whole: np.ndarray | None = None,
    overlap: int = PATCH_OVERLAP,
    batch_size: int = PATCH_BATCH,
) -> Iterator[tuple[int, Tensor]]:
    """Yield the summed logits of all patches in bands of finished rows, from top to bottom.

    Memory is that of one row of patches, T * patch_side * W values, whatever the height. A model that
    `sees_whole` is given the whole image at its working side; its logits are resized bilinearly.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB.
        whole: As in `patch_logits`, like the other options.
        overlap: Least overlap (px) of neighbouring patches.
        batch_size: Patches that go through the model at a time.

    Yields:
        Pairs (first row, summed logits (T, rows, W) float32).
    """
    height, width = image.shape[:2]
    if model.sees_whole:
        square = image_tensor(resize_square(image, model.working_side), model.device)
        yield from upsample_bands(model(square[None]).logits[0], (height, width))
        return
    tiles = patch_logits(model, image, whole=whole, overlap=overlap, batch_size=batch_size)
    for top, band in sum_bands(tiles, max(width, model.patch_side)):
        if top < height:
            yield top, band[:, : height - top, :width]


def score_map(
    model: PatchModel,
    image: np.ndarray,
    *,
    whole: np.ndarray | None = None,
    overlap: int = PATCH_OVERLAP,
    batch_size: int = PATCH_BATCH,
) -> Tensor:
    """Return the summed logits of all patches, the bands of `score_bands`, as one map.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB.
        whole: As in `patch_logits`.
        overlap: Least overlap (px) of neighbouring patches.
        batch_size: Patches that go through the model at a time.

    Returns:
        (T, H, W) float32 on the CPU: 4 * T * H * W bytes.
    """
    height, width = image.shape[:2]
    total = torch.empty(0)
    for top, band in score_bands(model, image, whole=whole, overlap=overlap, batch_size=batch_size):
        if top == 0:
            total = band.new_empty(band.shape[0], height, width)
        total[:, top : top + band.shape[1]] = band
    return total


def augmented_score_map(
    model: PatchModel,
    image: np.ndarray,
    views: Sequence[View] = VIEWS["dihedral"],
    *,
    overlap: int = PATCH_OVERLAP,
    batch_size: int = PATCH_BATCH,
) -> Tensor:
    """Sum the logits of several views of an image, in twice the memory of `score_map`.

    Patches and contexts are cropped anew from every view; a context that is the whole image is resized once
    and then flipped and rotated, as published.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB.
        views: The eight default views are the published ones.
        overlap: Least overlap (px) of neighbouring patches.
        batch_size: Patches that go through the model at a time.

    Returns:
        Summed logits (T, H, W) float32.

    Raises:
        ConfigError: If there are no views.
    """
    check_views(views)
    height, width = image.shape[:2]
    if not model.sees_whole:
        image = pad_image(image, model.patch_side)  # first, so that every view sees the same black
    padded_height, padded_width = image.shape[:2]
    whole = resize_square(image, model.working_side) if 0 in model.context_factors.values() else None

    def view_scores(view: View) -> Tensor:
        turned = None if whole is None else _view_image(replace(view, scale=1.0), whole)
        pixels = _view_image(view, image)
        scores = score_map(model, pixels, whole=turned, overlap=overlap, batch_size=batch_size)
        return view.undo(scores[None], (padded_height, padded_width))[0]

    total = view_scores(views[0])
    for view in views[1:]:
        total.add_(view_scores(view))
    return total[:, :height, :width]


def probabilities(
    model: PatchModel,
    image: np.ndarray,
    views: Sequence[View] = VIEWS["none"],
    *,
    overlap: int = PATCH_OVERLAP,
    batch_size: int = PATCH_BATCH,
) -> Tensor:
    """Compute class probabilities: the softmax of the mean of all logits of a pixel.

    The mean is over the patches that cover the pixel, in all views: the sum of `augmented_score_map` divided
    by a count that is the same for every class, so that the best class is the published one.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB.
        views: Test-time augmentation.
        overlap: Least overlap (px) of neighbouring patches.
        batch_size: Patches that go through the model at a time.

    Returns:
        Probabilities (T, H, W) float32.

    Raises:
        ConfigError: If there are no views.
    """
    height, width = image.shape[:2]
    total = augmented_score_map(model, image, views, overlap=overlap, batch_size=batch_size)
    counts = _logit_counts(model, (height, width), views, overlap)
    for start in range(0, height, _BAND_ROWS):  # a band at a time, for the copies that softmax makes
        rows = slice(start, start + _BAND_ROWS)
        total[:, rows] = (total[:, rows] / counts[rows]).softmax(dim=0)
    return total


def _logit_counts(model: PatchModel, size: tuple[int, int], views: Sequence[View], overlap: int) -> Tensor:
    """Count the logits of each class that `augmented_score_map` adds up: (H, W) float32."""
    if model.sees_whole:
        return torch.full(size, float(len(views)))
    height, width = (max(length, model.patch_side) for length in size)
    total = torch.zeros(height, width)
    for view in views:
        counts = patch_counts(*view.size(height, width), model.patch_side, overlap)
        total += view.undo(counts[None, None], (height, width))[0, 0]
    return total[: size[0], : size[1]]


def _view_image(view: View, image: np.ndarray) -> np.ndarray:
    """Return a view of an image (H, W, 3) uint8, rounded to uint8 if it is resized."""
    pixels = view.apply(torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None])[0]
    return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
