"""Augmentations of training images that Detectron2 does not have: colour, scale, crop, padding, rotation.

Random numbers come from NumPy's global generator, which Detectron2 seeds in every worker process.
"""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, PadTransform, Transform, TransformList
from PIL import Image

PAD_IMAGE_VALUE = 128
"""Pixel value (0..255) of the padding of a training image, as published."""
_BRIGHTNESS = 32.0
_CONTRAST = (0.5, 1.5)
_SATURATION = (0.5, 1.5)
_HUE_DEGREES = 36.0
_UNIT = np.arange(256, dtype=np.float32) / 255
_STRIP = 2**14
"""Pixels whose colours are changed at a time: their single precision fits into a CPU cache."""


def draw_below(count: int) -> int:
    """Draw an integer of 0..`count` - 1 uniformly."""
    return int(np.random.randint(count))  # noqa: NPY002  (the generator that Detectron2 seeds)


class RandomPhotometricDistortion(T.Augmentation):
    """Random brightness, contrast, saturation and hue, each applied with probability 1/2.

    The distortion of the SSD detector (Liu et al., 2016) on RGB uint8: brightness shifts by up to 32 levels,
    contrast and saturation scale by 0.5 to 1.5, hue turns by up to 36 degrees. Contrast is changed before
    or after saturation and hue with equal chance. The label map is unchanged. Detectron2 has this
    augmentation in its PointRend project alone, which is not part of the installed package.
    """

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the distortion of an image (H, W, 3) uint8."""
        shift = self._draw_or(0.0, -_BRIGHTNESS, _BRIGHTNESS)
        contrast = self._draw_or(1.0, *_CONTRAST)
        saturation = self._draw_or(1.0, *_SATURATION)
        hue = self._draw_or(0.0, -_HUE_DEGREES, _HUE_DEGREES)
        steps = [partial(scale_and_shift, scale=contrast), partial(change_colour, saturation, hue)]
        if self._rand_range() < 0.5:
            steps.reverse()

        def distort(img: np.ndarray) -> np.ndarray:
            img = scale_and_shift(img, shift=shift)
            for step in steps:
                img = step(img)
            return img

        return T.ColorTransform(distort)

    def _draw_or(self, neutral: float, low: float, high: float) -> float:
        return self._rand_range(low, high) if self._rand_range() < 0.5 else neutral


def scale_and_shift(image: np.ndarray, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Change contrast and brightness.

    Args:
        image: (H, W, 3) uint8.
        scale: Factor of all levels.
        shift: Added to them, in levels.

    Returns:
        (H, W, 3) uint8, computed in single precision and cut off at 0 and 255.
    """
    if scale == 1.0 and shift == 0.0:
        return image
    # Of 256 values rather than of every pixel, which takes ten times as long.
    levels = np.arange(256, dtype=np.float32) * scale + shift
    return cv2.LUT(np.ascontiguousarray(image), np.clip(levels, 0, 255).astype(np.uint8))


