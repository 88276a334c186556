"""From an image to low-resolution class scores, with any model of the project seen as a callable.

A model is called as `model(images, vocabulary, padding=...)` with images (B, 3, H, W) RGB float32 in
0..255 and T class names; it returns a dataclass with `.logits` (B, T, h, w), of which
`model.scores(output)` makes scores in 0..1. It has `device` and `working_side` (px).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.inference.blend import blend
from rskt_seg.inference.resize import image_tensor, resize_image, short_side_shape
from rskt_seg.typing import OpenVocabularyModel, SegmentationModel
from rskt_seg.windows import Window, sliding_stride, window_grid

SHORT_SIDE = 640
"""Test-time length (px) of the shorter image side, as published (MIN_SIZE_TEST)."""
MAX_SIDE = 2560
"""Largest test-time length (px) of the longer image side, as published (MAX_SIZE_TEST)."""


@contextmanager
def evaluating(model: SegmentationModel) -> Iterator[None]:
    """Evaluation mode and no gradients inside; afterwards every submodule is in its former mode."""
    modes = [(module, module.training) for module in model.modules()]
    switched = any(training for _, training in modes)
    if switched:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if switched:
            # Through train(), so that a model can forget what it cached for evaluation.
            model.train(modes[0][1])
            for module, training in modes:
                module.training = training


def predict_scores(
    model: OpenVocabularyModel,
    image: np.ndarray,
    vocabulary: Sequence[str],
    *,
    short_side: int = SHORT_SIDE,
    max_side: int = MAX_SIDE,
    padding: str | None = None,
) -> Tensor:
    """Scores (T, h, w) in 0..1 of an image (H, W, 3) uint8 RGB seen as a whole.

    The image is resized to `short_side` (at most `max_side`), antialiased where it shrinks; the model
    does the rest. Call it inside `evaluating(model)`.
    """
    images = _test_image(model, image, short_side, max_side)[None]
    return model.scores(model(images, vocabulary, padding=padding))[0]


def predict_cost_maps(
    model: OpenVocabularyModel,
    image: np.ndarray,
    vocabulary: Sequence[str],
    *,
    short_side: int = SHORT_SIDE,
    max_side: int = MAX_SIDE,
    padding: str | None = None,
) -> dict[str, np.ndarray]:
    """Cost maps by name, each (T, h, w) float32, of an image (H, W, 3) uint8 RGB seen as a whole.

    For models that return `cost_maps` with `return_cost_maps=True`.
    """
    images = _test_image(model, image, short_side, max_side)[None]
    output = model(images, vocabulary, padding=padding, return_cost_maps=True)
    return {name: maps[0].float().cpu().numpy() for name, maps in output.cost_maps.items()}


def predict_sliding_scores(
    model: OpenVocabularyModel,
    image: np.ndarray,
    vocabulary: Sequence[str],
    *,
    tile: int,
    square: int,
    short_side: int = SHORT_SIDE,
    max_side: int = MAX_SIDE,
    padding: str | None = None,
) -> Tensor:
    """Scores (T, square, square) of an image (H, W, 3) uint8 RGB: the resize, then `sliding_scores`."""
    resized = _test_image(model, image, short_side, max_side)
    antialias = padding == "aligned"
    return sliding_scores(
        model, resized, vocabulary, tile=tile, square=square, padding=padding, antialias=antialias
    )


def sliding_scores(
    model: OpenVocabularyModel,
    image: Tensor,
    vocabulary: Sequence[str],
    *,
    tile: int = 384,
    square: int = 640,
    padding: str | None = None,
    antialias: bool = False,
    batch_size: int = 5,
) -> Tensor:
    """Sliding-window scores (T, square, square) in 0..1 of one image (3, H, W) float RGB 0..255.

    The published mode (TEST.SLIDING_WINDOW): the crops of `sliding_crops` through the model, the
    results joined by `merge_sliding`. `antialias` filters where the crops shrink the image; the
    published code does not. `batch_size` crops go through the model at a time.
    """
    crops = sliding_crops(image.to(model.device), tile, square, antialias)
    scores = []
    for batch in crops.split(batch_size):
        output = model(batch, vocabulary, padding=padding)
        logits = _bilinear(output.logits, (tile, tile))
        scores.append(model.scores(dataclasses.replace(output, logits=logits)))
    return merge_sliding(torch.cat(scores), tile, square)


def sliding_crops(image: Tensor, tile: int = 384, square: int = 640, antialias: bool = False) -> Tensor:
    """The crops (N + 1, 3, tile, tile) of the sliding mode for an image (3, H, W).

    First the N windows of the image resized to square x square, row by row (4 for the published
    sizes), then the whole image resized to one tile.
    """
    large = _bilinear(image[None], (square, square), antialias)[0]
    windows = [large[:, window.rows, window.columns] for window in _sliding_grid(tile, square)]
    return torch.stack([*windows, _bilinear(image[None], (tile, tile), antialias)[0]])


def merge_sliding(scores: Tensor, tile: int = 384, square: int = 640) -> Tensor:
    """Scores (T, square, square) from those of the crops (N + 1, T, tile, tile).

    The mean of the blended windows and of the whole-image scores, as published.
    """
    windows = blend(zip(_sliding_grid(tile, square), scores[:-1], strict=True), square)
    whole = _bilinear(scores[-1:], (square, square))[0]
    return (windows + whole) / 2


def _sliding_grid(tile: int, square: int) -> tuple[Window, ...]:
    return window_grid(square, square, tile, sliding_stride(tile))


def _test_image(model: OpenVocabularyModel, image: np.ndarray, short_side: int, max_side: int) -> Tensor:
    height, width = image.shape[:2]
    size = short_side_shape(height, width, short_side, max_side)
    return image_tensor(resize_image(image, size), model.device)


def _bilinear(x: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=antialias)
