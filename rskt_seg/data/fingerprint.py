"""Fingerprints of a dataset: two runs with equal ones saw the same images and the same ids.

A digest of 32 bytes is taken of each file and the digests are combined in the order of stems, so that
they may be computed in any order, by any number of threads, and beside other work on the same files.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rskt_seg.data.catalog import Pair
from rskt_seg.data.labels import read_label
from rskt_seg.data.parallel import over_files
from rskt_seg.errors import ImageReadError

_SHORT = 12


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 of all images and of all labels of a dataset (64 hexadecimal digits each), and their number.

    `images`: stems and file bytes. `labels`: stems, sizes and decoded ids, so compressing a label file
    again changes nothing. Neither depends on folders, on the order of files or on extensions. `str()`
    gives 12 digits of each.
    """

    images: str
    labels: str
    count: int

    def __str__(self) -> str:
        return f"images {self.images[:_SHORT]} labels {self.labels[:_SHORT]}"


@dataclass(frozen=True)
class Digests:
    """What one pair adds to a fingerprint: its stem, and 32 bytes for each of its files."""

    stem: str
    image: bytes
    label: bytes


def fingerprint(pairs: Sequence[Pair], workers: int | None = None, progress: bool = True) -> Fingerprint:
    """The fingerprint of the images and labels of `pairs` (images are hashed, not decoded).

    Raises `ImageReadError` for an image that cannot be read, `LabelError` as `read_label`.
    """
    return combine(over_files(pair_digests, pairs, "fingerprint", workers, progress, delay=2))


def pair_digests(pair: Pair) -> Digests:
    """The digests of one pair, read from its two files. Raises as `fingerprint`."""
    try:
        content = pair.image.read_bytes()
    except OSError as error:
        raise ImageReadError(f"{pair.image} cannot be read: {error}") from error
    return Digests(pair.image.stem, image_digest(content), label_digest(read_label(pair.label)))


def image_digest(content: bytes) -> bytes:
    """SHA-256 of the bytes of an image file."""
    return hashlib.sha256(content).digest()


def label_digest(ids: np.ndarray) -> bytes:
    """SHA-256 of the size and the values of ids (H, W), the same for 8-bit and 16-bit files of them."""
    narrow = np.uint8 if ids.size == 0 or ids.max() <= 255 else "<u2"
    digest = hashlib.sha256(f"{ids.shape[0]}x{ids.shape[1]} {np.dtype(narrow).str} ".encode())
    digest.update(np.ascontiguousarray(ids, dtype=narrow))
    return digest.digest()


def combine(parts: Iterable[Digests]) -> Fingerprint:
    """The fingerprint of pairs whose digests come in any order."""
    images, labels = hashlib.sha256(), hashlib.sha256()
    ordered = sorted(parts, key=lambda part: (part.stem, part.image, part.label))
    for part in ordered:
        # The length first, so that no two lists of stems give the same bytes.
        stem = part.stem.encode("utf-8", "surrogateescape")
        head = len(stem).to_bytes(8, "big") + stem
        images.update(head + part.image)
        labels.update(head + part.label)
    return Fingerprint(images.hexdigest(), labels.hexdigest(), len(ordered))
