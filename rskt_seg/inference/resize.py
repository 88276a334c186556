"""Resizing of images before a model, and of score maps after it."""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rskt_seg.labels import label_dtype

_BAND_VALUES = 2**20
"""Upsampled scores of all classes that are held at a time: 4 MiB of float32."""
_CLASS_VALUES = 2**18
"""Upsampled scores of one class that are held at a time: 1 MiB of float32, which fits into a CPU cache."""


def short_side_shape(height: int, width: int, short_side: int, max_side: int) -> tuple[int, int]:
    """Return the size (h, w) with the shorter side at `short_side`, or the longer at `max_side` if smaller.

    Rounds as Detectron2's ResizeShortestEdge does, so that segmenting a file and evaluating it see the same
    pixels. No side becomes shorter than 1 px.

    Args:
        height: Height (px) of the image.
        width: Width (px) of the image.
        short_side: Length (px) of the shorter side of the result.
        max_side: Upper limit (px) of the longer side.

    Returns:
        (h, w) in pixels, both at least 1.
    """
    scale = short_side / min(height, width)
    new_height, new_width = (
        (float(short_side), scale * width) if height < width else (scale * height, float(short_side))
    )
    longer = max(new_height, new_width)
    if longer > max_side:
        scale = max_side / longer
        new_height, new_width = new_height * scale, new_width * scale
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image bilinearly, antialiased where it shrinks.

    Args:
        image: (H, W, 3) uint8.
        size: (h, w) of the result.

    Returns:
        (h, w, 3) uint8; `image` itself if it has that size.
    """
    if image.shape[:2] == size:
        return image
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def image_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Convert an image to a tensor.

    Args:
        image: (H, W, 3) uint8, with strides of any sign.
        device: Device of the tensor.

    Returns:
        (3, H, W) float32 in 0..255.
    """
    image = np.ascontiguousarray(
        image
    )  # torch accepts no negative strides, such as those of BGR flipped to RGB
    return torch.tensor(image, dtype=torch.float32, device=device).permute(2, 0, 1).contiguous()


def upsample_bands(
    scores: Tensor, size: tuple[int, int], band_rows: int | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Resize score maps bilinearly (align_corners False), a band of rows at a time.

    Memory is T * rows * W values, whatever H. Each value is bit-identical for every `band_rows`, and equals
    that of `torch.nn.functional.interpolate` up to float rounding (1e-6 of the largest score): that function
    has several kernels, chosen by T and size, which already differ from each other by as much.

    Args:
        scores: (T, h, w).
        size: (H, W).
        band_rows: Rows of a band; None for about 4 MiB.

    Yields:
        Pairs (first row, scores (T, rows, W) float32 on the CPU).
    """
    maps = _ResizedMaps(scores, size)
    if band_rows is None:
        band_rows = max(1, _BAND_VALUES // (scores.shape[0] * size[1]))
    for start, stop in _bands(size[0], band_rows):
        band = torch.empty(scores.shape[0], stop - start, size[1])
        for label, rows in enumerate(band):
            maps.rows(label, start, stop, out=rows)
        yield start, band


def upsample(scores: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Upsample scores to the size of an image: all bands of `upsample_bands` as one array.

    Args:
        scores: As in `upsample_bands`.
        size: (H, W) of the image.

    Returns:
        (T, H, W) float32: 4 * T * H * W bytes.
    """
    maps = _ResizedMaps(scores, size)
    whole = np.empty((scores.shape[0], *size), np.float32)
    for label, filled in enumerate(torch.from_numpy(whole)):
        for start, stop in _bands(size[0], max(1, _CLASS_VALUES // size[1])):
            maps.rows(label, start, stop, out=filled[start:stop])
    return whole


def label_map(scores: Tensor, size: tuple[int, int], band_rows: int | None = None) -> np.ndarray:
    """Return the best class of every pixel after resizing: the arg-max of `upsample`, in bands of rows.

    Memory beyond the result is a few bands of one class, whatever T and H.

    Args:
        scores: (T, h, w), finite.
        size: (H, W).
        band_rows: Rows of a band; None for about 1 MiB of scores of one class.

    Returns:
        Class ids (H, W), uint8 for up to 255 classes, else uint16; of equal scores the first class wins.
    """
    maps = _ResizedMaps(scores, size)
    ids = np.zeros(size, label_dtype(scores.shape[0]))
    for start, stop in _bands(size[0], band_rows or max(1, _CLASS_VALUES // size[1])):
        band, best = ids[start:stop], maps.rows(0, start, stop)
        for label in range(1, len(scores)):
            values = maps.rows(label, start, stop)
            # A later winner has the greater id, so that the greatest id of all winners is that of the last.
            wins = np.greater(values.numpy(), best.numpy())
            np.maximum(band, np.multiply(wins, label, dtype=ids.dtype), out=band)
            torch.maximum(best, values, out=best)
    return ids


def best_scores(scores: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Return the highest score of every pixel after resizing, in bands of rows.

    Args:
        scores: (T, h, w).
        size: (H, W).

    Returns:
        (H, W) float32.
    """
    best = np.empty(size, np.float32)
    for start, band in upsample_bands(scores, size):
        best[start : start + band.shape[1]] = band.amax(dim=0).numpy()
    return best


class _ResizedMaps:
    """Score maps (T, h, w) as resized to (H, W), computed where they are asked for."""

    def __init__(self, scores: Tensor, size: tuple[int, int]) -> None:
        self._scores = scores.float().cpu()
        self._vertical = _taps(scores.shape[1], size[0])
        self._horizontal = _taps(scores.shape[2], size[1])

    def rows(self, label: int, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """Return the scores (stop - start, W) of a class in some rows, in `out` if it is given."""
        left, right, before, after = self._horizontal
        top, bottom, up, down = (each[start:stop] for each in self._vertical)
        first, last = int(top[0]), int(bottom[-1])
        source = self._scores[label, first : last + 1]
        # Across before down: many rows lie between the same two of the source.
        # `index_select` is ten times as fast as indexing with a tensor.
        lines = source.index_select(1, left).mul_(before).add_(source.index_select(1, right).mul_(after))
        above = torch.index_select(lines, 0, top - first, out=out).mul_(up[:, None])
        return above.add_(lines.index_select(0, bottom - first).mul_(down[:, None]))


def _bands(height: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each band of `rows` rows, and the row behind its last."""
    for start in range(0, height, rows):
        yield start, min(start + rows, height)


def _taps(source: int, target: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return for each target index the two source indices that it lies between, and their weights."""
    # Rounded where PyTorch rounds: scale and position to float32, but not their product.
    scale = torch.tensor(source / target, dtype=torch.float32).double()
    centres = torch.arange(target, dtype=torch.float64) + 0.5
    position = (centres * scale - 0.5).float().clamp_(min=0)
    first = position.floor().long().clamp_(max=source - 1)
    second = (first + 1).clamp_(max=source - 1)
    fraction = (position - first).clamp_(max=1)
    return first, second, 1 - fraction, fraction
