"""Colours for any number of classes: distinct, and the same for class t whatever the number."""

import numpy as np

_LEVELS = np.linspace(0, 255, 18)
_LIGHTNESS = (38.0, 88.0)
_CHROMA = (26.0, 78.0)
_FIRST = (214, 69, 65)
_BACKGROUND = (96, 96, 96)
_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def palette(number: int, background: int | None = None) -> np.ndarray:
    """Colours (number, 3) uint8 RGB; those of a shorter palette begin every longer one.

    Each is, in CIELAB, the farthest from all before it among colours that are neither pale nor dark,
    grey nor glaring (light grey is left to pixels without a class). After some 2,000 colours they repeat.

    Args: `background`, the id of the class that stands for all else, if there is one: it is dark grey, so
    that what stands before it is seen. All others keep their colours.
    """
    candidates = _candidates()
    lab = to_lab(candidates)
    chosen = [int(np.abs(candidates.astype(int) - _FIRST).sum(axis=1).argmin())]
    distance = np.full(len(candidates), np.inf)
    for _ in range(min(number, len(candidates)) - 1):
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    colors = candidates[np.resize(chosen, number)]
    if background is not None:
        colors[background] = _BACKGROUND
    return colors


def to_lab(colors: np.ndarray) -> np.ndarray:
    """sRGB (N, 3) uint8 as CIELAB (N, 3) under D65 (IEC 61966-2-1 and CIE 1976)."""
    value = colors / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T / _RGB_TO_XYZ.sum(axis=1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def _candidates() -> np.ndarray:
    grid = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    colors = grid.astype(np.uint8)
    lightness, a, b = to_lab(colors).T
    return colors[_within(lightness, _LIGHTNESS) & _within(np.hypot(a, b), _CHROMA)]


def _within(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return (values >= limits[0]) & (values <= limits[1])