def change_colour(saturation: float, hue: float, image: np.ndarray) -> np.ndarray:
    """Change saturation and hue.

    Args:
        saturation: Factor of the saturation of all pixels.
        hue: Added to their hue, in degrees, -360 to 360.
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W, 3) uint8, computed in single precision.
    """
    if saturation == 1.0 and hue == 0.0:
        return image
    changed = np.empty(image.shape, np.uint8)
    rows = max(1, _STRIP // image.shape[1])
    for top in range(0, len(image), rows):
        part = np.ascontiguousarray(image[top : top + rows])
        hsv = cv2.cvtColor(cv2.LUT(part, _UNIT), cv2.COLOR_RGB2HSV)  # hue in degrees, the rest in 0..1
        angle, intensity, value = cv2.split(hsv)
        angle += hue
        # As % 360, which takes ten times as long.
        np.add(angle, 360, out=angle, where=angle < 0)
        np.subtract(angle, 360, out=angle, where=angle >= 360)
        np.minimum(intensity * saturation, 1, out=intensity)
        rgb = cv2.cvtColor(cv2.merge([angle, intensity, value], hsv), cv2.COLOR_HSV2RGB)
        changed[top : top + rows] = cv2.convertScaleAbs(rgb, alpha=255)
    return changed


class PadToMultiple(T.Augmentation):
    """Padding at the right and the bottom to a multiple of `divisor` pixels.

    Args:
        divisor: Height and width of the result are multiples of it.
        ignore: Value of the padding in the label map; that of the image is `PAD_IMAGE_VALUE`.
    """

    def __init__(self, divisor: int, ignore: int) -> None:
        super().__init__()
        self.divisor = divisor
        self.ignore = ignore

    def get_transform(self, image: np.ndarray) -> Transform:
        """Return the padding of an image (H, W, 3)."""
        height, width = image.shape[:2]
        right, bottom = -width % self.divisor, -height % self.divisor
        if not right and not bottom:
            return T.NoOpTransform()  # `PadTransform` would copy the image
        return PadTransform(
            0, 0, right, bottom, width, height, pad_value=PAD_IMAGE_VALUE, seg_pad_value=self.ignore
        )


class RandomScale(T.Augmentation):
    """Resizing by one of several factors, drawn uniformly; image bicubic, label nearest, both by Pillow.

    A side becomes int(factor * side), at least 1 px. Published in GeoSeg, whose code uses the height of an
    image for its width too; here each side keeps its own length. Detectron2's `ResizeScale` draws
    from an interval, relative to a target size.
    """

    def __init__(self, factors: Sequence[float]) -> None:
        super().__init__()
        self.factors = tuple(factors)

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the resizing of an image (H, W, 3) uint8."""
        factor = self.factors[draw_below(len(self.factors))]
        height, width = image.shape[:2]
        if factor == 1:
            return T.NoOpTransform()
        size = (max(1, int(factor * side)) for side in (height, width))
        return T.ResizeTransform(height, width, *size, Image.Resampling.BICUBIC)


class RandomScaleBetween(T.Augmentation):
    """Resizing by a factor drawn uniformly from `low` to `high`; image bilinear, label nearest, by Pillow.

    A side becomes round(factor * side), at least 1 px. The factor is relative to the image itself, and not
    to a target size as in Detectron2's `ResizeScale`.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the resizing of an image (H, W, 3) uint8."""
        factor = self._rand_range(self.low, self.high)
        height, width = image.shape[:2]
        size = (max(1, round(factor * side)) for side in (height, width))
        return T.ResizeTransform(height, width, *size, Image.Resampling.BILINEAR)


class FillTransform(Transform):
    """Padding at the right and the bottom to a canvas of one colour, which `PadTransform` cannot do in RGB.

    Args:
        height: Height of the image, in pixels; at most that of the canvas.
        width: Width of the image, in pixels; at most that of the canvas.
        canvas: Height and width of the result, in pixels.
        color: (R, G, B) of the padding of the image, 0..255.
        ignore: Value of the padding of the label.
    """

    def __init__(
        self, height: int, width: int, canvas: tuple[int, int], color: Sequence[int], ignore: int
    ) -> None:
        super().__init__()
        self.height, self.width, self.canvas = height, width, canvas
        self.color, self.ignore = tuple(color), ignore

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Pad an image (H, W, 3)."""
        return self._pad(img, self.color)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Pad a label (H, W)."""
        return self._pad(segmentation, self.ignore)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Return points (N, 2) of x and y in pixels from the upper left corner unchanged."""
        return coords

    def inverse(self) -> Transform:
        """Return the crop that removes the padding."""
        return CropTransform(0, 0, self.width, self.height, self.canvas[1], self.canvas[0])

    def _pad(self, array: np.ndarray, value: Sequence[int] | int) -> np.ndarray:
        canvas = np.empty((*self.canvas, *array.shape[2:]), array.dtype)
        canvas[:] = value
        canvas[: self.height, : self.width] = array
        return canvas


class RandomCropOrFill(T.Augmentation):
    """A random crop of exactly `size`; smaller images are padded at the right and the bottom.

    Detectron2's `FixedSizeCrop` pads all channels with one value, and does not draw every offset with the
    same probability.

    Args:
        size: Height and width of the result, in pixels.
        color: (R, G, B) of the padding of the image, 0..255.
        ignore: Value of the padding of the label.
    """

    def __init__(self, size: tuple[int, int], color: Sequence[int], ignore: int) -> None:
        super().__init__()
        self.size, self.color, self.ignore = size, tuple(color), ignore
        self.crop = T.RandomCrop("absolute", size)

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the crop of an image (H, W, 3), and the padding after it."""
        crop = self.crop.get_transform(image)
        return TransformList([crop, FillTransform(crop.h, crop.w, self.size, self.color, self.ignore)])


class MirrorTransform(T.HFlipTransform):
    """`HFlipTransform` by OpenCV: to copy the view that NumPy gives takes forty times as long."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Mirror an image (H, W) or (H, W, C) uint8 from left to right."""
        return cv2.flip(np.ascontiguousarray(img), 1)


class UpsideDownTransform(T.VFlipTransform):
    """`VFlipTransform` by OpenCV: fvcore warns of images that Pillow does not let it write to."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Mirror an image (H, W) or (H, W, C) uint8 from top to bottom."""
        return cv2.flip(np.ascontiguousarray(img), 0)


class RandomFlip(T.RandomFlip):
    """Detectron2's `RandomFlip` with `MirrorTransform` and `UpsideDownTransform`."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw whether an image (H, W, 3) is flipped."""
        drawn = super().get_transform(image)
        if isinstance(drawn, T.HFlipTransform):
            return MirrorTransform(drawn.width)
        return UpsideDownTransform(drawn.height) if isinstance(drawn, T.VFlipTransform) else drawn


_ROTATIONS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}
"""Number of quarter turns -> OpenCV's name for them; copies of the views that NumPy gives are far slower."""


