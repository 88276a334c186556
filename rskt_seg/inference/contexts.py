"""FCtL's way through a large image: overlapping patches, each with its contexts, logits added up.

Source: section 3.1 of the paper and the published code. A model here is called as `model(patches,
contexts={name: images or encoded images}, windows={name: places})` and returns a dataclass with `.logits` of
the patches' size; it has `device`, `working_side` (px that everything is resized to), `patch_side` (px of the
image), `context_factors` (name -> side in patch sides, 0 for the whole image), `sees_whole`, and
`encode_context(name, images)`. Images are (H, W, 3) uint8 RGB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from rskt_seg.errors import ConfigError
from rskt_seg.inference.blend import sum_bands
from rskt_seg.inference.resize import image_tensor, resize_image, upsample_bands
from rskt_seg.inference.views import VIEWS, View
from rskt_seg.labels import label_dtype
from rskt_seg.windows import Window

PATCH_OVERLAP = 50
"""Least overlap (px) of neighbouring patches in the published code, whatever their side."""
_ROWS = 256


def patch_starts(length: int, side: int, min_overlap: int = PATCH_OVERLAP) -> tuple[int, ...]:
    """First pixels of the fewest patches of `side` that cover 0..length with at least `min_overlap`.

    They are spread evenly and rounded half to even, as published: 6 starts for 2448 px (120 px overlap), 11
    for 5000 (about 59 px). A length of at most `side` has the one start 0. Raises `ConfigError` unless
    length >= 1 and 0 <= min_overlap < side.
    """
    if length < 1 or not 0 <= min_overlap < side:
        raise ConfigError(
            f"patches need a length of at least 1 and 0 <= min_overlap < side; found length {length}, "
            f"min_overlap {min_overlap}, side {side}"
        )
    if length <= side:
        return (0,)
    count = -(-length // side)
    while side - (length - side) / (count - 1) < min_overlap:
        count += 1
    step = (length - side) / (count - 1)
    return (*(round(i * step) for i in range(count - 1)), length - side)


def patch_counts(height: int, width: int, side: int, min_overlap: int = PATCH_OVERLAP) -> Tensor:
    """How many of the patches of `patch_grid` hold each pixel: (H, W) float32, at least 1."""
    rows, columns = (torch.zeros(max(length, side)) for length in (height, width))
    for counts in (rows, columns):
        for start in patch_starts(len(counts), side, min_overlap):
            counts[start : start + side] += 1
    return rows[:height, None] * columns[:width]


def patch_grid(height: int, width: int, side: int, min_overlap: int = PATCH_OVERLAP) -> tuple[Window, ...]:
    """Square patches that cover an image of height x width, row by row; see `patch_starts`.

    Where the image is smaller than a patch, the patch reaches beyond it.
    """
    tops, lefts = (patch_starts(length, side, min_overlap) for length in (height, width))
    return tuple(Window(top, left, side, side) for top in tops for left in lefts)


def context_window(patch: Window, factor: float) -> Window:
    """The square of `factor` patch sides around a patch, rounded down as published; may leave the image."""
    margin, side = int(patch.height / 2 * (factor - 1)), int(patch.height * factor)
    return Window(patch.top - margin, patch.left - margin, side, side)


def relative_window(window: Window, patch: Window) -> tuple[float, float, float, float]:
    """(top, left, height, width) of a window in patch sides, from the upper left corner of the patch."""
    side = patch.height
    top, left = (window.top - patch.top) / side, (window.left - patch.left) / side
    return top, left, window.height / side, window.width / side


def cut(image: np.ndarray, window: Window) -> np.ndarray:
    """The pixels (height, width, 3) of a window, black where it leaves the image."""
    pixels = np.zeros((window.height, window.width, *image.shape[2:]), image.dtype)
    top, left = max(window.top, 0), max(window.left, 0)
    inside = image[top : max(window.top + window.height, 0), left : max(window.left + window.width, 0)]
    rows, columns = top - window.top, left - window.left
    pixels[rows : rows + inside.shape[0], columns : columns + inside.shape[1]] = inside
    return pixels


def padded(image: np.ndarray, side: int) -> np.ndarray:
    """The image with black below and to the right, so that no side is shorter than `side`."""
    height, width = (max(length, side) for length in image.shape[:2])
    return image if image.shape[:2] == (height, width) else cut(image, Window(0, 0, height, width))


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """The image as a square of `side`: Pillow's bilinear filter, antialiased where it shrinks."""
    return resize_image(image, (side, side))


