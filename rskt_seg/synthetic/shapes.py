"""Anti-aliased drawings. A drawing is a list of marks in the object's own frame: x forward, px at scale 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Points = np.ndarray
_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Mark:
    """A filled polygon or a polyline.

    Attributes:
        points: (N, 2) float of (x, y).
        color: RGB of 0..255.
        width: Width of the polyline, px at scale 1; None for a polygon.
    """

    points: Points
    color: RGB
    width: float | None = None


Drawing = list[Mark]


@dataclass(frozen=True)
class Tile:
    """A rasterised drawing.

    Attributes:
        color: (h, w, 3) float32 RGB in 0..255, premultiplied by `alpha`.
        alpha: (h, w) float32 in 0..1.
        top: Row of the upper left pixel in the scene.
        left: Its column.
    """

    color: np.ndarray
    alpha: np.ndarray
    top: int
    left: int


def fill(points: Sequence[tuple[float, float]] | Points, color: RGB) -> Mark:
    """Return a filled polygon.

    Args:
        points: (N, 2) of (x, y), px at scale 1.
        color: RGB of 0..255.

    Returns:
        The mark.
    """
    return Mark(np.asarray(points, np.float64), color)


def stroke(points: Sequence[tuple[float, float]] | Points, width: float, color: RGB) -> Mark:
    """Return an open polyline.

    Args:
        points: (N, 2) of (x, y), px at scale 1.
        width: Width of the line.
        color: RGB of 0..255.

    Returns:
        The mark.
    """
    return Mark(np.asarray(points, np.float64), color, width)


def box(length: float, width: float, color: RGB, x: float = 0.0, y: float = 0.0) -> Mark:
    """Return a rectangle centred at (x, y).

    Args:
        length: Side along x, px at scale 1.
        width: Side along y.
        color: RGB of 0..255.
        x: Its centre along x.
        y: Its centre along y.

    Returns:
        The mark.
    """
    a, b = length / 2, width / 2
    return fill([(x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b)], color)


def outline(length: float, width: float, pen: float, color: RGB, x: float = 0.0, y: float = 0.0) -> Mark:
    """Return the outline of a rectangle centred at (x, y).

    Args:
        length: Side along x, px at scale 1.
        width: Side along y.
        pen: Width of the line.
        color: RGB of 0..255.
        x: Its centre along x.
        y: Its centre along y.

    Returns:
        The mark.
    """
    points = box(length, width, color, x, y).points
    return stroke(np.vstack([points, points[:1]]), pen, color)


def ring_points(rx: float, ry: float, x: float = 0.0, y: float = 0.0, count: int = 28) -> Points:
    """Return points of an ellipse, evenly spaced in its angle.

    Args:
        rx: Radius along x, px at scale 1.
        ry: Radius along y.
        x: Its centre along x.
        y: Its centre along y.
        count: Number of points.

    Returns:
        (count, 2) of (x, y).
    """
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


def disc(rx: float, color: RGB, ry: float | None = None, x: float = 0.0, y: float = 0.0) -> Mark:
    """Return a filled ellipse.

    Args:
        rx: Radius along x, px at scale 1.
        color: RGB of 0..255.
        ry: Radius along y; None for that along x.
        x: Its centre along x.
        y: Its centre along y.

    Returns:
        The mark.
    """
    return fill(ring_points(rx, rx if ry is None else ry, x, y), color)


def circle(radius: float, pen: float, color: RGB, x: float = 0.0, y: float = 0.0) -> Mark:
    """Return the outline of a circle.

    Args:
        radius: Radius, px at scale 1.
        pen: Width of the line.
        color: RGB of 0..255.
        x: Its centre along x.
        y: Its centre along y.

    Returns:
        The mark.
    """
    points = ring_points(radius, radius, x, y)
    return stroke(np.vstack([points, points[:1]]), pen, color)


def rounded(length: float, width: float, corner: float, color: RGB, x: float = 0.0, y: float = 0.0) -> Mark:
    """Return a rectangle with round corners, centred at (x, y).

    Args:
        length: Side along x, px at scale 1.
        width: Side along y.
        corner: Radius of the corners.
        color: RGB of 0..255.
        x: Its centre along x.
        y: Its centre along y.

    Returns:
        The mark.
    """
    a, b = length / 2 - corner, width / 2 - corner
    t = np.linspace(0, np.pi / 2, 4)
    points = []
    for quarter, (cx, cy) in enumerate([(a, b), (-a, b), (-a, -b), (a, -b)]):
        angle = t + quarter * np.pi / 2
        points.append(np.stack([x + cx + corner * np.cos(angle), y + cy + corner * np.sin(angle)], axis=1))
    return fill(np.vstack(points), color)


def arc(
    radius: float, start: float, end: float, pen: float, color: RGB, x: float = 0.0, y: float = 0.0
) -> Mark:
    """Return an arc of a circle between two angles.

    Args:
        radius: Radius, px at scale 1.
        start: First angle, radians.
        end: Last angle, radians.
        pen: Width of the line.
        color: RGB of 0..255.
        x: Centre of the circle along x.
        y: Centre of the circle along y.

    Returns:
        The mark.
    """
    t = np.linspace(start, end, 14)
    return stroke(np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], axis=1), pen, color)


def shade(color: RGB, factor: float) -> RGB:
    """Return the colour brightened (factor > 1) or darkened.

    Args:
        color: RGB of 0..255.
        factor: Factor of the brightness.

    Returns:
        RGB of 0..255.
    """
    r, g, b = (min(255, max(0, round(v * factor))) for v in color)
    return r, g, b


def pick(rng: np.random.Generator, colors: tuple[RGB, ...], jitter: float = 0.06) -> RGB:
    """Return one of the colours, its brightness varied.

    Args:
        rng: Source of randomness.
        colors: RGB of 0..255.
        jitter: Largest relative change of the brightness.

    Returns:
        RGB of 0..255.
    """
    return shade(colors[rng.integers(len(colors))], 1 + rng.uniform(-jitter, jitter))


def transform(points: Points, angle: float, scale: float, center: tuple[float, float]) -> Points:
    """Transform points of an object to the scene: rotate, scale, move.

    Args:
        points: (N, 2) of (x, y), px at scale 1.
        angle: Radians.
        scale: Pixels per pixel of the drawing.
        center: Where the origin of the object lies, (x, y) in px.

    Returns:
        (N, 2) of (x, y) in px.
    """
    c, s = np.cos(angle) * scale, np.sin(angle) * scale
    return points @ np.array([[c, s], [-s, c]]) + center


def moved(drawing: Drawing, x: float, y: float, angle: float = 0.0) -> Drawing:
    """Return a drawing rotated and then moved.

    Args:
        drawing: The drawing.
        x: Shift along x, px at scale 1.
        y: Shift along y, px at scale 1.
        angle: Radians.

    Returns:
        A new drawing.
    """
    return [Mark(transform(m.points, angle, 1.0, (x, y)), m.color, m.width) for m in drawing]


def rasterise(
    drawing: Drawing, angle: float, scale: float, center: tuple[float, float], margin: int = 0
) -> Tile:
    """Rasterise a drawing, anti-aliased by supersampling.

    Args:
        drawing: Its marks, painted in order.
        angle: Radians.
        scale: Pixels per pixel of the drawing.
        center: Where its origin lies in the scene, (x, y) in px.
        margin: Empty pixels around it.

    Returns:
        The tile.
    """
    marks = [transform(m.points, angle, scale, center) for m in drawing]
    pens = max((m.width or 0) for m in drawing) * scale / 2 + 1
    everything = np.vstack(marks)
    left, top = np.floor(everything.min(axis=0) - pens).astype(int) - margin
    right, bottom = np.ceil(everything.max(axis=0) + pens).astype(int) + margin
    k = _SUPERSAMPLING
    canvas = Image.new("RGBA", ((right - left) * k, (bottom - top) * k))
    pencil = ImageDraw.Draw(canvas)
    for mark, points in zip(drawing, marks, strict=True):
        flat = ((points - (left, top)) * k - 0.5).ravel().tolist()
        if mark.width is None:
            pencil.polygon(flat, fill=(*mark.color, 255))
        else:
            pencil.line(
                flat, fill=(*mark.color, 255), width=max(1, round(mark.width * scale * k)), joint="curve"
            )
    pixels = np.asarray(canvas.convert("RGBa").reduce(k), np.float32)
    return Tile(pixels[..., :3], pixels[..., 3] / 255, int(top), int(left))
