"""The closed-set protocols of published codes, as data: which classes enter the means, and how.

All of them read the counts of one `ConfusionMatrix` over the whole set; none is an evaluator of its own.
Their figures stand beside the common ones (`ConfusionMatrix.scores`), and differ from them if a class is left
out of the means, has no ground truth or is never hit. Sources: GeoSeg, whose metrics BiCoR-Seg uses; both
branches of FCtL's code; CTFA, whose evaluation the paper of the weakly supervised method follows. Predictions
of 255 (not classified) are misses, as in the common scores.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import ConfusionMatrix

FIGURES = ("mIoU", "mF1", "OA")
"""The three measures of every protocol, in percent."""


@dataclass(frozen=True)
class Protocol:
    """Rule by which a published code scores a dataset.

    IoU is undefined for a class neither labelled nor predicted. A class that is predicted and never labelled
    has IoU 0, which counts, unless `labelled_only` (the common scores leave it out).

    Attributes:
        source: The published code.
        num_classes: Number of classes that it scores.
        reported: Ids of the classes in the means.
        undefined: "dropped" leaves undefined values out of the means; "zero" counts them as 0.
        f1_without_hits: F1 of a class without a true positive: "undefined" (precision and recall, both 0 or
            0/0, without an epsilon), or "zero" (2 TP / (2 TP + FP + FN), undefined only where IoU is).
        accuracy_without: Ids whose labelled pixels are left out of OA.
        labelled_only: IoU and F1 are undefined for every class without ground truth, even a predicted one.
        background: Id of the class that stands for all else; mIoU is then also computed without it.
    """

    source: str
    num_classes: int
    reported: tuple[int, ...]
    undefined: Literal["dropped", "zero"]
    f1_without_hits: Literal["undefined", "zero"]
    accuracy_without: tuple[int, ...] = ()
    labelled_only: bool = False
    background: int | None = None


def _geoseg(num_classes: int, reported: int) -> Protocol:
    return Protocol("GeoSeg and BiCoR-Seg", num_classes, tuple(range(reported)), "dropped", "undefined")


def _fctl(num_classes: int, first: int, accuracy_without: tuple[int, ...] = ()) -> Protocol:
    reported = tuple(range(first, num_classes))
    return Protocol("FCtL", num_classes, reported, "zero", "zero", accuracy_without)


def _ctfa(num_classes: int, background: int) -> Protocol:
    reported = tuple(range(num_classes))
    return Protocol(
        "CTFA", num_classes, reported, "dropped", "zero", labelled_only=True, background=background
    )


PROTOCOLS: dict[str, Protocol] = {
    "geoseg_isprs": _geoseg(6, 5),
    "geoseg_loveda": _geoseg(7, 7),
    "fctl_deepglobe": _fctl(7, 1),
    "fctl_deepglobe_known": _fctl(7, 1, accuracy_without=(0,)),
    "deepglobe": _fctl(6, 0),
    "fctl_inria": _fctl(2, 1),
    "wsss_isaid": _ctfa(16, background=0),
    "wsss_potsdam": _ctfa(6, background=5),
}
"""Name -> protocol.

FCtL's code has neither F1 nor OA. Here F1 is averaged over the same classes, and OA covers all counted
pixels, the unknown ones (label 0) of "fctl_deepglobe" included; "fctl_deepglobe_known" leaves those out of
OA. "deepglobe" is the challenge's rule for labels without an unknown class, whose unknown pixels are ignored.
The figures of "wsss_isaid" and "wsss_potsdam" (background: clutter) are the common mIoU, mF1 and pACC."""


@dataclass(frozen=True)
class ProtocolScores:
    """Figures of a protocol in percent (0..100); a mean is NaN if no class has a value.

    Attributes:
        protocol: Name of the protocol.
        mIoU: Mean IoU of the reported classes.
        mF1: Mean F1 of the reported classes.
        OA: Overall accuracy, the share of the counted pixels that are right.
        reported: Ids of the classes in the means.
        no_iou: Reported classes without an IoU, dropped or counted as 0 as the protocol says.
        no_f1: Reported classes without an F1, treated alike.
        mIoU_foreground: mIoU of the reported classes but the background; None if the protocol names none.
    """

    protocol: str
    mIoU: float
    mF1: float
    OA: float
    reported: tuple[int, ...]
    no_iou: tuple[int, ...]
    no_f1: tuple[int, ...]
    mIoU_foreground: float | None = None


def find_protocol(name: str) -> Protocol:
    """Return the protocol of that name.

    Args:
        name: A key of `PROTOCOLS`.

    Returns:
        What the protocol scores, and how.

    Raises:
        DatasetError: If there is none.
    """
    if name not in PROTOCOLS:
        raise DatasetError(f"unknown evaluation protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def check_protocol(name: str, num_classes: int) -> Protocol:
    """Return the protocol of that name for a dataset.

    Args:
        name: Name of the protocol.
        num_classes: Number of classes of the dataset.

    Returns:
        The protocol.

    Raises:
        DatasetError: If there is no such protocol, or it scores another number of classes.
    """
    protocol = find_protocol(name)
    if num_classes != protocol.num_classes:
        raise DatasetError(
            f"protocol {name} is for {protocol.num_classes} classes; the dataset has {num_classes}"
        )
    return protocol


def protocol_scores(matrix: ConfusionMatrix, name: str) -> ProtocolScores:
    """Compute the figures of a protocol from confusion counts.

    Args:
        matrix: Counts over the whole dataset.
        name: Name of the protocol.

    Returns:
        The figures, in percent.

    Raises:
        DatasetError: As `check_protocol`, or if no pixel that enters OA was counted.
    """
    protocol = check_protocol(name, matrix.num_classes)
    hits = np.diagonal(matrix.counts).astype(np.float64)  # (K,), as are all arrays below
    labelled, predicted = matrix.counts.sum(axis=0), matrix.counts[:-1].sum(axis=1)
    counted = np.ones(len(hits), bool)
    counted[list(protocol.accuracy_without)] = False
    if not labelled[counted].any():
        raise DatasetError(f"protocol {name}: nothing to score, no labelled pixel was seen")

    def percent(
        part: NDArray[np.float64], whole: NDArray[np.float64] | NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return 100 part / whole, NaN where it is 0/0."""
        return 100 * np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)

    iou = percent(hits, labelled + predicted - hits)
    f1 = percent(2 * hits, labelled + predicted)
    if protocol.f1_without_hits == "undefined":
        f1[hits == 0] = np.nan
    if protocol.labelled_only:
        iou[labelled == 0] = f1[labelled == 0] = np.nan
    mean_iou, no_iou = _mean(iou, protocol.reported, protocol)
    mean_f1, no_f1 = _mean(f1, protocol.reported, protocol)
    foreground = None
    if protocol.background is not None:
        foreground, _ = _mean(iou, [k for k in protocol.reported if k != protocol.background], protocol)
    return ProtocolScores(
        protocol=name,
        mIoU=mean_iou,
        mF1=mean_f1,
        OA=float(100 * hits[counted].sum() / labelled[counted].sum()),
        reported=protocol.reported,
        no_iou=no_iou,
        no_f1=no_f1,
        mIoU_foreground=foreground,
    )


