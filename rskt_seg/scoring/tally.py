"""What is counted while a set is scored, by the evaluation of a model and of label files alike."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rskt_seg.data.fingerprint import Digests, Fingerprint, combine, label_digest
from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import UNCLASSIFIED, ConfusionMatrix
from rskt_seg.metrics.image_counts import ImageCounts, class_counts, stack_counts


class CountedImage(NamedTuple):
    """What is kept of an image.

    Attributes:
        digests: Its contribution to the fingerprint of the set.
        prediction: 32 bytes, the digest of size and ids of its prediction.
        counts: int64, (3, K): `class_counts` of this image alone.
    """

    digests: Digests
    prediction: bytes
    counts: NDArray[np.int64]


class Tally:
    """The counts of a set, together and image by image, and digests of what was counted.

    Args:
        num_classes: Number of classes, 1..255.
        ignore: Label that is not counted.

    Attributes:
        matrix: The confusion counts of all images.
        images: What is kept of each image.
    """

    def __init__(self, num_classes: int, ignore: int) -> None:
        self.matrix = ConfusionMatrix(num_classes, ignore)
        self.images: list[CountedImage] = []

    def count(
        self, digests: Digests, prediction: NDArray[Any], target: NDArray[Any], valid: NDArray[np.bool_]
    ) -> NDArray[np.uint8]:
        """Count an image.

        Args:
            digests: Digests of image and label.
            prediction: Class ids or 255 (not classified), (H, W).
            target: Labels, (H, W), as `valid_target` returns them.
            valid: Where the image has data, (H, W).

        Returns:
            The prediction as it is saved, (H, W): 255 where the image has no data.

        Raises:
            DatasetError: As `ConfusionMatrix.update`; nothing is counted then.
        """
        one = ConfusionMatrix(self.matrix.num_classes, self.matrix.ignore)
        one.update(prediction, target)
        ids = np.where(valid, prediction, UNCLASSIFIED).astype(np.uint8)
        self.matrix.merge(one)
        self.images.append(CountedImage(digests, label_digest(ids), class_counts(one)))
        return ids

    def merge(self, other: "Tally") -> None:
        """Add what another process or thread has counted; the order of merging leaves no trace."""
        self.matrix.merge(other.matrix)
        self.images += other.images

    @property
    def ordered(self) -> list[CountedImage]:
        """The images in the order of their stems."""
        return sorted(self.images, key=lambda image: image.digests.key)

    @property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the images and labels that were counted."""
        return combine(image.digests for image in self.images)

    @property
    def predictions(self) -> str:
        """The SHA-256 of all predictions by the names of their images, whatever files hold them."""
        return combine(replace(image.digests, label=image.prediction) for image in self.images).labels

    @property
    def image_counts(self) -> ImageCounts:
        """The counts of each image, in the order of stems."""
        stems = [image.digests.stem for image in self.ordered]
        return stack_counts(stems, [image.counts for image in self.ordered], self.matrix.num_classes)

    def state(self) -> dict[str, Any]:
        """Return everything but the counts of images, exactly, as values for JSON."""
        digests = [
            (image.digests.stem, image.digests.image.hex(), image.digests.label.hex(), image.prediction.hex())
            for image in self.ordered
        ]
        return {"matrix": self.matrix.state(), "digests": digests, "image_counts": self.image_counts.digest}

    def restore(self, state: Mapping[str, Any], counts: ImageCounts) -> None:
        """Restore what `state` and `image_counts` returned.

        Raises:
            DatasetError: The counts are of another number of classes or another ignored id, or those of
                images do not add up to those of the set.
        """
        matrix = ConfusionMatrix.from_state(state["matrix"])
        fresh = ConfusionMatrix(self.matrix.num_classes, self.matrix.ignore)
        fresh.merge(matrix)
        digests = state["digests"]
        whole = counts.counts.sum(axis=0)
        if counts.stems != tuple(stem for stem, *_ in digests) or not np.array_equal(
            whole, class_counts(matrix)
        ):
            raise DatasetError("the counts of images are not of the images of the set")
        self.matrix = fresh
        self.images = [
            CountedImage(Digests(stem, *map(bytes.fromhex, pair)), bytes.fromhex(prediction), each)
            for (stem, *pair, prediction), each in zip(digests, counts.counts, strict=True)
        ]
