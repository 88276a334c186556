"""Photometric and size augmentation of training images, as Detectron2 augmentations."""

from functools import partial

import cv2
import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform, Transform

PAD_IMAGE_VALUE = 128
"""What padding of a training image is filled with (0..255), as published."""
_BRIGHTNESS = 32.0
_CONTRAST = (0.5, 1.5)
_SATURATION = (0.5, 1.5)
_HUE_DEGREES = 36.0


class RandomPhotometricDistortion(T.Augmentation):
    """Random brightness, contrast, saturation and hue, each applied with probability one half.

    The distortion of the SSD detector (Liu et al., 2016), on RGB uint8: brightness shifts by up to 32
    levels, contrast and saturation scale by 0.5 to 1.5, hue turns by up to 36 degrees; contrast comes
    before or after the colour changes with equal chance. The label map is untouched.
    """

    def get_transform(self, image: np.ndarray) -> Transform:
        """The distortion drawn for one image (H, W, 3) uint8."""
        shift = self._maybe(-_BRIGHTNESS, _BRIGHTNESS, neutral=0.0)
        contrast = self._maybe(*_CONTRAST, neutral=1.0)
        saturation = self._maybe(*_SATURATION, neutral=1.0)
        hue = self._maybe(-_HUE_DEGREES, _HUE_DEGREES, neutral=0.0)
        steps = [partial(_scale_and_shift, scale=contrast), partial(_change_colour, saturation, hue)]
        if self._rand_range() < 0.5:
            steps.reverse()
        return T.ColorTransform(partial(_distort, shift, steps))

    def _maybe(self, low: float, high: float, neutral: float) -> float:
        return self._rand_range(low, high) if self._rand_range() < 0.5 else neutral


def _distort(shift: float, steps: list, image: np.ndarray) -> np.ndarray:
    image = _scale_and_shift(image, shift=shift)
    for step in steps:
        image = step(image)
    return image


def _scale_and_shift(image: np.ndarray, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    if scale == 1.0 and shift == 0.0:
        return image
    return np.clip(image.astype(np.float32) * scale + shift, 0, 255).astype(np.uint8)


def _change_colour(saturation: float, hue: float, image: np.ndarray) -> np.ndarray:
    if saturation == 1.0 and hue == 0.0:
        return image
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)  # hue in degrees, the rest in 0..1
    hsv[..., 0] = (hsv[..., 0] + hue) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).round().astype(np.uint8)


class PadToMultiple(T.Augmentation):
    """Pad at the right and bottom to a multiple of `divisor` pixels: image 128, label `ignore`."""

    def __init__(self, divisor: int, ignore: int) -> None:
        super().__init__()
        self.divisor = divisor
        self.ignore = ignore

    def get_transform(self, image: np.ndarray) -> Transform:
        """The padding of one image (H, W, 3)."""
        height, width = image.shape[:2]
        right, bottom = -width % self.divisor, -height % self.divisor
        return PadTransform(
            0, 0, right, bottom, width, height, pad_value=PAD_IMAGE_VALUE, seg_pad_value=self.ignore
        )
