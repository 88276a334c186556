"""Colours that stand for nothing by themselves: distinct, and the same whatever their number."""

import numpy as np

_LEVELS = np.linspace(0, 255, 18)  # of each channel of the candidates
_LIGHTNESS = (38.0, 88.0)
_CHROMA = (26.0, 78.0)
_FIRST = (214, 69, 65)
_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def palette(number: int, taken: np.ndarray | None = None) -> np.ndarray:
    """Return distinct colours; those of a shorter palette begin every longer one.

    Each colour is, in CIELAB, the farthest from all before it among colours that are neither pale nor dark,
    neither greyish nor glaring; light grey is left to pixels without a class. Not a Glasbey list of colorcet,
    whose first 17 colours are nearer to each other (CIELAB distance at most 34, here 38) and whose later ones
    come near the greys of nodata and background.

    Args:
        number: How many colours; after 2,701 they repeat.
        taken: (N, 3) uint8 colours that are in use already: each colour is the farthest from these, too.

    Returns:
        Colours (number, 3) uint8 RGB.
    """
    grid = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(-1, 3)
    candidates = grid.astype(np.uint8)
    lightness, a, b = to_lab(candidates).T
    chroma = np.hypot(a, b)
    allowed = (lightness >= _LIGHTNESS[0]) & (lightness <= _LIGHTNESS[1])
    candidates = candidates[allowed & (chroma >= _CHROMA[0]) & (chroma <= _CHROMA[1])]
    lab = to_lab(candidates)
    distance = np.full(len(candidates), np.inf)
    taken = np.empty((0, 3), np.uint8) if taken is None else taken
    for used in to_lab(taken):
        distance = np.minimum(distance, np.linalg.norm(lab - used, axis=1))
    first = np.abs(candidates.astype(int) - _FIRST).sum(axis=1).argmin()
    chosen = [int(distance.argmax() if len(taken) else first)]
    for _ in range(min(number, len(candidates)) - 1):
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return candidates[np.resize(chosen, number)]


def to_lab(colors: np.ndarray) -> np.ndarray:
    """Convert sRGB (N, 3) uint8 to CIELAB (N, 3) float64 under D65 (IEC 61966-2-1 and CIE 1976)."""
    value = colors / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _RGB_TO_XYZ.T / _RGB_TO_XYZ.sum(axis=1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