def _mean(
    values: NDArray[np.float64], ids: Sequence[int], protocol: Protocol
) -> tuple[float, tuple[int, ...]]:
    """Return the mean over the classes `ids` by the rule of `protocol`, and those of them without a value."""
    chosen = values[list(ids)]
    defined = ~np.isnan(chosen)
    without = tuple(k for k, is_defined in zip(ids, defined, strict=True) if not is_defined)
    if protocol.undefined == "zero":
        return float(np.where(defined, chosen, 0).mean()), without
    return (float(chosen[defined].mean()) if defined.any() else math.nan), without


def describe_protocol(name: str, class_names: Sequence[str]) -> str:
    """Describe in one line over which classes the means of a protocol run, and what is left out.

    Args:
        name: Name of the protocol.
        class_names: Names of all its classes.

    Returns:
        The line.

    Raises:
        DatasetError: If there is no such protocol.
    """
    protocol = find_protocol(name)
    outside = [k for k in range(protocol.num_classes) if k not in protocol.reported]
    classes = _names(protocol.reported, class_names)
    if protocol.labelled_only:
        classes = f"those of {classes} that have ground truth"
    parts = [f"protocol {name} ({protocol.source}): mIoU and mF1 over {classes}"]
    if protocol.accuracy_without:
        parts.append(f"OA without pixels labelled {_names(protocol.accuracy_without, class_names)}")
    if outside:
        counted = "" if protocol.accuracy_without else ", counted in OA"
        parts.append(f"{_names(outside, class_names)} is trained{counted} and left out of the means")
    return "; ".join(parts)


def explain_scores(scores: ProtocolScores, class_names: Sequence[str]) -> list[str]:
    """Describe the figures of a protocol for people, a line for each fact.

    Args:
        scores: The figures.
        class_names: Names of all classes.

    Returns:
        The figures; `describe_protocol`; mIoU without background if the protocol names one; which classes
        have no IoU or F1, and what that does to the mean.
    """
    protocol = find_protocol(scores.protocol)
    lines = [", ".join(f"{key} {getattr(scores, key):.2f}" for key in FIGURES)]
    lines.append(describe_protocol(scores.protocol, class_names))
    if scores.mIoU_foreground is not None and protocol.background is not None:
        lines.append(f"mIoU without {class_names[protocol.background]}: {scores.mIoU_foreground:.2f}")
    rule = "left out of the mean" if protocol.undefined == "dropped" else "counted as 0"
    for measure, ids in (("IoU", scores.no_iou), ("F1", scores.no_f1)):
        if ids:
            lines.append(f"{measure} of {_names(ids, class_names)} is undefined and {rule}")
    return lines


def protocol_as_dict(scores: ProtocolScores, class_names: Sequence[str]) -> dict[str, Any]:
    """Collect the figures of a protocol for JSON.

    Args:
        scores: The figures.
        class_names: Names of all classes.

    Returns:
        The name of the protocol, the three figures and, if it names a background, "mIoU_foreground" (None
        for NaN), and the names of the classes in the means and of those without IoU or F1.
    """
    figures = {key: getattr(scores, key) for key in FIGURES}
    if scores.mIoU_foreground is not None:
        figures["mIoU_foreground"] = scores.mIoU_foreground
    names = {key: [class_names[k] for k in getattr(scores, key)] for key in ("reported", "no_iou", "no_f1")}
    return {
        "name": scores.protocol,
        **{key: None if math.isnan(value) else value for key, value in figures.items()},
        **names,
    }


def _names(ids: Sequence[int], class_names: Sequence[str]) -> str:
    return ", ".join(class_names[k] for k in ids)
