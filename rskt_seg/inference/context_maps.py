"""What FCtL's contexts did for one patch of an image, as in figures 7, 10 and 11 of the paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.inference.contexts import (
    PATCH_OVERLAP,
    ContextMaps,
    ContextReader,
    PatchModel,
    pad_image,
    patch_grid,
)
from rskt_seg.windows import Window, point_in


@dataclass(frozen=True)
class PatchContext:
    """One context of a patch, the patch itself ("local") included; S is the model's working side.

    Attributes:
        window: Its pixels in the image, which it may leave.
        pixels: (S, S, 3) uint8 RGB that the model saw.
        attention: (h, w) float32: how the query cell of the patch attends to the context's cells, sum 1; None
            if the model does not correlate them.
        weight: (h, w) float32 in 0..1: its share in the fusion at every cell of the patch, the mean over
            channels; None for fewer than two contexts.
    """

    window: Window
    pixels: np.ndarray
    attention: np.ndarray | None
    weight: np.ndarray | None


@dataclass(frozen=True)
class PatchContexts:
    """A patch with its contexts and the enhancement.

    Attributes:
        patch: The patch in the image.
        point: (row, column) of the requested pixel in the image.
        cell: (row, column) of the query cell in the maps.
        span: Where the first cell begins and the last ends, on both axes, in shares of the patch's side;
            cells reach beyond it if the encoder pads.
        contexts: The contexts by name, "local" first.
        enhancement: Window side of a group of channels -> (h, w) float32, the mean of `|E|` (equation 6) over
            the group; empty without ALE.
    """

    patch: Window
    point: tuple[int, int]
    cell: tuple[int, int]
    span: tuple[float, float]
    contexts: dict[str, PatchContext]
    enhancement: dict[int, np.ndarray]


class ContextSpec(Protocol):
    """The switches of a specification that say which maps the model has."""

    @property
    def lcf(self) -> bool: ...
    @property
    def ale(self) -> str: ...
    @property
    def ale_windows(self) -> Sequence[int]: ...


class ContextEncoder(Protocol):
    """An encoder whose cell i is centred at the pixel `stride * i + offset` of its input."""

    @property
    def stride(self) -> int: ...
    @property
    def offset(self) -> float: ...


class ContextModel(PatchModel, Protocol):
    """A model of patches that can show what its contexts did."""

    @property
    def spec(self) -> ContextSpec: ...
    @property
    def encoder(self) -> ContextEncoder: ...


def why_no_maps(model: ContextModel) -> str | None:
    """Return why a model has no context maps, None if it has some."""
    if model.sees_whole:
        return "this model sees whole images, without contexts"
    if not model.spec.lcf and model.spec.ale in ("none", "concat"):
        return "this model correlates and enhances nothing (lcf=False)"
    return None


def patch_contexts(
    model: ContextModel,
    image: np.ndarray,
    at: tuple[int, int] | None = None,
    overlap: int = PATCH_OVERLAP,
) -> PatchContexts:
    """Show what the contexts did for the patch around a pixel.

    Of the patches that hold the pixel, the one with the nearest centre is taken. Call it inside
    `rskt_seg.inference.predict.evaluating(model)`.

    Args:
        model: A model for which `why_no_maps` is None.
        image: (H, W, 3) uint8 RGB.
        at: Pixel (row, column), None for the centre of the image.
        overlap: Least overlap (px) of neighbouring patches.

    Returns:
        The patch, its contexts and their maps.

    Raises:
        ConfigError: If the pixel lies outside of the image, or the model has no context maps.
    """
    height, width = image.shape[:2]
    point = point_in((height, width), at)
    reader = ContextReader(model, pad_image(image, model.patch_side))
    grid = patch_grid(reader.extent.height, reader.extent.width, model.patch_side, overlap)
    patch = _nearest_patch(grid, point)
    maps = reader.predict([patch], return_maps=True).maps
    if maps is None or not (maps.attention or maps.weights or maps.enhancement is not None):
        raise ConfigError(
            "this model correlates and enhances nothing (lcf=False, ale='none'); no context maps"
        )
    rows, columns = _grid_size(maps)
    cell = (
        _nearest_cell(model, point[0] - patch.top, rows),
        _nearest_cell(model, point[1] - patch.left, columns),
    )
    contexts = {}
    for name in ("local", *model.context_factors):
        window = patch if name == "local" else reader.window(name, patch)
        attention = weight = None
        if name in maps.attention:
            attention = _to_numpy(maps.attention[name][0, cell[0] * columns + cell[1]].view(rows, columns))
        if name in maps.weights:
            weight = _to_numpy(maps.weights[name][0].mean(dim=0))
        contexts[name] = PatchContext(window, reader.pixels(window), attention, weight)
    enhancement = {}
    if maps.enhancement is not None:
        sides = model.spec.ale_windows
        groups = torch.tensor_split(maps.enhancement[0].abs(), len(sides))
        enhancement = {side: _to_numpy(group.mean(dim=0)) for side, group in zip(sides, groups, strict=True)}
    return PatchContexts(patch, point, cell, _cell_span(model, rows), contexts, enhancement)


def _nearest_patch(grid: Sequence[Window], point: tuple[int, int]) -> Window:
    def distance(window: Window) -> float:
        row, column = window.top + window.height / 2, window.left + window.width / 2
        return max(abs(row - point[0]), abs(column - point[1]))

    return min(grid, key=distance)


def _grid_size(maps: ContextMaps) -> tuple[int, int]:
    """Return the cells (h, w) of the feature maps; patches are square, and so are their maps."""
    if maps.attention:
        cells = int(next(iter(maps.attention.values())).shape[-1] ** 0.5)
        return cells, cells
    if maps.enhancement is not None:
        rows, columns = maps.enhancement.shape[2:]
        return rows, columns
    rows, columns = next(iter(maps.weights.values())).shape[2:]
    return rows, columns


def _nearest_cell(model: ContextModel, place: int, cells: int) -> int:
    """Return the cell whose centre is nearest to a pixel of the patch, along one axis."""
    centre = (place + 0.5) * model.working_side / model.patch_side
    return min(max(round((centre - model.encoder.offset) / model.encoder.stride), 0), cells - 1)


def _cell_span(model: ContextModel, cells: int) -> tuple[float, float]:
    """Return where the first cell begins and the last ends, in shares of the patch's side."""
    stride, offset = model.encoder.stride, model.encoder.offset
    first = offset - stride / 2
    return first / model.working_side, (first + stride * cells) / model.working_side


def _to_numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
