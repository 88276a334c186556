"""Class scores of open-vocabulary models, of a whole image or with a sliding window.

A model is called as `model(images, vocabulary, padding=...)` with images (B, 3, H, W) RGB float32 in 0..255
and T class names. It returns a dataclass with `.logits` (B, T, h, w), from which `model.scores(output)`
computes scores in 0..1. It has `device` and `working_side` (px).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.inference.blend import blend
from rskt_seg.inference.resize import image_tensor, resize_image, short_side_shape
from rskt_seg.typing import OpenVocabularyModel, SegmentationModel
from rskt_seg.windows import Window, sliding_stride, window_grid

SHORT_SIDE = 640
"""Length (px) of the shorter image side at test time, as published (MIN_SIZE_TEST)."""
MAX_SIDE = 2560
"""Upper limit (px) of the longer image side at test time, as published (MAX_SIZE_TEST)."""
SLIDING_BATCH = 5
"""Crops of the sliding-window mode in one batch: all of an image at the published sizes."""


@contextmanager
def evaluating(model: SegmentationModel) -> Iterator[None]:
    """Put a model in evaluation mode, without gradients; afterwards restore the mode of every submodule."""
    modes = [(module, module.training) for module in model.modules()]
    switched = any(training for _, training in modes)
    if switched:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if switched:
            # By train(), so that a model can drop what it cached for evaluation.
            model.train(modes[0][1])
            for module, training in modes:
                module.training = training


def predict_scores(
    model: OpenVocabularyModel,
    images: Sequence[np.ndarray],
    vocabulary: Sequence[str],
    *,
    short_side: int = SHORT_SIDE,
    max_side: int = MAX_SIDE,
    padding: str | None = None,
) -> Tensor:
    """Return the class scores of whole images. Call it inside `evaluating(model)`.

    Args:
        model: The model.
        images: B images (H, W, 3) uint8 RGB of one size.
        vocabulary: T class names.
        short_side: Length (px) to which the shorter side is resized first, with antialiasing if it shrinks.
        max_side: Upper limit (px) of the longer side.
        padding: "aligned" or "published"; None: the padding of the model's specification.

    Returns:
        Scores (B, T, h, w) in 0..1 at the resolution of the model.
    """
    batch = torch.stack([_test_image(model, image, short_side, max_side) for image in images])
    return model.scores(model(batch, vocabulary, padding=padding))


def resized_scores(model: SegmentationModel, output: Any, size: tuple[int, int]) -> Tensor:
    """Return the class scores of one image from its logits at another size, as some published codes do.

    Unlike resizing the scores, this keeps a softmax of steep logits sharp.

    Args:
        model: The model.
        output: Its output for one image, a dataclass with `logits`.
        size: (H, W) to which the logits are resized, bilinearly.

    Returns:
        Scores (T, H, W) in 0..1.
    """
    return model.scores(dataclasses.replace(output, logits=_bilinear(output.logits, size)))[0]


def predict_cost_maps(
    model: OpenVocabularyModel,
    image: np.ndarray,
    vocabulary: Sequence[str],
    *,
    short_side: int = SHORT_SIDE,
    max_side: int = MAX_SIDE,
    padding: str | None = None,
) -> dict[str, np.ndarray]:
    """Return the cost maps of a whole image, of models that take `return_cost_maps=True`.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB.
        vocabulary: T class names.
        short_side: As in `predict_scores`.
        max_side: As in `predict_scores`.
        padding: As in `predict_scores`.

    Returns:
        Name -> (T, h, w) float32.
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
    """Resize an image as `predict_scores` does, and return its `sliding_scores`.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB.
        vocabulary: T class names.
        tile: As in `sliding_scores`.
        square: As in `sliding_scores`.
        short_side: As in `predict_scores`.
        max_side: As in `predict_scores`.
        padding: As in `predict_scores`.

    Returns:
        Scores (T, square, square) in 0..1.
    """
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
    batch_size: int = SLIDING_BATCH,
) -> Tensor:
    """Return the class scores of an image in the published sliding-window mode (TEST.SLIDING_WINDOW).

    The model sees the crops of `sliding_crops`; `merge_sliding` merges their scores.

    Args:
        model: The model.
        image: (3, H, W) float RGB in 0..255.
        vocabulary: T class names.
        tile: Side (px) of a crop.
        square: Side (px) of the square that the windows are cut from.
        padding: As in `predict_scores`.
        antialias: Whether to filter when crops shrink the image; the published code does not.
        batch_size: Crops in one batch.

    Returns:
        Scores (T, square, square) in 0..1.
    """
    crops = sliding_crops(image.to(model.device), tile, square, antialias)
    scores = []
    for batch in crops.split(batch_size):
        output = model(batch, vocabulary, padding=padding)
        logits = _bilinear(output.logits, (tile, tile))
        scores.append(model.scores(dataclasses.replace(output, logits=logits)))
    return merge_sliding(torch.cat(scores), tile, square)


def sliding_crops(image: Tensor, tile: int = 384, square: int = 640, antialias: bool = False) -> Tensor:
    """Return the crops of the sliding-window mode for an image (3, H, W).

    Args:
        image: (3, H, W).
        tile: Side (px) of a crop.
        square: Side (px) to which the image is resized before windows are cut.
        antialias: Whether to filter when the image shrinks.

    Returns:
        (N + 1, 3, tile, tile): the N windows row by row (4 for the published sizes), then the whole image.
    """
    large = _bilinear(image[None], (square, square), antialias)[0]
    windows = [large[:, window.rows, window.columns] for window in _sliding_grid(tile, square)]
    return torch.stack([*windows, _bilinear(image[None], (tile, tile), antialias)[0]])


def count_sliding_crops(tile: int = 384, square: int = 640) -> int:
    """Count the crops of `sliding_crops`: the windows and the whole image, 5 for the published sizes."""
    return len(_sliding_grid(tile, square)) + 1


def merge_sliding(scores: Tensor, tile: int = 384, square: int = 640) -> Tensor:
    """Merge the scores of the crops of `sliding_crops`: the mean of blended windows and whole image.

    Args:
        scores: (N + 1, T, tile, tile).
        tile: Side (px) of a crop.
        square: Side (px) of the square that the windows were cut from.

    Returns:
        Scores (T, square, square).
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
