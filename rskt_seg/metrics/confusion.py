"""Confusion counts of label maps, and the scores of semantic segmentation drawn from them.

The formulas are those of the evaluator on Detectron2's main branch (since July 2022): means run over
the classes that occur in the ground truth, so a class that is predicted but never labelled lowers the
scores only through the pixels it takes from the true classes. Detectron2 0.6 and older divide the sum
of IoU by the number of classes labelled *or* predicted; those numbers do not compare.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rskt_seg.errors import DatasetError, LabelError

UNCLASSIFIED = 255
"""What a prediction holds where a model gave no class (no-data, alpha): a miss of the true class."""
_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class Scores:
    """Percentages (0..100) over everything a `ConfusionMatrix` has seen.

    `mIoU`, `mACC`, `mF1`: unweighted means over the classes with ground truth; `fwIoU`: IoU weighted
    by ground-truth pixels; `pACC`: share of labelled pixels that are right. `IoU`, `ACC`, `F1`: (K,)
    float64, NaN for a class without ground truth. `pixels`: (K,) int64 ground-truth pixels of each
    class; `unclassified`: labelled pixels whose prediction was 255.
    """

    mIoU: float
    fwIoU: float
    mACC: float
    pACC: float
    mF1: float
    IoU: np.ndarray
    ACC: np.ndarray
    F1: np.ndarray
    pixels: np.ndarray
    unclassified: int


class ConfusionMatrix:
    """Counts of (predicted id, labelled id) over any number of label maps, as int64.

    `counts` is (K + 1, K): row k counts the pixels predicted as k, the last row those predicted as
    255 (not classified), column k the pixels labelled k. Labels equal to `ignore` are left out, also
    when `ignore` is one of 0..K-1. Memory is bounded whatever the size of the maps. Raises
    `DatasetError` unless 1 <= K <= 255.
    """

    def __init__(self, num_classes: int, ignore: int = 255) -> None:
        if not 1 <= num_classes <= UNCLASSIFIED:
            raise DatasetError(f"1..{UNCLASSIFIED} classes were expected, found {num_classes}")
        self.num_classes = num_classes
        self.ignore = ignore
        self.counts = np.zeros((num_classes + 1, num_classes), np.int64)

    def update(self, prediction: np.ndarray, label: np.ndarray) -> None:
        """Count a prediction against its label: integer arrays of one shape, such as (H, W).

        A prediction holds 0..K-1 or 255, a label 0..K-1 or `ignore`. Raises `LabelError` for other
        labels, `DatasetError` for other predictions or when the shapes differ; nothing is counted then.
        """
        prediction, label = np.asarray(prediction), np.asarray(label)
        if prediction.shape != label.shape:
            raise DatasetError(
                f"a prediction must have the shape of its label; found {prediction.shape} and {label.shape}"
            )
        fresh = np.zeros(self.counts.size, np.int64)
        predicted, labelled = prediction.reshape(-1), label.reshape(-1)
        for start in range(0, label.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            fresh += self._count(predicted[part], labelled[part])
        self.counts += fresh.reshape(self.counts.shape)

    def _count(self, prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
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
        """Add the counts of `other`; raises `DatasetError` when it counts other classes."""
        if (self.num_classes, self.ignore) != (other.num_classes, other.ignore):
            raise DatasetError(
                f"counts of {self.num_classes} classes (ignoring {self.ignore}) and of "
                f"{other.num_classes} (ignoring {other.ignore}) cannot be added"
            )
        self.counts += other.counts

    def state(self) -> dict[str, Any]:
        """Everything counted so far as plain lists and integers, exact, ready for JSON."""
        return {"num_classes": self.num_classes, "ignore": self.ignore, "counts": self.counts.tolist()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "ConfusionMatrix":
        """The matrix whose `state()` this is. Raises `DatasetError` when it is not one."""
        try:
            matrix = cls(int(state["num_classes"]), int(state["ignore"]))
            counts = np.array(state["counts"], dtype=np.int64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DatasetError(f"this is not the state of a confusion matrix: {error!r}") from error
        if counts.shape != matrix.counts.shape or (counts < 0).any():
            raise DatasetError(
                f"counts of shape {matrix.counts.shape}, none negative, were expected for "
                f"{matrix.num_classes} classes; found shape {counts.shape}"
            )
        matrix.counts = counts
        return matrix

    def scores(self) -> Scores:
        """The scores of all maps counted. Raises `DatasetError` when no pixel had a class to score."""
        hits = np.diagonal(self.counts).astype(np.float64)
        labelled = self.counts.sum(axis=0)
        predicted = self.counts[:-1].sum(axis=1)
        total = int(labelled.sum())
        if total == 0:
            raise DatasetError(
                f"nothing to score: no labelled pixel was seen (every label is {self.ignore}, or there "
                "are no images)"
            )
        present = labelled > 0

        def of_present(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
            return 100 * np.divide(part, whole, out=np.full(len(part), np.nan), where=present)

        iou = of_present(hits, labelled + predicted - hits)
        acc = of_present(hits, labelled)
        f1 = of_present(2 * hits, labelled + predicted)
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


def _check_ids(ids: np.ndarray, num_classes: int, error: type[DatasetError], rule: str) -> None:
    """Raise `error` unless `ids` are integers 0..num_classes - 1."""
    if ids.dtype.kind not in "ui":
        raise error(f"{rule} (K = {num_classes}); found values of type {ids.dtype}, not integers")
    wrong = ids[(ids < 0) | (ids >= num_classes)]
    if len(wrong):
        found = ", ".join(map(str, np.unique(wrong)[:10]))
        raise error(f"{rule} (K = {num_classes}); found {found} in {len(wrong)} pixels")
