"""Fingerprints of datasets: two runs with equal fingerprints saw the same images and the same ids.

Each file has a digest of 32 bytes, and the digests are combined in the order of stems; they may thus be
computed in any order, by any number of threads, and beside other work on the same files.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rskt_seg.data.labels import read_label
from rskt_seg.data.pairing import Pair
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import ImageReadError

_SHORT = 12


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 of all images and of all labels of a dataset.

    Neither depends on folders, on the order of files or on extensions. `str()` gives 12 digits of each.

    Attributes:
        images: 64 hexadecimal digits, of stems and file bytes.
        labels: 64 hexadecimal digits, of stems, sizes and decoded ids; compressing a label file again changes
            nothing.
        count: Number of pairs.
    """

    images: str
    labels: str
    count: int

    def __str__(self) -> str:
        return f"images {self.images[:_SHORT]} labels {self.labels[:_SHORT]}"


@dataclass(frozen=True)
class Digests:
    """The contribution of one pair to a fingerprint.

    Attributes:
        stem: The stem of image and label.
        image: 32 bytes, the digest of the bytes of the image file.
        label: 32 bytes, the digest of size and ids of the label (`label_digest`).
    """

    stem: str
    image: bytes
    label: bytes

    @property
    def key(self) -> tuple[str, bytes, bytes]:
        """What the pairs of a dataset are ordered by."""
        return self.stem, self.image, self.label


def compute_fingerprint(
    pairs: Sequence[Pair], workers: int | None = None, progress: bool = True
) -> Fingerprint:
    """Compute the fingerprint of pairs; images are hashed, not decoded.

    Args:
        pairs: Image and label files.
        workers: Number of threads; None: one per core, at most eight.
        progress: Whether to show a progress bar.

    Returns:
        The fingerprint.

    Raises:
        ImageReadError: An image cannot be read.
        LabelError: As `read_label`.
    """
    return combine(map_files(pair_digests, pairs, "fingerprint", workers, progress, delay=2))


def pair_digests(pair: Pair) -> Digests:
    """Return the digests of one pair, read from its two files.

    Raises:
        ImageReadError: The image cannot be read.
        LabelError: As `read_label`.
    """
    try:
        content = pair.image.read_bytes()
    except OSError as error:
        raise ImageReadError(f"{pair.image} cannot be read: {error}") from error
    return Digests(pair.image.stem, image_digest(content), label_digest(read_label(pair.label)))


def image_digest(content: bytes) -> bytes:
    """Return the SHA-256 of the bytes of an image file."""
    return hashlib.sha256(content).digest()


def label_digest(ids: np.ndarray) -> bytes:
    """Return the SHA-256 of size and values of ids (H, W), the same for 8-bit and 16-bit files of them."""
    narrow = np.uint8 if ids.size == 0 or ids.max() <= 255 else "<u2"
    digest = hashlib.sha256(f"{ids.shape[0]}x{ids.shape[1]} {np.dtype(narrow).str} ".encode())
    digest.update(np.ascontiguousarray(ids, dtype=narrow).data)
    return digest.digest()


def combine(digests: Iterable[Digests]) -> Fingerprint:
    """Combine the digests of pairs, given in any order, to a fingerprint."""
    images, labels = hashlib.sha256(), hashlib.sha256()
    ordered = sorted(digests, key=lambda pair: pair.key)
    for pair in ordered:
        # The length first, so that no two lists of stems give the same bytes.
        stem = pair.stem.encode("utf-8", "surrogateescape")
        head = len(stem).to_bytes(8, "big") + stem
        images.update(head + pair.image)
        labels.update(head + pair.label)
    return Fingerprint(images.hexdigest(), labels.hexdigest(), len(ordered))
