"""What FCtL's contexts did for one patch of an image, as in figures 7, 10 and 11 of the paper."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rskt_seg.errors import ConfigError
from rskt_seg.inference.contexts import PATCH_OVERLAP, Surroundings, padded, patch_grid
from rskt_seg.windows import Window, point_in


@dataclass(frozen=True)
class PatchContext:
    """One context of a patch, the patch itself ("local") included; S is the model's working side.

    `window`: its pixels in the image, which it may leave. `pixels` (S, S, 3) uint8: what the model saw.
    `attention` (h, w) float32: how the query cell of the patch attends to its cells, which sum to 1; None
    where nothing correlates them. `weight` (h, w) float32 in 0..1: its share in the fusion at every cell of
    the patch, the mean over channels; None for fewer than two.
    """

    window: Window
    pixels: np.ndarray
    attention: np.ndarray | None
    weight: np.ndarray | None


@dataclass(frozen=True)
class PatchContexts:
    """A patch, the contexts by name with "local" first, and the enhancement.

    `point`: (row, column) in the image that was asked for; `cell`: (row, column) of the query cell. `span`:
    where the first cell begins and the last ends, on both axes, in shares of the patch's side (cells reach
    beyond it where the encoder pads). `enhancement`: window side of a group of channels -> (h, w) float32,
    the mean of `|E|` (equation 6) over the group; empty without ALE.
    """

    patch: Window
    point: tuple[int, int]
    cell: tuple[int, int]
    span: tuple[float, float]
    contexts: dict[str, PatchContext]
    enhancement: dict[int, np.ndarray]


def why_no_maps(model: nn.Module) -> str | None:
    """What keeps a model from having context maps, or None."""
    if model.sees_whole:
        return "this model sees whole images, without contexts"
    if not model.spec.lcf and model.spec.ale in ("none", "concat"):
        return "this model correlates and enhances nothing (lcf=False)"
    return None


def patch_contexts(
    model: nn.Module,
    image: np.ndarray,
    at: tuple[int, int] | None = None,
    min_overlap: int = PATCH_OVERLAP,
) -> PatchContexts:
    """What the contexts did for the patch around a pixel of an image (H, W, 3) uint8.

    `at`: (row, column), None for the centre of the image; of the patches that hold it the one whose centre is
    nearest is taken. Beside what `rskt_seg.inference.contexts` expects of a model it has `return_maps=True`,
    a `spec`, and an `encoder` with `stride` and `offset` px; `why_no_maps` is None. Call it inside
    `rskt_seg.inference.predict.evaluating`.

    Raises `ConfigError` for a pixel outside of the image.
    """
    point = point_in(image.shape[:2], at)
    surroundings = Surroundings(model, padded(image, model.patch_side))
    patch = _nearest(patch_grid(*surroundings.image.shape[:2], model.patch_side, min_overlap), point)
    maps = surroundings.read([patch], return_maps=True).maps
    if not (maps.attention or maps.weights or maps.enhancement is not None):
        raise ConfigError(
            "this model correlates and enhances nothing (lcf=False, ale='none'); no context maps"
        )
    size = _grid_size(model, maps)
    cell = tuple(
        _cell(model, place - first, cells)
        for place, first, cells in zip(point, (patch.top, patch.left), size, strict=True)
    )
    contexts = {}
    for name in ("local", *model.context_factors):
        window = patch if name == "local" else surroundings.window(name, patch)
        attention, weight = maps.attention.get(name), maps.weights.get(name)
        if attention is not None:
            attention = _array(attention[0, cell[0] * size[1] + cell[1]].view(size))
        if weight is not None:
            weight = _array(weight[0].mean(dim=0))
        contexts[name] = PatchContext(window, surroundings.pixels(window), attention, weight)
    return PatchContexts(patch, point, cell, _span(model, size[0]), contexts, _enhancement(model, maps))


def _nearest(grid: tuple[Window, ...], point: tuple[int, int]) -> Window:
    def distance(window: Window) -> float:
        row, column = window.top + window.height / 2, window.left + window.width / 2
        return max(abs(row - point[0]), abs(column - point[1]))

    return min(grid, key=distance)


def _grid_size(model: nn.Module, maps: object) -> tuple[int, int]:
    """Cells (h, w) of the feature maps; patches are square, and so are their maps."""
    if maps.attention:
        cells = int(next(iter(maps.attention.values())).shape[-1] ** 0.5)
        return cells, cells
    return tuple(maps.enhancement.shape[2:])


def _cell(model: nn.Module, place: int, cells: int) -> int:
    """The cell whose centre is nearest to a pixel of the patch, in pixels of the image."""
    seen = (place + 0.5) * model.working_side / model.patch_side
    return min(max(round((seen - model.encoder.offset) / model.encoder.stride), 0), cells - 1)


def _span(model: nn.Module, cells: int) -> tuple[float, float]:
    stride, offset = model.encoder.stride, model.encoder.offset
    first = offset - stride / 2
    return first / model.working_side, (first + stride * cells) / model.working_side


def _enhancement(model: nn.Module, maps: object) -> dict[int, np.ndarray]:
    if maps.enhancement is None:
        return {}
    sides = model.spec.ale_windows
    groups = torch.tensor_split(maps.enhancement[0].abs(), len(sides))
    return {side: _array(group.mean(dim=0)) for side, group in zip(sides, groups, strict=True)}


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
