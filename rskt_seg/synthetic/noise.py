"""Random fields from which land covers are made: (H, W) float32; lengths are in px."""

import numpy as np
from PIL import Image

Field = np.ndarray


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], period: float) -> Field:
    """Draw value noise: a random grid, interpolated bicubically.

    Args:
        rng: Source of randomness.
        shape: (H, W).
        period: Pitch (px) of the grid, about the size of features; at least 1.5 is used.

    Returns:
        (H, W) float32, mean near 0, mostly in -1..1.
    """
    period = max(period, 1.5)
    height, width = shape
    rows, cols = int(np.ceil(height / period)) + 3, int(np.ceil(width / period)) + 3
    grid = rng.uniform(-1.6, 1.6, (rows, cols)).astype(np.float32)
    top, left = 1 + rng.random(2)
    box = (left, top, left + width / period, top + height / period)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box))


def grain(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """Draw white noise.

    Args:
        rng: Source of randomness.
        shape: (H, W).

    Returns:
        (H, W) float32 of unit variance.
    """
    return rng.standard_normal(shape, dtype=np.float32)


def axes(shape: tuple[int, int], angle: float) -> tuple[Field, Field]:
    """Return centred coordinates along and across a direction.

    Args:
        shape: (H, W).
        angle: The direction, radians.

    Returns:
        (along, across) in px, both (H, W) float32.
    """
    height, width = shape
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    x = np.arange(width, dtype=np.float32)[None, :] - width / 2
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * c + y * s, y * c - x * s


def smoothstep(x: Field, low: float, high: float) -> Field:
    """Map values to 0 below `low`, 1 above `high`, and by a cubic between them.

    Args:
        x: Values of any shape.
        low: Where the result leaves 0.
        high: Where it reaches 1.

    Returns:
        0..1, of the shape of `x`.
    """
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def crowns(
    rng: np.random.Generator,
    shape: tuple[int, int],
    period: float,
    radius: tuple[float, float],
    sun: tuple[float, float],
) -> tuple[Field, Field]:
    """Draw round plants on a jittered grid.

    Args:
        rng: Source of randomness.
        shape: (H, W).
        period: Pitch (px) of the grid.
        radius: Range of radii in units of the period.
        sun: Unit direction (x, y) in which shadows fall.

    Returns:
        (cover, light), both (H, W) float32: the plants' cover in 0..1, and their shading of about -1..1 with
        a tone for each plant.
    """
    height, width = shape
    rows, cols = int(height / period) + 4, int(width / period) + 4
    jitter = rng.uniform(0.1, 0.9, (rows, cols, 2)).astype(np.float32)
    radii = rng.uniform(*radius, (rows, cols)).astype(np.float32)
    tones = rng.uniform(-0.6, 0.6, (rows, cols)).astype(np.float32)
    y = (np.arange(height, dtype=np.float32) / period + 1.5)[:, None]
    x = (np.arange(width, dtype=np.float32) / period + 1.5)[None, :]
    row, col = np.broadcast_to(y.astype(np.intp), shape), np.broadcast_to(x.astype(np.intp), shape)
    best = np.full(shape, -1, np.float32)
    light = np.full(shape, -1, np.float32)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            flat = (row + dr) * cols + (col + dc)
            offset = jitter.reshape(-1, 2)[flat]
            dx, dy = x - (col + dc) - offset[..., 0], y - (row + dr) - offset[..., 1]
            r = radii.reshape(-1)[flat]
            level = r - np.sqrt(dx * dx + dy * dy)
            nearer = level > best
            shade = tones.reshape(-1)[flat] - (dx * sun[0] + dy * sun[1]) / r
            np.copyto(best, level, where=nearer)
            np.copyto(light, shade, where=nearer)
    cover = np.clip(best * period + 0.5, 0, 1)
    return cover, np.clip(light, -1.3, 1.3)