class Surroundings:
    """One image as FCtL reads it: each patch goes through the model with its contexts and where they lie.

    `image` is at least a patch high and wide (see `padded`). A context that is the whole image is encoded
    once, here; `whole` is that image at the model's working side, if it exists already.
    """

    def __init__(self, model: nn.Module, image: np.ndarray, whole: np.ndarray | None = None) -> None:
        self.model, self.image = model, image
        self.extent = Window(0, 0, *image.shape[:2])
        self._encoded = {}
        for name, factor in model.context_factors.items():
            if factor == 0:
                picture = resized(image, model.working_side) if whole is None else whole
                self._encoded[name] = model.encode_context(name, image_tensor(picture, model.device)[None])

    def window(self, name: str, patch: Window) -> Window:
        """The pixels of context `name` of a patch."""
        factor = self.model.context_factors[name]
        return context_window(patch, factor) if factor else self.extent

    def pixels(self, window: Window) -> np.ndarray:
        """A window as the model sees it, black outside of the image: (side, side, 3) uint8."""
        return resized(cut(self.image, window), self.model.working_side)

    def read(self, patches: Sequence[Window], **options: object) -> object:
        """The model's output for several patches; `options` are keywords of its call."""
        areas = {name: [self.window(name, patch) for patch in patches] for name in self.model.context_factors}
        contexts = {name: self._batch(areas[name]) for name in areas if name not in self._encoded}
        return self.model(
            self._batch(patches),
            contexts={**contexts, **self._encoded},
            windows={name: _places(windows, patches) for name, windows in areas.items()},
            **options,
        )

    def _batch(self, windows: Sequence[Window]) -> Tensor:
        return torch.stack([image_tensor(self.pixels(window), self.model.device) for window in windows])


def patch_logits(
    model: nn.Module,
    image: np.ndarray,
    *,
    whole: np.ndarray | None = None,
    min_overlap: int = PATCH_OVERLAP,
    batch_size: int = 4,
) -> Iterator[tuple[Window, Tensor]]:
    """Every patch of an image with its logits (T, side, side) float32 on the CPU, row by row.

    Images smaller than a patch are seen with black below and to the right. A context that is the whole image
    is encoded once; `whole` is that image at the model's working side, if it exists already. Call it inside
    `rskt_seg.inference.predict.evaluating(model)`.
    """
    side = model.patch_side
    image = padded(image, side)
    surroundings = Surroundings(model, image, whole)
    grid = patch_grid(*image.shape[:2], side, min_overlap)
    with tqdm(total=len(grid), desc="patches", unit="patch", leave=False, disable=None) as progress:
        for start in range(0, len(grid), batch_size):
            patches = grid[start : start + batch_size]
            logits = surroundings.read(patches).logits.float().cpu()
            yield from zip(patches, _at_side(logits, side), strict=True)
            progress.update(len(patches))


def _places(windows: Sequence[Window], patches: Sequence[Window]) -> Tensor:
    return torch.tensor([relative_window(w, p) for w, p in zip(windows, patches, strict=True)])


def _at_side(logits: Tensor, side: int) -> Tensor:
    if logits.shape[-1] == side:
        return logits
    return F.interpolate(logits, size=(side, side), mode="bilinear", align_corners=False)


def score_bands(model: nn.Module, image: np.ndarray, **options: object) -> Iterator[tuple[int, Tensor]]:
    """Bands of finished rows, from top to bottom: pairs (first row, summed logits (T, rows, W)) float32.

    Memory is that of one row of patches, T * patch_side * W values, whatever the height. `options` are those
    of `patch_logits`. A model that `sees_whole` is given the whole image at its working side; its logits are
    resized bilinearly. Call it inside `evaluating(model)`.
    """
    height, width = image.shape[:2]
    if model.sees_whole:
        square = image_tensor(resized(image, model.working_side), model.device)
        yield from upsample_bands(model(square[None]).logits[0], (height, width))
        return
    tiles = patch_logits(model, image, **options)
    for top, band in sum_bands(tiles, max(width, model.patch_side)):
        if top < height:
            yield top, band[:, : height - top, :width]


