"""Resizing of images before a model and of score maps after it."""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rskt_seg.labels import label_dtype

_BAND_VALUES = 2**20
"""Upsampled scores held at a time: 4 MiB of float32, which fits into a cache."""


def short_side_shape(height: int, width: int, short_side: int, max_side: int) -> tuple[int, int]:
    """Size (h, w) with the shorter side at `short_side`, or the longer at `max_side` if that is less.

    Rounds as Detectron2's ResizeShortestEdge does, so that segmenting a file and evaluating it see
    the same pixels; no side becomes less than 1.
    """
    scale = short_side / min(height, width)
    if height < width:
        size = (short_side, scale * width)
    else:
        size = (scale * height, short_side)
    if max(size) > max_side:
        scale = max_side / max(size)
        size = (size[0] * scale, size[1] * scale)
    return max(1, int(size[0] + 0.5)), max(1, int(size[1] + 0.5))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) uint8 resized to `size` (h, w), bilinear, antialiased where it shrinks."""
    if image.shape[:2] == size:
        return image
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def image_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """(H, W, 3) uint8 as (3, H, W) float32 in 0..255."""
    image = np.ascontiguousarray(image)  # torch takes no negative strides, such as of BGR turned to RGB
    return torch.tensor(image, dtype=torch.float32, device=device).permute(2, 0, 1).contiguous()


def upsample_bands(
    scores: Tensor, size: tuple[int, int], band_rows: int | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Bilinear (align_corners False) resizing of (T, h, w) to `size` (H, W), some rows at a time.

    Yields (first row, scores (T, rows, W)); memory is T * rows * W whatever H. Each value is
    the same bits for every `band_rows`. It equals `torch.nn.functional.interpolate` up to float
    rounding (1e-6 of the largest score): that function has several kernels, chosen by T and size, which
    already differ from each other by as much.
    """
    height, width = size
    scores = scores.float().cpu()
    if band_rows is None:
        band_rows = max(1, _BAND_VALUES // (scores.shape[0] * width))
    top, bottom, up, down = _taps(scores.shape[1], height)
    left, right, before, after = _taps(scores.shape[2], width)
    for start in range(0, height, band_rows):
        band = slice(start, min(start + band_rows, height))
        first, last = int(top[band][0]), int(bottom[band][-1])
        rows = scores[:, first : last + 1]
        rows = rows[:, :, left] * before + rows[:, :, right] * after
        above = rows[:, top[band] - first] * up[band, None]
        yield start, above.add_(rows[:, bottom[band] - first] * down[band, None])


def upsample(scores: Tensor, size: tuple[int, int]) -> np.ndarray:
    """The whole of `upsample_bands`: float32 (T, H, W). Takes 4 * T * H * W bytes."""
    whole = np.empty((scores.shape[0], *size), np.float32)
    for start, band in upsample_bands(scores, size):
        whole[:, start : start + band.shape[1]] = band.numpy()
    return whole


def label_map(scores: Tensor, size: tuple[int, int], band_rows: int | None = None) -> np.ndarray:
    """Ids (H, W) of the best class after resizing (T, h, w) to `size`: arg-max of `upsample`.

    uint8 for up to 255 classes, else uint16; of equal scores the first class wins. The upsampled
    scores exist for a band of rows only.
    """
    ids = np.empty(size, label_dtype(scores.shape[0]))
    for start, band in upsample_bands(scores, size, band_rows):
        ids[start : start + band.shape[1]] = band.argmax(dim=0).numpy()
    return ids


def _taps(source: int, target: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each target index the two source indices that it lies between, and their weights."""
    # Rounded where PyTorch rounds: the scale and the position to float32, their product not.
    scale = torch.tensor(source / target, dtype=torch.float32).double()
    centres = torch.arange(target, dtype=torch.float64) + 0.5
    position = (centres * scale - 0.5).float().clamp_(min=0)
    first = position.floor().long().clamp_(max=source - 1)
    second = (first + 1).clamp_(max=source - 1)
    fraction = (position - first).clamp_(max=1)
    return first, second, 1 - fraction, fraction
