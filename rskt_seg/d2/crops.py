"""Crops of training images by the rules of GeoSeg: one image to its most varied part, four to a mosaic."""

from collections.abc import Callable, Sequence

import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform, Transform, TransformList

from rskt_seg.d2.augmentation import RandomScale, draw_below
from rskt_seg.d2.resizing import resize_window
from rskt_seg.d2.typing import DatasetDict
from rskt_seg.windows import Window

Sample = tuple[np.ndarray, np.ndarray]
"""An image (H, W, 3) uint8 and its label (H, W) uint8."""
_TRIES = 11


def padding_to(size: tuple[int, ...], least: tuple[int, int], ignore: int) -> Transform:
    """Return the padding of an image to at least a given size: image 0, label `ignore`.

    A side that is too short gets (least - side) // 2 + 1 pixels at both ends, as published; so it becomes
    one or two pixels longer than needed.

    Args:
        size: Height and width of the image, in pixels.
        least: Least height and width of the result, in pixels.
        ignore: Value of the padding of the label.

    Returns:
        The transform; its padding is 0 at sides that are long enough, and if both are, it does nothing.
    """
    rows, columns = (
        (wanted - side) // 2 + 1 if side < wanted else 0 for side, wanted in zip(size, least, strict=True)
    )
    height, width = size
    if not rows and not columns:
        return T.NoOpTransform()  # `PadTransform` would copy the image
    return PadTransform(columns, rows, columns, rows, width, height, pad_value=0, seg_pad_value=ignore)


def _draw_part(array: np.ndarray, part: tuple[int, int], ignore: int) -> TransformList:
    """Draw a crop of exactly `part` (height, width) from an image or label, which is padded where smaller."""
    pad = padding_to(array.shape[:2], part, ignore)
    return TransformList([pad, T.RandomCrop("absolute", part).get_transform(pad.apply_image(array))])


class SmartCrop(T.Augmentation):
    """A random crop of exactly `size` in which no class dominates; smaller images are padded first.

    A crop is accepted if it has more than one class and the largest share of a class, among labelled pixels,
    is below `max_share`; after 11 crops the last one is taken as it is. Detectron2's
    `RandomCrop_CategoryAreaConstraint` draws up to 10 and does not pad.

    Args:
        size: Height and width of the result, in pixels.
        max_share: Limit of the share of a class, above 0; 1 accepts any crop.
        ignore: Id of unlabelled pixels, and value of the padding of the label; see `padding_to`.
    """

    def __init__(self, size: tuple[int, int], max_share: float, ignore: int) -> None:
        super().__init__()
        self.size = size
        self.max_share = max_share
        self.ignore = ignore
        self.crop = T.RandomCrop("absolute", size)

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        """Draw the padding and the crop of an image and its label.

        Args:
            image: (H, W, 3) uint8.
            sem_seg: (H, W) uint8 class ids.

        Returns:
            The padding followed by the crop, which is the last one drawn if none of the tries was accepted.
        """
        pad = padding_to(image.shape[:2], self.size, self.ignore)
        label = pad.apply_segmentation(sem_seg)
        for _ in range(_TRIES):
            crop = self.crop.get_transform(label)
            if self._accepts(crop.apply_segmentation(label)):
                break
        return TransformList([pad, crop])

    def _accepts(self, label: np.ndarray) -> bool:
        if self.max_share >= 1:
            return True
        counts = np.bincount(label.ravel(), minlength=self.ignore + 1)
        counts[self.ignore] = 0
        # A class that is alone has the share 1, and where nothing is labelled 0 is not below 0.
        return bool(counts.max() < self.max_share * counts.sum())


class ScaledCrop(T.Augmentation):
    """`RandomScale`, then `SmartCrop`; of the image only the pixels of the crop are resized.

    The crop is chosen by the label, so the result is the same to the last byte.

    Args:
        scale: Draws the scale.
        crop: Draws the crop of what was resized.
    """

    def __init__(self, scale: RandomScale, crop: SmartCrop) -> None:
        super().__init__()
        self.scale, self.crop = scale, crop

    def __call__(self, aug_input: T.AugInput) -> Transform:
        """Transform an image (H, W, 3) uint8 and its label (H, W) uint8 in place; return the transform."""
        image = aug_input.image
        scale = self.scale.get_transform(image)
        label = scale.apply_segmentation(aug_input.sem_seg)
        crop = self.crop.get_transform(label, label)
        aug_input.sem_seg = crop.apply_segmentation(label)
        pad, part = crop.transforms
        if isinstance(scale, T.ResizeTransform) and isinstance(pad, T.NoOpTransform):
            window = Window(part.y0, part.x0, part.h, part.w)
            aug_input.image = resize_window(image, label.shape, window)
        else:
            aug_input.image = crop.apply_image(scale.apply_image(image))
        return TransformList([scale, crop])


class MosaicTransform(Transform):
    """A part of the image at the upper left, and parts of three others right of it, below and opposite.

    Args:
        part: Crops the image to its part.
        others: The other three parts, as they are.
    """

    def __init__(self, part: Transform, others: Sequence[Sample]) -> None:
        super().__init__()
        self.part = part
        self.images, self.labels = zip(*others, strict=True)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Return the mosaic of images (H, W, 3)."""
        return _join_quadrants(self.part.apply_image(img), *self.images)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Return the mosaic of labels (H, W)."""
        return _join_quadrants(self.part.apply_segmentation(segmentation), *self.labels)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Move points (N, 2) of x and y of the image; those that were cropped away lie outside its part."""
        return self.part.apply_coords(coords)


def _join_quadrants(*parts: np.ndarray) -> np.ndarray:
    upper_left, upper_right, lower_left, lower_right = parts
    upper = np.concatenate([upper_left, upper_right], axis=1)
    return np.concatenate([upper, np.concatenate([lower_left, lower_right], axis=1)], axis=0)


class RandomMosaic(T.Augmentation):
    """A mosaic of four images of `side` x `side` pixels.

    The four meet at a random pixel between a quarter and three quarters of either side. The image itself is
    at the upper left; three random samples of the dataset (which may repeat, as published) fill the upper
    right, the lower left and the lower right, each with a random crop of exactly that size, padded first
    where it is smaller (`padding_to`).

    Args:
        probability: How often an image becomes a mosaic.
        side: Side of the mosaic, in pixels.
        ignore: Value of the padding of the label.
        samples: The dataset that the other three images come from.
        read: Reads the image and the label of a dataset dict.
    """

    def __init__(
        self,
        probability: float,
        side: int,
        ignore: int,
        samples: Sequence[DatasetDict],
        read: Callable[[DatasetDict], Sample],
    ) -> None:
        super().__init__()
        self.probability, self.side, self.ignore = probability, side, ignore
        self.samples, self.read = samples, read

    def __repr__(self) -> str:
        return f"RandomMosaic(probability={self.probability}, side={self.side})"

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the mosaic around an image (H, W, 3) uint8."""
        if self._rand_range() >= self.probability:
            return T.NoOpTransform()
        first, last = self.side // 4, 3 * self.side // 4
        row, column = (first + draw_below(last - first + 1) for _ in range(2))
        below, right = self.side - row, self.side - column
        part = _draw_part(image, (row, column), self.ignore)
        quadrants = ((row, right), (below, column), (below, right))
        return MosaicTransform(part, [self._draw_sample(size) for size in quadrants])

    def _draw_sample(self, size: tuple[int, int]) -> Sample:
        image, label = self.read(self.samples[draw_below(len(self.samples))])
        part = _draw_part(label, size, self.ignore)
        return part.apply_image(image), part.apply_segmentation(label)