class QuarterTurnTransform(Transform):
    """Exact counter-clockwise rotation by `turns` times 90 degrees.

    Args:
        turns: Number of quarter turns, of either sign.
        height: Height of the image before it, in pixels.
        width: Width of the image before it, in pixels.
    """

    def __init__(self, turns: int, height: int, width: int) -> None:
        super().__init__()
        self.turns, self.height, self.width = turns % 4, height, width

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Rotate an image (H, W) or (H, W, C) uint8."""
        img = np.ascontiguousarray(img)
        return cv2.rotate(img, _ROTATIONS[self.turns]) if self.turns else img

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Rotate points (N, 2) of x and y in pixels from the upper left corner."""
        width, height = self.width, self.height
        for _ in range(self.turns):
            coords = np.stack([coords[:, 1], width - coords[:, 0]], axis=1)
            width, height = height, width
        return coords

    def inverse(self) -> Transform:
        """Return the rotation back."""
        sides = (self.height, self.width) if self.turns % 2 == 0 else (self.width, self.height)
        return QuarterTurnTransform(-self.turns, *sides)


class RandomQuarterTurn(T.Augmentation):
    """Exact rotation by a multiple of 90 degrees; Detectron2's `RandomRotation` would interpolate.

    Args:
        probability: How often an image is rotated.
        turns: Numbers of quarter turns, one of which is drawn uniformly.
    """

    def __init__(self, probability: float, turns: Sequence[int] = (1, 2, 3)) -> None:
        super().__init__()
        self.probability = probability
        self.turns = tuple(turns)

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the rotation of an image (H, W, 3)."""
        if self._rand_range() >= self.probability:
            return T.NoOpTransform()
        return QuarterTurnTransform(self.turns[draw_below(len(self.turns))], *image.shape[:2])
