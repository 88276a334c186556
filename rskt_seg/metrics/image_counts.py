"""Counts of each image of a set, from which scores of any sample of its images follow."""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.metrics.protocols import Protocol
from rskt_seg.wording import counted
from rskt_seg.writing import replacing

_STEMS, _COUNTS = "stems.npy", "counts.npy"
_LARGEST = 1 << 30
"""The most bytes of an array in a file; 20,000 images of 40 classes have a hundredth of that."""
_DAMAGED = (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, RecursionError, SyntaxError,
            NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)  # fmt: skip
"""What reading an archive or an array raises where the file is another or damaged."""


def class_counts(matrix: ConfusionMatrix) -> NDArray[np.int64]:
    """Return the pixels of each class that are right, that are predicted and that are labelled, (3, K).

    Only pixels with a label that is not ignored are counted, as in the matrix.
    """
    counts = matrix.counts
    return np.stack([np.diagonal(counts), counts[:-1].sum(axis=1), counts.sum(axis=0)])


def mean_iou(
    counts: NDArray[np.float64] | NDArray[np.int64], protocol: Protocol | None = None
) -> NDArray[np.float64]:
    """Compute mIoU as `ConfusionMatrix.scores` does, over the classes that are labelled, or by a protocol.

    Args:
        counts: Right, predicted and labelled pixels of each class, (..., 3, K).
        protocol: The rule of the mean; None: the common one.

    Returns:
        Percent, (...); NaN where no class has a value, or nothing is labelled.
    """
    if protocol is not None:
        counts = counts[..., list(protocol.reported)]
    right, predicted, labelled = np.moveaxis(counts.astype(np.float64), -2, 0)
    union = labelled + predicted - right
    defined = (labelled if protocol is None or protocol.labelled_only else union) > 0
    iou = np.divide(right, union, out=np.zeros(right.shape), where=defined)
    zeros = protocol is not None and protocol.undefined == "zero"
    number = np.full(iou.shape[:-1], iou.shape[-1]) if zeros else defined.sum(axis=-1)
    return 100 * np.divide(iou.sum(axis=-1), number, out=np.full(number.shape, np.nan), where=number > 0)


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """Right, predicted and labelled pixels of each class in each image of a set.

    Attributes:
        stems: Names of the N images without extension.
        counts: int64, (N, 3, K): see `class_counts`.
    """

    stems: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def digest(self) -> str:
        """The SHA-256 of stems and counts, whatever the compression of their file."""
        whole = hashlib.sha256(json.dumps([self.stems, self.counts.shape]).encode())
        whole.update(np.ascontiguousarray(self.counts, "<i8").data)
        return whole.hexdigest()

    def save(self, path: Path) -> None:
        """Write an archive that `numpy.load` reads too, whole or not at all; equal counts give equal bytes.

        Args:
            path: The file to write or to replace, `*.npz`.

        Raises:
            DiskFullError: There is no room for it.
        """
        names = np.frombuffer(json.dumps(self.stems).encode(), np.uint8)  # ASCII, whatever the names are
        smallest = np.min_scalar_type(int(self.counts.max(initial=0)))
        with replacing(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            for name, array in ((_STEMS, names), (_COUNTS, self.counts.astype(smallest))):
                content = io.BytesIO()
                np.lib.format.write_array(content, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(name), content.getvalue(), zipfile.ZIP_DEFLATED)

    @classmethod
    def load(cls, path: Path, sha256: str) -> "ImageCounts":
        """Read what `save` wrote.

        Args:
            path: The file.
            sha256: Its `digest`, as the file that belongs to it states it.

        Returns:
            The counts.

        Raises:
            DatasetError: The file is missing or damaged, or has another digest.
        """
        advice = "evaluate or score the set again"
        try:
            if not path.is_file():  # opening a pipe would wait for a writer
                raise DatasetError(f"{path}: the counts of images are missing; {advice}")
            with zipfile.ZipFile(path) as archive:
                names, counts = (_read_array(archive, name) for name in (_STEMS, _COUNTS))
            stems = json.loads(names.astype(np.uint8).tobytes())
            found = cls(tuple(map(str, stems)), counts.astype(np.int64))
            if found.counts.ndim != 3 or found.counts.shape[:2] != (len(stems), 3):
                raise ValueError(f"counts of shape {counts.shape} for {counted(len(stems), 'image')}")
        except DatasetError:
            raise
        except _DAMAGED as error:
            raise DatasetError(
                f"{path}: not the counts of images that were written here: {error}; {advice}"
            ) from error
        if found.digest != sha256:
            raise DatasetError(
                f"{path}: the counts of images are not those that belong to the scores beside them; {advice}"
            )
        return found


def stack_counts(stems: Sequence[str], counts: Sequence[NDArray[np.int64]], num_classes: int) -> ImageCounts:
    """Return the counts of images, each (3, K), in the given order; there may be none."""
    none = np.zeros((0, 3, num_classes), np.int64)
    return ImageCounts(tuple(stems), np.stack(counts) if counts else none)


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    if (size := archive.getinfo(name).file_size) > _LARGEST:
        raise ValueError(f"{name} has {size} bytes")
    content = io.BytesIO(archive.read(name))
    array: NDArray[np.generic] = np.lib.format.read_array(content, allow_pickle=False)
    if array.dtype.kind not in "ui":
        raise ValueError(f"{name} holds {array.dtype}")
    return array
