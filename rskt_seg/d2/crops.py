"""Crops of training images by the rules of GeoSeg: one image to its most varied part, four to a mosaic."""

from collections.abc import Callable, Sequence

import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, PadTransform, Transform, TransformList

from rskt_seg.d2.augmentation import draw_below

Size = tuple[int, int]
Sample = tuple[np.ndarray, np.ndarray]
"""An image (H, W, 3) uint8 and its label (H, W) uint8."""
_TRIES = 11


def padding_to(size: Size, least: Size, ignore: int) -> PadTransform:
    """Padding of an image of `size` (H, W) to at least `least`: image 0, label `ignore`.

    A side that is too short gets (least - side) // 2 + 1 pixels at both ends, as published; so it becomes
    one or two pixels longer than needed.
    """
    (height, width), (tall, wide) = size, least
    rows, columns = (_margin(side, wanted) for side, wanted in ((height, tall), (width, wide)))
    return PadTransform(columns, rows, columns, rows, width, height, pad_value=0, seg_pad_value=ignore)


def _margin(side: int, wanted: int) -> int:
    return (wanted - side) // 2 + 1 if side < wanted else 0


def random_window(size: Size, window: Size) -> CropTransform:
    """A crop of exactly `window` (H, W) from an image of `size` (H, W), every place equally likely."""
    (height, width), (tall, wide) = size, window
    top, left = draw_below(height - tall + 1), draw_below(width - wide + 1)
    return CropTransform(left, top, wide, tall, width, height)


def _random_part(size: Size, part: Size, ignore: int) -> TransformList:
    pad = padding_to(size, part, ignore)
    return TransformList([pad, random_window(_padded(size, pad), part)])


def _padded(size: Size, pad: PadTransform) -> Size:
    return size[0] + pad.y0 + pad.y1, size[1] + pad.x0 + pad.x1


class SmartCrop(T.Augmentation):
    """A random crop of exactly `size` (H, W) in which no class rules.

    The image is padded first where it is smaller (`padding_to`). A crop is taken if it has more than one
    class and the largest share of a class, among labelled pixels, is below `max_share`; after 11 crops
    the last one is taken as it is. `max_share` 1 takes any crop.
    """

    def __init__(self, size: Size, max_share: float, ignore: int) -> None:
        super().__init__()
        self.size = size
        self.max_share = max_share
        self.ignore = ignore

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        """The padding and the crop drawn for an image (H, W, 3) and its label (H, W) uint8."""
        pad = padding_to(image.shape[:2], self.size, self.ignore)
        label = pad.apply_segmentation(sem_seg)
        for _ in range(_TRIES):
            crop = random_window(label.shape, self.size)
            if self._accepts(crop.apply_segmentation(label)):
                break
        return TransformList([pad, crop])

    def _accepts(self, label: np.ndarray) -> bool:
        if self.max_share >= 1:
            return True
        counts = np.bincount(label.ravel(), minlength=self.ignore + 1)
        counts[self.ignore] = 0
        # A class that is alone has the share 1, and where nothing is labelled 0 is not below 0.
        return counts.max() < self.max_share * counts.sum()


class MosaicTransform(Transform):
    """A part of an image at the upper left, and parts of three others right, below and opposite."""

    def __init__(self, part: Transform, others: Sequence[Sample]) -> None:
        super().__init__()
        self.part = part
        self.images, self.labels = zip(*others, strict=True)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The mosaic of images (H, W, 3)."""
        return _joined(self.part.apply_image(img), *self.images)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The mosaic of labels (H, W)."""
        return _joined(self.part.apply_segmentation(segmentation), *self.labels)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Points (N, 2) of x and y in the first image; those outside its part lie outside that corner."""
        return self.part.apply_coords(coords)


def _joined(*parts: np.ndarray) -> np.ndarray:
    upper_left, upper_right, lower_left, lower_right = parts
    upper = np.concatenate([upper_left, upper_right], axis=1)
    return np.concatenate([upper, np.concatenate([lower_left, lower_right], axis=1)], axis=0)


class RandomMosaic(T.Augmentation):
    """With `probability` four images put together to one of `side` x `side` pixels.

    They meet at a random pixel between a quarter and three quarters of either side. The image itself is at
    the upper left; three random samples of the dataset (which may repeat, as published) fill the upper
    right, the lower left and the lower right, each with a random part of exactly that size, padded first
    where it is smaller (`padding_to`). `read` makes a `Sample` of a dataset dict.
    """

    def __init__(
        self,
        probability: float,
        side: int,
        ignore: int,
        samples: Sequence[dict],
        read: Callable[[dict], Sample],
    ) -> None:
        super().__init__()
        self.probability, self.side, self.ignore = probability, side, ignore
        self.samples, self.read = samples, read

    def __repr__(self) -> str:
        return f"RandomMosaic(probability={self.probability}, side={self.side})"

    def get_transform(self, image: np.ndarray) -> Transform:
        """The mosaic drawn around one image (H, W, 3) uint8."""
        if self._rand_range() >= self.probability:
            return T.NoOpTransform()
        row, column = self._meeting(), self._meeting()
        below, right = self.side - row, self.side - column
        first = _random_part(image.shape[:2], (row, column), self.ignore)
        corners = ((row, right), (below, column), (below, right))
        return MosaicTransform(first, [self._other(size) for size in corners])

    def _meeting(self) -> int:
        first, last = self.side // 4, 3 * self.side // 4
        return first + draw_below(last - first + 1)

    def _other(self, size: Size) -> Sample:
        image, label = self.read(self.samples[draw_below(len(self.samples))])
        part = _random_part(label.shape, size, self.ignore)
        return part.apply_image(image), part.apply_segmentation(label)
