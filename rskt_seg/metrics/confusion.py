"""Confusion counts of label maps, and the scores of semantic segmentation computed from them.

The formulas are those of the evaluator on Detectron2's main branch (since July 2022): means run over
the classes that occur in the ground truth, so a class that is predicted but never labelled lowers the
scores only through the pixels it takes from the true classes. Detectron2 0.6 and older divide the sum
of IoU by the number of classes labelled *or* predicted; those numbers do not compare.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rskt_seg.errors import DatasetError, LabelError
from rskt_seg.wording import counted

UNCLASSIFIED = 255
"""Value of a predicted pixel that the model gave no class (nodata, alpha): a miss of the true class."""
_CHUNK = 1 << 22  # pixels counted at once, which bounds the memory


@dataclass(frozen=True, eq=False)
class Scores:
    """Percentages (0..100) over everything that a `ConfusionMatrix` has counted.

    Attributes:
        mIoU: Unweighted mean of IoU over the classes with ground truth.
        fwIoU: Mean of IoU weighted by ground-truth pixels.
        mACC: Unweighted mean of the class accuracies over the classes with ground truth.
        pACC: Share of the labelled pixels that are right.
        mF1: Unweighted mean of F1 over the classes with ground truth.
        IoU: IoU of each class, (K,); NaN for a class without ground truth, as in `ACC` and `F1`.
        ACC: Accuracy (recall) of each class, (K,).
        F1: F1 of each class, (K,).
        pixels: Ground-truth pixels of each class, (K,).
        unclassified: Labelled pixels whose prediction is 255.
    """

    mIoU: float
    fwIoU: float
    mACC: float
    pACC: float
    mF1: float
    IoU: NDArray[np.float64]
    ACC: NDArray[np.float64]
    F1: NDArray[np.float64]
    pixels: NDArray[np.int64]
    unclassified: int


class ConfusionMatrix:
    """Counts of (predicted id, labelled id) over any number of label maps.

    Memory is bounded whatever the size of the maps.

    Attributes:
        num_classes: Number of classes, K.
        ignore: Label that is not counted; may be one of 0..K-1.
        counts: int64, (K + 1, K): row k counts the pixels predicted as k, the last row those predicted as
            255 (not classified), column k the pixels labelled k.
    """

    def __init__(self, num_classes: int, ignore: int = 255) -> None:
        """Start with no counts.

        Args:
            num_classes: Number of classes, 1..255.
            ignore: Label that is not counted.

        Raises:
            DatasetError: If `num_classes` is out of range.
        """
        if not 1 <= num_classes <= UNCLASSIFIED:
            raise DatasetError(f"expected 1..{UNCLASSIFIED} classes, found {num_classes}")
        self.num_classes = num_classes
        self.ignore = ignore
        self.counts = np.zeros((num_classes + 1, num_classes), np.int64)

    def update(self, prediction: NDArray[Any], label: NDArray[Any]) -> None:
        """Count a prediction against its label.

        Args:
            prediction: Integers 0..K-1 or 255, of any shape, such as (H, W).
            label: Integers 0..K-1 or `ignore`, of the same shape.

        Raises:
            LabelError: If the label holds other values; nothing is counted then.
            DatasetError: If the prediction does, or the shapes differ; nothing is counted then.
        """
        prediction, label = np.asarray(prediction), np.asarray(label)
        if prediction.shape != label.shape:
            raise DatasetError(
                f"expected a prediction of the shape of its label, found {prediction.shape} and {label.shape}"
            )
        fresh = np.zeros(self.counts.size, np.int64)
        predicted, labelled = prediction.reshape(-1), label.reshape(-1)
        for start in range(0, label.size, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            fresh += self._count(predicted[chunk], labelled[chunk])
        self.counts += fresh.reshape(self.counts.shape)

    def _count(self, prediction: NDArray[Any], label: NDArray[Any]) -> NDArray[np.int64]:
        """Return the counts of flat arrays, flattened: ((K + 1) * K,)."""
        kept = label != self.ignore
        _check_ids(label[kept], self.num_classes, LabelError, f"labels must be 0..K-1 or {self.ignore}")
        unclassified = prediction == UNCLASSIFIED
        _check_ids(
            prediction[~unclassified],
            self.num_classes,
            DatasetError,
            f"predictions must be 0..K-1 or {UNCLASSIFIED}; has the vocabulary as many names as the dataset?",
        )
        rows = np.where(unclassified, self.num_classes, prediction.astype(np.int64))[kept]
        return np.bincount(rows * self.num_classes + label[kept], minlength=self.counts.size)

    def merge(self, other: "ConfusionMatrix") -> None:
        """Add the counts of another matrix.

        Args:
            other: A matrix of the same classes, such as that of another process.

        Raises:
            DatasetError: If `other` has another number of classes or ignores another label.
        """
        if (self.num_classes, self.ignore) != (other.num_classes, other.ignore):
            raise DatasetError(
                f"counts of {counted(self.num_classes, 'class', 'classes')} (ignoring {self.ignore}) and of "
                f"{other.num_classes} (ignoring {other.ignore}) cannot be added"
            )
        self.counts += other.counts

    def state(self) -> dict[str, Any]:
        """Return everything counted so far as plain lists and integers, exact, ready for JSON."""
        return {"num_classes": self.num_classes, "ignore": self.ignore, "counts": self.counts.tolist()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "ConfusionMatrix":
        """Rebuild a matrix from its `state()`.

        Args:
            state: What `state()` returned, also after a round trip through JSON.

        Returns:
            A matrix with the same counts.

        Raises:
            DatasetError: If `state` is not the state of a matrix.
        """
        try:
            matrix = cls(int(state["num_classes"]), int(state["ignore"]))
            counts = np.array(state["counts"], dtype=np.int64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DatasetError(f"expected the state of a confusion matrix, found {error!r} in it") from error
        if counts.shape != matrix.counts.shape or (counts < 0).any():
            raise DatasetError(
                f"expected counts of shape {matrix.counts.shape} for "
                f"{counted(matrix.num_classes, 'class', 'classes')}, none negative; found shape "
                f"{counts.shape}, {(counts < 0).sum()} of them negative"
            )
        matrix.counts = counts
        return matrix

    def precision(self) -> NDArray[np.float64]:
        """Compute the precision of each class.

        Returns:
            (K,), in percent: which part of the labelled pixels that were predicted as a class are of it. NaN
            for a class without ground truth, as in the scores, and for one that was never predicted.
        """
        predicted, labelled = self.counts[:-1].sum(axis=1), self.counts.sum(axis=0)
        hits = 100 * np.diagonal(self.counts).astype(np.float64)
        where = (predicted > 0) & (labelled > 0)
        return np.divide(hits, predicted, out=np.full(self.num_classes, np.nan), where=where)

    def scores(self) -> Scores:
        """Compute the scores of all maps counted.

        Raises:
            DatasetError: If no labelled pixel was counted.
        """
        hits = np.diagonal(self.counts).astype(np.float64)  # (K,), as are all arrays below
        labelled = self.counts.sum(axis=0)
        predicted = self.counts[:-1].sum(axis=1)
        total = int(labelled.sum())
        if total == 0:
            raise DatasetError(
                f"nothing to score: no labelled pixel was seen (every label is {self.ignore}, or there "
                "are no images)"
            )
        present = labelled > 0

        def percent(
            part: NDArray[np.float64], whole: NDArray[np.float64] | NDArray[np.int64]
        ) -> NDArray[np.float64]:
            """Return 100 part / whole of the classes with ground truth, NaN for the others."""
            return 100 * np.divide(part, whole, out=np.full(len(part), np.nan), where=present)

        iou = percent(hits, labelled + predicted - hits)
        acc = percent(hits, labelled)
        f1 = percent(2 * hits, labelled + predicted)
        return Scores(
            mIoU=float(iou[present].mean()),
            fwIoU=float((iou[present] * labelled[present]).sum() / total),
            mACC=float(acc[present].mean()),
            pACC=float(100 * hits.sum() / total),
            mF1=float(f1[present].mean()),
            IoU=iou,
            ACC=acc,
            F1=f1,
            pixels=labelled,
            unclassified=int(self.counts[-1].sum()),
        )


def _check_ids(ids: NDArray[Any], num_classes: int, error: type[DatasetError], rule: str) -> None:
    """Raise `error` unless `ids` are integers 0..num_classes - 1."""
    if ids.dtype.kind not in "ui":
        raise error(f"{rule} (K = {num_classes}); found values of type {ids.dtype}, not integers")
    wrong = ids[(ids < 0) | (ids >= num_classes)]
    if len(wrong):
        found = ", ".join(map(str, np.unique(wrong)[:10]))
        raise error(f"{rule} (K = {num_classes}); found {found} in {counted(len(wrong), 'pixel')}")
