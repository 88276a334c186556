"""From a theme to a scene: land covers, streets, objects, and the look of the photograph."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from rskt_seg.errors import DatasetError
from rskt_seg.synthetic.canvas import Canvas
from rskt_seg.synthetic.concepts import CONCEPTS, INDEX, concept_names
from rskt_seg.synthetic.land import layout
from rskt_seg.synthetic.noise import axes, smooth_noise, smoothstep
from rskt_seg.synthetic.objects import DRAWINGS
from rskt_seg.synthetic.shapes import Drawing, box, moved, transform
from rskt_seg.synthetic.structures import bay, tree
from rskt_seg.synthetic.styles import STYLES, Style
from rskt_seg.synthetic.themes import Group, Theme, allowed_themes

_TRIES = 8
_MIN_SIDE = 32


@dataclass(frozen=True)
class Scene:
    """A scene.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        concept_map: (H, W) uint8, positions in `CONCEPTS`.
    """

    image: np.ndarray
    concept_map: np.ndarray


def render_scene(
    rng: np.random.Generator,
    side: int | tuple[int, int],
    style: Style | str = "wild",
    concepts: Iterable[str] | None = None,
) -> Scene:
    """Render a synthetic aerial scene that is fully determined by `rng`.

    Args:
        rng: Source of all randomness.
        side: Side (px) of a square scene, or (height, width); at least 32 px.
        style: A style or the name of one in `STYLES`.
        concepts: The only concepts that may occur; None for all of `CONCEPTS`.

    Returns:
        The scene.

    Raises:
        DatasetError: For an unknown style or concept, for concepts that no theme can be drawn with, and for a
            side under 32 px.
    """
    shape = (side, side) if isinstance(side, int) else side
    if min(shape) < _MIN_SIDE:
        raise DatasetError(f"a scene needs a side of at least {_MIN_SIDE} px; found {shape}")
    themes = allowed_themes(concept_names(concepts))
    weights = np.array([theme.weight for theme in themes])
    theme = themes[rng.choice(len(themes), p=weights / weights.sum())]
    if isinstance(style, str):
        if style not in STYLES:
            raise DatasetError(f"no style {style!r}; known are {', '.join(STYLES)}")
        style = STYLES[style]
    return render_theme(rng, shape, style, theme)


def render_theme(rng: np.random.Generator, shape: tuple[int, int], style: Style, theme: Theme) -> Scene:
    """Render a scene of a given theme.

    Args:
        rng: Source of all randomness.
        shape: (height, width) in px.
        style: The look of the photograph.
        theme: What the scene shows.

    Returns:
        The scene.
    """
    angle = rng.uniform(0, 2 * np.pi)
    canvas = Canvas(rng, shape, rng.uniform(*style.scale), (float(np.cos(angle)), float(np.sin(angle))))
    regions = layout(theme.layout, rng, shape, len(theme.regions))
    for index, choices in enumerate(theme.regions):
        canvas.paint_land(choices[rng.integers(len(choices))], regions == index)
    if theme.street and (theme.street == theme.focus or rng.random() < 0.65):
        _street(canvas, theme.street[rng.integers(len(theme.street))])
    canvas.soften_borders()
    _surf(canvas)
    for group in theme.groups:
        if rng.random() < group.chance:
            _GROUPS[group.arrangement](canvas, group)
    return Scene(style.develop(canvas.pixels, rng), canvas.concepts)


def _street(canvas: Canvas, name: str) -> None:
    """Paint a strip across the scene; a road gets edge lines and a dashed centre line."""
    rng, scale = canvas.rng, canvas.scale
    along, across = axes(canvas.shape, rng.uniform(0, 2 * np.pi))
    side = min(canvas.shape)
    offset = (
        across + rng.uniform(-0.25, 0.25) * side + 0.06 * side * smooth_noise(rng, canvas.shape, side / 1.5)
    )
    half = rng.uniform(7, 10) * scale * (1.0 if name == "road" else 0.8)
    canvas.paint_land(name, np.abs(offset) < half)
    if name != "road":
        return
    pen = 0.5 * max(scale, 0.9)
    dashes = (np.abs(offset) < pen) & (along % (9 * scale) < 4.5 * scale)
    lines = dashes | (np.abs(np.abs(offset) - half + 1.6 * scale) < pen)
    paint = np.array(CONCEPTS["road"].accents[rng.integers(2)], np.float32)
    canvas.pixels[lines] = 0.15 * canvas.pixels[lines] + 0.85 * paint


def _surf(canvas: Canvas) -> None:
    """Paint foam where the sea meets land, and wet ground beside it."""
    sea = canvas.concepts == INDEX["sea"]
    if not sea.any() or sea.all():
        return
    scale = canvas.scale
    reach = ndimage.distance_transform_edt(sea).astype(np.float32) / scale
    ragged = reach + 1.6 * smooth_noise(canvas.rng, canvas.shape, 7 * scale)
    foam = sea * (1 - smoothstep(ragged, 1.5, 3.5)) * 0.75
    canvas.pixels += foam[..., None] * (np.array((226, 232, 230), np.float32) - canvas.pixels)
    inland = ndimage.distance_transform_edt(~sea).astype(np.float32) / scale
    canvas.pixels *= 1 - 0.18 * ((inland > 0) * (1 - smoothstep(inland, 3, 6)))[..., None]


def _draw(canvas: Canvas, name: str) -> Drawing:
    concept = CONCEPTS[name]
    if name == "trees":
        return tree(canvas.rng, concept.colors[canvas.rng.integers(len(concept.colors))])
    return DRAWINGS[name](canvas.rng, concept)


def _hosts(name: str) -> tuple[str, ...]:
    return ("grass", "bare soil") if name == "trees" else CONCEPTS[name].hosts


def _count(canvas: Canvas, group: Group) -> int:
    """Draw the number of objects, which grows with the area of the scene in units of the drawings."""
    area = canvas.shape[0] * canvas.shape[1] / (110 * canvas.scale) ** 2
    wanted = canvas.rng.integers(group.count[0], group.count[1] + 1)
    return max(1, round(wanted * min(max(area, 0.6), 4.0)))


def _spot(canvas: Canvas, host: np.ndarray) -> tuple[float, float] | None:
    free = np.flatnonzero(host)
    if free.size == 0:
        return None
    y, x = np.unravel_index(free[canvas.rng.integers(free.size)], canvas.shape)
    return float(x), float(y)


def _scatter(canvas: Canvas, group: Group) -> None:
    host = canvas.host(_hosts(group.concept))
    for _ in range(_count(canvas, group)):
        for _ in range(_TRIES):
            spot = _spot(canvas, host & ~canvas.taken)
            if spot is None:
                return
            angle = canvas.rng.uniform(0, 2 * np.pi)
            if canvas.place(group.concept, _draw(canvas, group.concept), host, spot, angle):
                break


def _rows(canvas: Canvas, group: Group) -> None:
    """Place a grid of objects around a free spot, nearest first, until the count is reached."""
    rng = canvas.rng
    host = canvas.host(_hosts(group.concept))
    spot = _spot(canvas, host)
    if spot is None:
        return
    angle = rng.uniform(0, 2 * np.pi)
    u, v = np.meshgrid(np.arange(-6, 7), np.arange(-2, 3))
    cells = np.stack([u.ravel() * group.pitch[0], v.ravel() * group.pitch[1]], axis=1)
    cells = cells[np.argsort((cells**2).sum(axis=1), kind="stable")]
    centers = transform(cells, angle, canvas.scale, spot)
    usable = np.flatnonzero(canvas.holds(host, centers))[: _count(canvas, group)]
    lot = _parking(canvas, host, cells[usable], spot, angle, group) if group.concept == "cars" else None
    heading = angle + np.deg2rad(group.turn)
    for center in centers[usable]:
        if rng.random() < 0.88:
            turn = heading + np.pi * rng.integers(2) + rng.normal(0, 0.03)
            canvas.place(group.concept, _draw(canvas, group.concept), host, tuple(center), turn)
    if lot is not None:
        canvas.taken |= lot


def _parking(
    canvas: Canvas, host: np.ndarray, cells: np.ndarray, spot: tuple[float, float], angle: float, group: Group
) -> np.ndarray | None:
    """Paint a bay for each cell, and return the ground (H, W) bool to keep free of other objects."""
    along, across = group.pitch
    bays = [mark for x, y in cells for mark in moved(bay(along, across * 0.8), x, y)]
    if not bays:
        return None
    canvas.decorate(bays, host, spot, angle)
    ground = [box(along + 1, across * 0.8 + 1, (0, 0, 0), x, y) for x, y in cells]
    return canvas.footprint(ground, spot, angle)


def _shore(canvas: Canvas, group: Group) -> None:
    """Place piers from the shore outwards, with ships moored between their fingers."""
    rng, scale = canvas.rng, canvas.scale
    host = canvas.host(_hosts(group.concept))
    depth = ndimage.distance_transform_edt(np.pad(host, 1, mode="edge"))[1:-1, 1:-1]
    rim = host & (depth < 2) & (depth > 0)
    smooth = ndimage.gaussian_filter(depth, 3)
    down, right = np.gradient(smooth)
    for _ in range(_count(canvas, group)):
        for _ in range(_TRIES):
            spot = _spot(canvas, rim & ~canvas.taken)
            if spot is None:
                return
            x, y = int(spot[0]), int(spot[1])
            angle = float(np.arctan2(down[y, x], right[y, x])) + rng.normal(0, 0.08)
            if canvas.place(group.concept, _draw(canvas, group.concept), host, spot, angle, hosted=0.8):
                _moor(canvas, host, spot, angle, scale)
                break


def _moor(canvas: Canvas, host: np.ndarray, spot: tuple[float, float], angle: float, scale: float) -> None:
    forward = np.array([np.cos(angle), np.sin(angle)]) * scale
    aside = np.array([-np.sin(angle), np.cos(angle)]) * scale
    for along in (14.5, 25.5, 36.5, 47.5):
        for side in (-1, 1):
            if canvas.rng.random() < 0.75:
                center = np.array(spot) + along * forward + side * 11.5 * aside
                canvas.place("ship", _draw(canvas, "ship"), host, tuple(center), angle + side * np.pi / 2)


def _crossing(canvas: Canvas, group: Group) -> None:
    """Place an object across the host where it is widest, from one bank to the other."""
    host = canvas.host(_hosts(group.concept))
    if not host.any() or host.all():
        return
    depth = ndimage.distance_transform_edt(np.pad(host, 1, mode="edge"))[1:-1, 1:-1]
    down, right = np.gradient(ndimage.gaussian_filter(depth, 2))
    for _ in range(_count(canvas, group) * _TRIES):
        spot = _spot(canvas, host & (depth > 0.5 * depth.max()))
        if spot is None:
            return
        x, y = int(spot[0]), int(spot[1])
        angle = float(np.arctan2(down[y, x], right[y, x]))
        if canvas.place(group.concept, _draw(canvas, group.concept), host, spot, angle, hosted=0.35):
            return


_GROUPS: dict[str, Callable[[Canvas, Group], None]] = {
    "scatter": _scatter,
    "rows": _rows,
    "shore": _shore,
    "crossing": _crossing,
}
