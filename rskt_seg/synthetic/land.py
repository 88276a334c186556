"""Layouts of regions, and the texture of each land cover.

A texture is a function (rng, shape, scale, sun) -> (mix, light), both (H, W) float32: the colour of a
pixel is (base + mix * (accent - base)) * (1 + light). Lengths are px at scale 1.
"""

from collections.abc import Callable

import numpy as np

from rskt_seg.synthetic.noise import axes, crowns, grain, smooth_noise, smoothstep

Shape = tuple[int, int]
Sun = tuple[float, float]
Texture = tuple[np.ndarray, np.ndarray]


def _grass(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    mix = smoothstep(smooth_noise(rng, shape, 15 * scale), -0.4, 1.2)
    light = 0.07 * smooth_noise(rng, shape, 28 * scale) + 0.05 * smooth_noise(rng, shape, 2.2 * scale)
    return mix, light + 0.02 * grain(rng, shape)


def _field(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    along, across = axes(shape, rng.uniform(0, 2 * np.pi))
    warped = along + 0.5 * scale * smooth_noise(rng, shape, 24 * scale)
    rows = 0.5 + 0.5 * np.sin(2 * np.pi * warped / max(rng.uniform(3.4, 5.6) * scale, 2.6))
    parcel = np.floor(across / (rng.uniform(26, 60) * scale) + rng.random()).astype(int)
    tone = rng.uniform(-0.1, 0.1, 64)[parcel % 64].astype(np.float32)
    depth = rng.uniform(0.6, 0.95)
    light = tone + 0.06 * smooth_noise(rng, shape, 22 * scale) + 0.02 * grain(rng, shape)
    return (depth * rows**1.3).astype(np.float32), light


def _bare_soil(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    mix = smoothstep(
        smooth_noise(rng, shape, 13 * scale) + 0.4 * smooth_noise(rng, shape, 4 * scale), -0.3, 0.8
    )
    light = 0.10 * smooth_noise(rng, shape, 7 * scale) + 0.05 * grain(rng, shape)
    _, across = axes(shape, rng.uniform(0, 2 * np.pi))
    across = across + 5 * scale * smooth_noise(rng, shape, 50 * scale) + rng.uniform(-20, 20)
    tracks = np.minimum(np.abs(across), np.abs(across - 5 * scale)) < 0.9 * scale
    return mix, light + 0.14 * tracks


def _sand(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    along, _ = axes(shape, rng.uniform(0, 2 * np.pi))
    warped = along + 5 * scale * smooth_noise(rng, shape, 16 * scale)
    ripples = np.sin(2 * np.pi * warped / (6.5 * scale)) * smoothstep(
        smooth_noise(rng, shape, 26 * scale), -0.2, 0.8
    )
    mix = smoothstep(smooth_noise(rng, shape, 32 * scale), -0.8, 0.8)
    return mix, 0.035 * ripples + 0.015 * grain(rng, shape)


def _chaparral(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    bushes, shade = crowns(rng, shape, rng.uniform(5.5, 7.5) * scale, (0.16, 0.5), sun)
    shift = max(1, round(0.9 * scale))
    fallen = np.roll(bushes, (round(sun[1] * shift), round(sun[0] * shift)), (0, 1)) * (1 - bushes)
    light = 0.06 * smooth_noise(rng, shape, 9 * scale) + 0.03 * grain(rng, shape)
    return bushes, light + bushes * 0.2 * shade - 0.3 * fallen


def _trees(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    cover, shade = crowns(rng, shape, rng.uniform(8.5, 11) * scale, (0.5, 0.8), sun)
    leaves = 0.06 * smooth_noise(rng, shape, 2 * scale)
    return 1 - cover, cover * (0.34 * shade + leaves) + 0.04 * grain(rng, shape)


def _forest(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    cover, shade = crowns(rng, shape, max(rng.uniform(3.8, 5) * scale, 3), (0.42, 0.62), sun)
    stands = 0.10 * smooth_noise(rng, shape, 30 * scale)
    return 1 - 0.9 * cover, cover * 0.3 * shade + stands + 0.04 * grain(rng, shape)


def _water(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    mix = smoothstep(smooth_noise(rng, shape, 50 * scale), -0.8, 0.8)
    light = 0.06 * smooth_noise(rng, shape, 36 * scale) + 0.012 * smooth_noise(rng, shape, 3 * scale)
    return mix, light


def _sea(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    along, across = axes(shape, rng.uniform(0, 2 * np.pi))
    warped = along + 4 * scale * smooth_noise(rng, shape, 22 * scale) + 0.02 * across
    wave = np.sin(2 * np.pi * warped / (rng.uniform(6.5, 9.5) * scale))
    swell = smoothstep(smooth_noise(rng, shape, 14 * scale), -0.6, 0.9)
    crest = np.maximum(wave, 0) ** 4
    foam = crest * smoothstep(smooth_noise(rng, shape, 7 * scale), 0.15, 0.8)
    light = 0.15 * wave * (0.35 + 0.65 * swell) + 0.04 * smooth_noise(rng, shape, 2.5 * scale)
    return (0.6 * foam * swell).astype(np.float32), light


def _pavement(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    along, across = axes(shape, rng.uniform(0, 2 * np.pi))
    pitch = rng.uniform(13, 22) * scale
    width = 0.45 * max(scale, 0.8)
    joints = (np.abs(along % pitch - pitch / 2) < width) | (np.abs(across % pitch - pitch / 2) < width)
    stains = smoothstep(smooth_noise(rng, shape, 7 * scale), 0.7, 1.3)
    light = 0.035 * smooth_noise(rng, shape, 30 * scale) + 0.03 * grain(rng, shape)
    return 0.55 * stains, light - rng.uniform(0.05, 0.16) * joints


def _road(rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    light = 0.05 * smooth_noise(rng, shape, 20 * scale) + 0.025 * grain(rng, shape)
    return np.zeros(shape, np.float32), light


_TEXTURES: dict[str, Callable[[np.random.Generator, Shape, float, Sun], Texture]] = {
    "grass": _grass,
    "field": _field,
    "bare soil": _bare_soil,
    "sand": _sand,
    "chaparral": _chaparral,
    "trees": _trees,
    "forest": _forest,
    "water": _water,
    "sea": _sea,
    "pavement": _pavement,
    "road": _road,
}


def texture(name: str, rng: np.random.Generator, shape: Shape, scale: float, sun: Sun) -> Texture:
    """Draw the texture of a land cover.

    Args:
        name: The land cover.
        rng: Source of randomness.
        shape: (H, W).
        scale: Pixels per pixel of the drawings.
        sun: Unit direction (x, y) in which shadows fall.

    Returns:
        (mix, light), each (H, W) float32.
    """
    return _TEXTURES[name](rng, shape, scale, sun)


def _voronoi(rng: np.random.Generator, shape: Shape, count: int) -> np.ndarray:
    height, width = shape
    seeds = rng.random((count, 2)) * (height, width)
    reach = 0.10 * min(shape)
    y = np.arange(height)[:, None] + reach * smooth_noise(rng, shape, min(shape) / 3)
    x = np.arange(width)[None, :] + reach * smooth_noise(rng, shape, min(shape) / 3)
    return np.argmin([(y - sy) ** 2 + (x - sx) ** 2 for sy, sx in seeds], axis=0)


def _bands(rng: np.random.Generator, shape: Shape, count: int) -> np.ndarray:
    along, _ = axes(shape, rng.uniform(0, 2 * np.pi))
    side = min(shape)
    along = along / side + 0.5 + rng.uniform(0.03, 0.09) * smooth_noise(rng, shape, side / 2.5)
    widths = rng.uniform(0.7, 1.3, count)
    cuts = np.cumsum(widths / widths.sum())[:-1]
    return np.searchsorted(cuts, along)


def _river(rng: np.random.Generator, shape: Shape, count: int) -> np.ndarray:
    along, _ = axes(shape, rng.uniform(0, 2 * np.pi))
    side = min(shape)
    offset = along / side + 0.16 * smooth_noise(rng, shape, side / 1.8) + rng.uniform(-0.15, 0.15)
    half = rng.uniform(0.1, 0.2) * (1 + 0.25 * smooth_noise(rng, shape, side / 4))
    return np.where(offset < -half, 0, np.where(offset < half, 1, 2))


def _parcels(rng: np.random.Generator, shape: Shape, count: int) -> np.ndarray:
    along, across = axes(shape, rng.uniform(0, 2 * np.pi))
    side = min(shape)
    cuts = np.sort(rng.uniform(-0.45, 0.45, 2)) * side
    strip = np.searchsorted(cuts, along)
    split = rng.uniform(-0.35, 0.35, 3)[strip] * side
    return (2 * strip + (across > split)) % count


_LAYOUTS = {"voronoi": _voronoi, "bands": _bands, "river": _river, "parcels": _parcels}


def layout(kind: str, rng: np.random.Generator, shape: Shape, count: int) -> np.ndarray:
    """Divide a scene into regions.

    Args:
        kind: "voronoi" (noise-warped cells), "bands" (ordered side by side), "river" (three: bank, river,
            bank) or "parcels" (straight-edged plots).
        rng: Source of randomness.
        shape: (H, W).
        count: Number of regions.

    Returns:
        (H, W) int, the index 0..count-1 of the region of every pixel.
    """
    return _LAYOUTS[kind](rng, shape, count)
