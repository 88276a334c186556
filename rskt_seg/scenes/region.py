"""The maps of a part of a scene: windows are read, seen by the model, blended, and turned into values."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rskt_seg.decision import Decision
from rskt_seg.finite import check_scores
from rskt_seg.geo.map_layers import NO_SHARE, share_values
from rskt_seg.geo.windowed import WindowReader
from rskt_seg.inference.cells import CellMeans, RunningMeans, WindowPlan
from rskt_seg.inference.resize import image_tensor
from rskt_seg.inference.strategies import Strategy
from rskt_seg.windows import Window

BLOCK = 512
"""Side (px) of the blocks of a map, at which it is computed: chunks begin at multiples of it."""
_VALUES = 2**24
"""Scores at pixels that are in memory at a time."""


@dataclass(frozen=True, eq=False)
class SceneTask:
    """What a chunk is computed from, besides the model and its place.

    Attributes:
        name: The scene, for messages.
        reader: Reads its windows.
        plan: How windows cover it.
        decision: What becomes of scores.
        fill: RGB that models see in place of pixels that are not valid.
        overview: The scene reduced to some size, (h, w, 3) uint8, filled.
        batch: Windows that go through the model at a time.
        keeps_scores: Whether the scores of all classes are kept, besides the best.
    """

    name: str
    reader: WindowReader
    plan: WindowPlan
    decision: Decision
    fill: tuple[int, int, int]
    overview: np.ndarray
    batch: int = 1
    keeps_scores: bool = False


class Region(NamedTuple):
    """Pixels of a scene around an area.

    Attributes:
        area: The area (px), whose map is computed.
        extent: What was read (px): its windows with their margins, inside of the scene.
        pixels: (h, w, 3) uint8 of the extent, filled where they are not valid.
        valid: (h, w) bool of the extent.
    """

    area: Window
    extent: Window
    pixels: np.ndarray
    valid: np.ndarray


class Maps(NamedTuple):
    """The maps of an area of H x W px.

    Attributes:
        ids: (H, W), the values of the map; nodata where the scene has none.
        confidence: (H, W) uint8, score of the best class times 254; 255 for nodata.
        scores: (T, H, W) uint8 likewise, of each class; None unless the task keeps them.
        chosen: (T,) int64, how many pixels each class was the best of.
        windows: Number of windows that the model saw.
    """

    ids: np.ndarray
    confidence: np.ndarray
    scores: np.ndarray | None
    chosen: np.ndarray
    windows: int


def windows_of(plan: WindowPlan, area: Window) -> tuple[Window, ...]:
    """Return the windows, in cells, that the map of an area (px) is blended from."""
    return plan.windows(_cells(plan, _blocks_around(plan, area)))


def read_region(task: SceneTask, area: Window) -> Region:
    """Read what the map of an area depends on.

    Args:
        task: The scene.
        area: A window (px) of the scene.

    Returns:
        The pixels.

    Raises:
        ImageReadError: The scene cannot be read there.
    """
    plan = task.plan
    windows = [plan.pixels(window) for window in windows_of(plan, area)]
    reach = max(plan.margin, plan.cell)
    top = max(0, min(window.top for window in windows) - reach)
    left = max(0, min(window.left for window in windows) - reach)
    bottom = min(plan.height, max(window.bottom for window in windows) + reach)
    right = min(plan.width, max(window.right for window in windows) + reach)
    extent = Window(top, left, bottom - top, right - left)
    image = task.reader.read(extent)
    pixels = np.where(image.valid[:, :, None], image.pixels, np.array(task.fill, np.uint8))
    return Region(area, extent, pixels, image.valid)


def map_region(
    strategy: Strategy,
    task: SceneTask,
    region: Region,
    on_window: Callable[[int, int], None] = lambda *_: None,
) -> Maps:
    """Compute the maps of an area. Call it inside `rskt_seg.inference.predict.evaluating(model)`.

    Windows without a valid pixel are left out.

    Args:
        strategy: The model.
        task: The scene.
        region: What `read_region` returned.
        on_window: Called with the numbers of windows done and of all, as they are done.

    Returns:
        The maps.

    Raises:
        NotFiniteError: A score of the model is NaN or infinite.
    """
    plan = task.plan
    around = _cells(plan, _blocks_around(plan, region.area))
    windows = [each for each in windows_of(plan, region.area) if _is_seen(plan, region, each)]
    values = _Values(strategy, task, region)
    shared = strategy.scene_context(task.overview) if windows else None
    running: RunningMeans | None = None
    row = -1
    for done, (window, maps) in enumerate(_window_maps(strategy, task, region, windows, shared), start=1):
        running = running or RunningMeans(plan, len(maps), around, plan.held_rows(BLOCK))
        if window.top != row:
            row = window.top
            values.decide(running, row)
        running.add(window, maps)
        on_window(done, len(windows))
    if running is not None:
        values.decide(running, around.bottom)
    return values.maps(len(windows))


def _blocks_around(plan: WindowPlan, area: Window) -> Window:
    """Return the smallest whole blocks of the scene around an area, so that sub-areas compute the same."""
    top, left = area.top // BLOCK * BLOCK, area.left // BLOCK * BLOCK
    bottom, right = -(-area.bottom // BLOCK) * BLOCK, -(-area.right // BLOCK) * BLOCK
    return Window(top, left, min(bottom, plan.height) - top, min(right, plan.width) - left)


def _cells(plan: WindowPlan, area: Window) -> Window:
    """Return the cells of an area with their neighbours, between which pixels are interpolated."""
    reach = plan.reach
    top, left = max(area.top // plan.cell - reach, 0), max(area.left // plan.cell - reach, 0)
    bottom = min(-(-area.bottom // plan.cell) + reach, plan.rows)
    right = min(-(-area.right // plan.cell) + reach, plan.columns)
    return Window(top, left, bottom - top, right - left)


def _is_seen(plan: WindowPlan, region: Region, window: Window) -> bool:
    """Return whether a pixel is valid in a window, or within a cell around it, whose score depends on it."""
    area, extent, cell = plan.pixels(window), region.extent, plan.cell
    rows = slice(max(0, area.top - cell - extent.top), area.bottom + cell - extent.top)
    columns = slice(max(0, area.left - cell - extent.left), area.right + cell - extent.left)
    return bool(region.valid[rows, columns].any())


def _window_maps(
    strategy: Strategy, task: SceneTask, region: Region, windows: Sequence[Window], shared: Any
) -> Iterator[tuple[Window, Tensor]]:
    """Yield every window, in cells, with its maps; all batches have one size, which may change roundings."""
    plan, model = task.plan, strategy.model
    for start in range(0, len(windows), task.batch):
        group = windows[start : start + task.batch]
        padded = [*group, *[group[-1]] * (task.batch - len(group))]
        places = [plan.pixels(window) for window in padded]
        crops = [image_tensor(_crop(task, region, place), model.device) for place in places]
        maps = strategy.window_maps(torch.stack(crops), places, plan, shared)
        check_scores(maps, task.name)
        yield from zip(group, maps, strict=False)


def _crop(task: SceneTask, region: Region, window: Window) -> np.ndarray:
    """Return a window with its margin, (h, w, 3) uint8; outside of the scene it is black in the margin."""
    margin, extent = task.plan.margin, region.extent
    top, left = window.top - margin - extent.top, window.left - margin - extent.left
    shape = (window.height + 2 * margin, window.width + 2 * margin, 3)
    inside = region.pixels[max(top, 0) : max(top + shape[0], 0), max(left, 0) : max(left + shape[1], 0)]
    if inside.shape == shape:  # as nearly all
        return np.ascontiguousarray(inside)
    crop = np.full(shape, 0 if margin else np.array(task.fill, np.uint8), np.uint8)
    rows, columns = max(-top, 0), max(-left, 0)
    crop[rows : rows + inside.shape[0], columns : columns + inside.shape[1]] = inside
    return crop


class _Values:
    """Turns blended maps into the values of a map, a strip of a block at a time, from the top down."""

    def __init__(self, strategy: Strategy, task: SceneTask, region: Region) -> None:
        self._strategy, self._plan, self._decision = strategy, task.plan, task.decision
        self._area = area = region.area
        shape, classes = (area.height, area.width), len(task.decision.ids)
        self._ids = np.full(shape, task.decision.legend.nodata, task.decision.legend.dtype)
        self._confidence = np.full(shape, NO_SHARE, np.uint8)
        self._scores = np.full((classes, *shape), NO_SHARE, np.uint8) if task.keeps_scores else None
        self._chosen = np.zeros(classes, np.int64)
        self._valid = region.valid[area.relative_to(region.extent).slices]
        self._strips: Iterator[Window] | None = None
        self._next: Window | None = None

    def decide(self, running: RunningMeans, bottom: int) -> None:
        """Decide on the strips of which all is known, as no more windows are added above a row of cells."""
        if self._strips is None:
            self._strips = _strips(self._plan, self._area, running.channels)
            self._next = next(self._strips, None)
        while self._next is not None:
            strip = self._next
            inside = strip.intersection(self._area)
            if self._valid[inside.relative_to(self._area).slices].any():
                cells = _cells(self._plan, strip)
                running.forget(cells.top)
                if cells.bottom > bottom:
                    return
                self._write(strip, inside, running.mean(cells.bottom))
            self._next = next(self._strips, None)
        running.forget(bottom)

    def _write(self, strip: Window, inside: Window, means: CellMeans) -> None:
        """Write the values of the part of a strip that lies inside of the area."""
        # The whole strip, of which a sub-area may need a part: the layout decides how vectors are rounded.
        scores = self._strategy.map_scores(means.pixels(strip))[:, *inside.relative_to(strip).slices]
        here = inside.relative_to(self._area).slices
        best, score = _best(scores)
        known = self._valid[here]
        self._chosen += np.bincount(best[known], minlength=len(self._chosen))
        self._ids[here] = np.where(known, self._decision.apply(best, score), self._ids[here])
        self._confidence[here] = np.where(known, share_values(score), NO_SHARE)
        if self._scores is not None:
            self._scores[:, *here] = np.where(known, share_values(scores.numpy()), NO_SHARE)

    def maps(self, windows: int) -> Maps:
        """Return the maps that were computed from a number of windows."""
        return Maps(self._ids, self._confidence, self._scores, self._chosen, windows)


def _strips(plan: WindowPlan, area: Window, channels: int) -> Iterator[Window]:
    """Yield strips of the blocks that touch an area from the top down: the same ones whatever the area."""
    rows = max(1, min(BLOCK, _VALUES // (max(channels, 1) * BLOCK)))
    around = _blocks_around(plan, area)
    for block_top in range(around.top, around.bottom, BLOCK):
        block_bottom = min(block_top + BLOCK, around.bottom)
        for top in range(block_top, block_bottom, rows):
            for left in range(around.left, around.right, BLOCK):
                height = min(rows, block_bottom - top)
                strip = Window(top, left, height, min(BLOCK, around.right - left))
                if strip.top < area.bottom and strip.bottom > area.top:
                    yield strip


def _best(scores: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the best class (H, W) of scores (T, H, W), of equal ones the first, and its score (H, W)."""
    best = scores[0].clone()
    index = torch.zeros(best.shape, dtype=torch.int32)
    for number, values in enumerate(scores[1:], start=1):
        # A later winner has the greater index, so that the greatest of all winners is that of the last.
        torch.maximum(index, (values > best).int().mul_(number), out=index)
        torch.maximum(best, values, out=best)
    return index.numpy(), best.numpy()