def score_map(model: nn.Module, image: np.ndarray, **options: object) -> Tensor:
    """All of `score_bands` at once: (T, H, W) float32, 4 * T * H * W bytes."""
    whole = None
    for top, band in score_bands(model, image, **options):
        if whole is None:
            whole = band.new_empty(band.shape[0], *image.shape[:2])
        whole[:, top : top + band.shape[1]] = band
    return whole


def segment_patches(model: nn.Module, image: np.ndarray, **options: object) -> np.ndarray:
    """Ids (H, W) of the best class by the summed logits, in the memory of `score_bands`.

    uint8 for up to 255 classes, else uint16; of equal sums the first class wins.
    """
    ids = None
    for top, band in score_bands(model, image, **options):
        if ids is None:
            ids = np.empty(image.shape[:2], label_dtype(band.shape[0]))
        ids[top : top + band.shape[1]] = band.argmax(dim=0).numpy()
    return ids


def augmented_score_map(
    model: nn.Module, image: np.ndarray, views: Sequence[View] = VIEWS["dihedral"], **options: object
) -> Tensor:
    """Sum of the logits of several views of an image: (T, H, W) float32, twice the memory of `score_map`.

    The eight default views are the published ones. Patches and contexts are cut anew from every view; a
    context that is the whole image is resized once and then turned, as published. Raises `ConfigError`
    without views.
    """
    if not views:
        raise ConfigError("at least one view is needed; VIEWS['none'] is the image alone")
    height, width = image.shape[:2]
    if not model.sees_whole:
        image = padded(image, model.patch_side)  # first, so that every view sees the same black
    whole = resized(image, model.working_side) if 0 in model.context_factors.values() else None
    total = None
    for view in views:
        turned = None if whole is None else _seen(replace(view, scale=1.0), whole)
        scores = score_map(model, _seen(view, image), whole=turned, **options)
        scores = view.undo(scores[None], image.shape[:2])[0]
        total = scores if total is None else total.add_(scores)
    return total[:, :height, :width]


def probabilities(
    model: nn.Module,
    image: np.ndarray,
    views: Sequence[View] = VIEWS["none"],
    *,
    min_overlap: int = PATCH_OVERLAP,
    **options: object,
) -> Tensor:
    """Class probabilities (T, H, W) float32: softmax of the mean of all logits of a pixel.

    The mean is that over the patches that hold the pixel, in all views: the sum of `augmented_score_map` by a
    count that is the same for every class, so that the best class is the published one.
    """
    total = augmented_score_map(model, image, views, min_overlap=min_overlap, **options)
    counts = _counts(model, image.shape[:2], views, min_overlap)
    for start in range(0, total.shape[1], _ROWS):  # some rows at a time, for the copies that softmax makes
        rows = slice(start, start + _ROWS)
        total[:, rows] = (total[:, rows] / counts[rows]).softmax(dim=0)
    return total


def _counts(model: nn.Module, size: tuple[int, int], views: Sequence[View], min_overlap: int) -> Tensor:
    """(H, W): how many logits of each class `augmented_score_map` adds up."""
    if model.sees_whole:
        return torch.full(size, float(len(views)))
    padded_size = tuple(max(length, model.patch_side) for length in size)
    total = torch.zeros(padded_size)
    for view in views:
        turned = padded_size if view.turns % 2 == 0 else padded_size[::-1]
        seen = [int(length * view.scale) for length in turned]
        counts = patch_counts(*seen, model.patch_side, min_overlap)
        total += view.undo(counts[None, None], padded_size)[0, 0]
    return total[: size[0], : size[1]]


def _seen(view: View, image: np.ndarray) -> np.ndarray:
    pixels = view.apply(torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1)[None])[0]
    return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
