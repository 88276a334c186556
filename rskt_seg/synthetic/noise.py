"""Random fields that land covers are made of. Shapes: (H, W) float32; lengths in px."""

import numpy as np
from PIL import Image

Field = np.ndarray


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], period: float) -> Field:
    """Value noise with features of about `period` px: (H, W) float32, mean near 0, mostly in -1..1."""
    period = max(period, 1.5)
    height, width = shape
    rows, cols = int(np.ceil(height / period)) + 3, int(np.ceil(width / period)) + 3
    grid = rng.uniform(-1.6, 1.6, (rows, cols)).astype(np.float32)
    top, left = 1 + rng.random(2)
    box = (left, top, left + width / period, top + height / period)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=box))


def grain(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """White noise of unit variance, (H, W) float32."""
    return rng.standard_normal(shape, dtype=np.float32)


def axes(shape: tuple[int, int], angle: float) -> tuple[Field, Field]:
    """Coordinates (px) along and across a direction `angle` (radians), each (H, W) float32, centred."""
    height, width = shape
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    x = np.arange(width, dtype=np.float32)[None, :] - width / 2
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * c + y * s, y * c - x * s


def smoothstep(x: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def crowns(
    rng: np.random.Generator,
    shape: tuple[int, int],
    period: float,
    radius: tuple[float, float],
    sun: tuple[float, float],
) -> tuple[Field, Field]:
    """Round plants on a jittered grid of `period` px; `radius` is a range in units of the period.

    Returns (cover, light): cover 0..1 of the plants; light -1..1, their shading under the direction
    `sun` (x, y) that shadows fall to, with a tone per plant. Both (H, W) float32.
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
