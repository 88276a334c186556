"""The photographic look of a set of scenes: ranges of scale, colour, sharpness and noise to draw from."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Range = tuple[float, float]
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32)


@dataclass(frozen=True)
class Style:
    """Ranges of the look of a set of scenes.

    Attributes:
        name: Its name.
        scale: Pixels per pixel of the drawings.
        hue: Rotation in degrees.
        saturation: Factor.
        brightness: Factor.
        contrast: Factor.
        tint: Largest relative change of one channel.
        blur: Standard deviation in px.
        noise: Standard deviation in grey levels of 0..255.
    """

    name: str
    scale: Range
    hue: Range
    saturation: Range
    brightness: Range
    contrast: Range
    tint: float
    blur: Range
    noise: Range

    def develop(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Apply one draw of the style.

        Args:
            image: (H, W, 3) float32 RGB in 0..255.
            rng: Source of randomness.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        image = ndimage.gaussian_filter(image, (*[rng.uniform(*self.blur)] * 2, 0), truncate=2.5)
        matrix = _hue_and_saturation(rng.uniform(*self.hue), rng.uniform(*self.saturation))
        gain = rng.uniform(*self.brightness) * (1 + rng.uniform(-self.tint, self.tint, 3))
        matrix = (matrix.T * gain).astype(np.float32)
        image = image @ matrix
        image = (image - 118) * np.float32(rng.uniform(*self.contrast)) + 118
        image += np.float32(rng.uniform(*self.noise)) * rng.standard_normal(image.shape, dtype=np.float32)
        return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def _hue_and_saturation(degrees: float, saturation: float) -> np.ndarray:
    """Return a 3 x 3 matrix on RGB columns that rotates and scales the chroma of YIQ; grey stays grey."""
    angle = np.deg2rad(degrees)
    c, s = saturation * np.cos(angle), saturation * np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ


_TABLE = (
    Style("wild", (0.8, 1.9), (-24, 24), (0.5, 1.5), (0.82, 1.2), (0.85, 1.2), 0.1, (0.3, 0.8), (0, 6)),
    Style("dlrsd", (1.15, 1.45), (-8, 8), (0.8, 1.15), (0.92, 1.08), (0.95, 1.1), 0.03, (0.35, 0.5), (1, 3)),
    Style("isaid", (0.95, 1.5), (-10, 6), (0.7, 1.1), (0.95, 1.15), (1.0, 1.2), 0.05, (0.4, 0.7), (1, 4)),
    Style("loveda", (0.8, 1.05), (4, 14), (0.6, 0.9), (0.85, 1.0), (0.85, 1.0), 0.04, (0.5, 0.8), (2, 5)),
    Style("potsdam", (1.45, 1.75), (-4, 6), (0.9, 1.2), (0.9, 1.0), (1.05, 1.2), 0.02, (0.3, 0.4), (0, 2)),
    Style("uavid", (1.6, 1.9), (-12, 0), (1.0, 1.3), (1.0, 1.15), (0.9, 1.05), 0.04, (0.3, 0.5), (1, 3)),
    Style("udd5", (1.4, 1.7), (0, 12), (1.0, 1.4), (0.85, 1.0), (1.0, 1.15), 0.04, (0.3, 0.5), (0, 3)),
    Style("vaihingen", (1.2, 1.5), (32, 44), (0.8, 1.1), (0.95, 1.1), (0.95, 1.1), 0.03, (0.4, 0.6), (1, 3)),
    Style("vdd", (1.3, 1.6), (-6, 8), (0.75, 1.0), (1.0, 1.2), (0.9, 1.1), 0.05, (0.4, 0.6), (1, 4)),
)
STYLES: dict[str, Style] = {style.name: style for style in _TABLE}
"""Name -> style. "wild" varies everything (pretraining), the others are the looks of miniature datasets.

That of Vaihingen, whose photographs are near infrared, red, green, lies outside the hues of "wild".
"""
