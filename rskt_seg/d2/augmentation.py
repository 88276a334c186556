"""Augmentations of colour, size and direction of training images, as Detectron2 has them.

Chance comes from NumPy's global generator, which Detectron2 seeds in every worker process.
"""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, PadTransform, Transform, TransformList
from PIL import Image

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


def draw_below(count: int) -> int:
    """An integer 0..`count` - 1, each equally likely."""
    return int(np.random.randint(count))  # noqa: NPY002  (the generator that Detectron2 seeds)


class RandomScale(T.Augmentation):
    """Resize by one of some factors, each equally likely: image bicubic, label nearest, both by Pillow.

    A side becomes int(factor side), at least 1 px (published in GeoSeg, whose code gives the height of an
    image that is not square to its width; here each side keeps its own).
    """

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__()
        self.factors = tuple(factors)

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resizing drawn for one image (H, W, 3) uint8."""
        factor = self.factors[draw_below(len(self.factors))]
        height, width = image.shape[:2]
        if factor == 1:
            return T.NoOpTransform()
        size = (max(1, int(factor * side)) for side in (height, width))
        return T.ResizeTransform(height, width, *size, Image.BICUBIC)


class RandomScaleBetween(T.Augmentation):
    """Resize by a factor between `low` and `high`, each as likely: image bilinear, label nearest, by Pillow.

    A side becomes the factor times its length, rounded, at least 1 px.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resizing drawn for one image (H, W, 3) uint8."""
        factor = self._rand_range(self.low, self.high)
        height, width = image.shape[:2]
        size = (max(1, round(factor * side)) for side in (height, width))
        return T.ResizeTransform(height, width, *size, Image.BILINEAR)


class FillTransform(Transform):
    """A `height` x `width` image at the upper left of a canvas (H, W) of one colour (R, G, B), 0..255.

    The image and its label must not be larger than the canvas; outside, a label is `ignore`.
    """

    def __init__(
        self, height: int, width: int, canvas: tuple[int, int], color: Sequence[int], ignore: int
    ) -> None:
        super().__init__()
        self.height, self.width, self.canvas = height, width, tuple(canvas)
        self.color, self.ignore = tuple(color), ignore

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """An image (H, W, 3) on the canvas."""
        return self._placed(img, self.color)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """A label (H, W) on the canvas."""
        return self._placed(segmentation, self.ignore)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points (N, 2) of x and y in pixels from the upper left corner, which stay where they are."""
        return coords

    def inverse(self) -> Transform:
        """The image alone again."""
        return CropTransform(0, 0, self.width, self.height, self.canvas[1], self.canvas[0])

    def _placed(self, array: np.ndarray, fill: Sequence[int] | int) -> np.ndarray:
        canvas = np.empty((*self.canvas, *array.shape[2:]), array.dtype)
        canvas[:] = fill
        canvas[: self.height, : self.width] = array
        return canvas


class RandomCropOrFill(T.Augmentation):
    """A random crop of exactly `size` (H, W), every place equally likely.

    Where the image is smaller, it is filled at the right and the bottom with `color` (R, G, B), and its label
    with `ignore`.
    """

    def __init__(self, size: tuple[int, int], color: Sequence[int], ignore: int) -> None:
        super().__init__()
        self.size, self.color, self.ignore = tuple(size), tuple(color), ignore

    def get_transform(self, image: np.ndarray) -> Transform:
        """The crop and the filling drawn for one image (H, W, 3)."""
        height, width = image.shape[:2]
        tall, wide = min(height, self.size[0]), min(width, self.size[1])
        top, left = draw_below(height - tall + 1), draw_below(width - wide + 1)
        crop = CropTransform(left, top, wide, tall, width, height)
        return TransformList([crop, FillTransform(tall, wide, self.size, self.color, self.ignore)])


class QuarterTurnTransform(Transform):
    """A turn by `turns` times 90 degrees, counter-clockwise, of a `height` x `width` image; exact."""

    def __init__(self, turns: int, height: int, width: int) -> None:
        super().__init__()
        self.turns, self.height, self.width = turns % 4, height, width

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """An image (H, W) or (H, W, C), turned."""
        return np.ascontiguousarray(np.rot90(img, self.turns))

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points (N, 2) of x and y in pixels from the upper left corner, turned."""
        width, height = self.width, self.height
        for _ in range(self.turns):
            coords = np.stack([coords[:, 1], width - coords[:, 0]], axis=1)
            width, height = height, width
        return coords

    def inverse(self) -> Transform:
        """The turn back."""
        sides = (self.height, self.width) if self.turns % 2 == 0 else (self.width, self.height)
        return QuarterTurnTransform(-self.turns, *sides)


class RandomQuarterTurn(T.Augmentation):
    """With `probability` a turn by one of `turns` times 90 degrees, each equally likely."""

    def __init__(self, probability: float, turns: Sequence[int] = (1, 2, 3)) -> None:
        super().__init__()
        self.probability = probability
        self.turns = tuple(turns)

    def get_transform(self, image: np.ndarray) -> Transform:
        """The turn drawn for one image (H, W, 3)."""
        if self._rand_range() >= self.probability:
            return T.NoOpTransform()
        return QuarterTurnTransform(self.turns[draw_below(len(self.turns))], *image.shape[:2])
