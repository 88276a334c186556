"""The closed-set protocols of published codes, as data: which classes enter the means, and how.

All of them read the counts of one `ConfusionMatrix` over the whole set, and none is an evaluator of its own:
their figures stand beside the common ones (`ConfusionMatrix.scores`), from which they differ where a class
is left out of the means, has no ground truth or is never hit. Sources: GeoSeg, whose metrics BiCoR-Seg
uses, both branches of FCtL's code, and CTFA, whose evaluation the paper of the weakly supervised method
follows. Predictions of 255 (not classified) are misses, as everywhere here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import ConfusionMatrix

FIGURES = ("mIoU", "mF1", "OA")
"""The three measures of every protocol, in percent."""


@dataclass(frozen=True)
class Protocol:
    """Which of the `num_classes` classes (ids `reported`) enter the means, and what undefined values do.

    IoU is undefined for a class neither labelled nor predicted. One that is predicted and never labelled has
    IoU 0, which counts, unless `labelled_only` (the common scores leave it out).

    undefined: "dropped" leaves undefined values out of the means; "zero" counts them as 0.
    f1_without_hits: F1 of a class without a true positive: "undefined" (precision and recall, both 0 or
        0/0, without an epsilon), or "zero" (2 TP / (2 TP + FP + FN), undefined only where IoU is).
    accuracy_without: ids whose labelled pixels are left out of OA.
    labelled_only: IoU and F1 are undefined for every class without ground truth, also where it is predicted.
    background: id of the class that stands for all else; mIoU is then also taken without it.
    """

    source: str
    num_classes: int
    reported: tuple[int, ...]
    undefined: str
    f1_without_hits: str
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

FCtL's code has neither F1 nor OA: F1 is taken over the same classes, OA over all counted pixels, the unknown
ones (label 0) of "fctl_deepglobe" among them; "fctl_deepglobe_known" leaves those out of OA. "deepglobe" is
the challenge's rule for labels without an unknown class: those pixels are in no count. The figures of
"wsss_isaid" and "wsss_potsdam" (whose background is clutter) are the common mIoU, mF1 and pACC."""


@dataclass(frozen=True)
class ProtocolScores:
    """Figures of a protocol in percent (0..100); a mean is NaN where no class has a value.

    `reported`: ids of the classes in the means. `no_iou`, `no_f1`: those of them without a value of their
    own, which were dropped or counted as 0 as the protocol says. `mIoU_foreground`: mIoU over the reported
    classes but the background; None where the protocol names none.
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
    """The protocol called `name`. Raises `DatasetError` when there is none."""
    if name not in PROTOCOLS:
        raise DatasetError(f"unknown evaluation protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def protocol_scores(matrix: ConfusionMatrix, name: str) -> ProtocolScores:
    """What the protocol `name` makes of the counts.

    Raises `DatasetError` as `check_protocol`, and where no pixel was labelled.
    """
    protocol = check_protocol(name, matrix.num_classes)
    hits = np.diagonal(matrix.counts).astype(np.float64)
    labelled, predicted = matrix.counts.sum(axis=0), matrix.counts[:-1].sum(axis=1)
    counted = np.ones(len(hits), bool)
    counted[list(protocol.accuracy_without)] = False
    if not labelled[counted].any():
        raise DatasetError(f"protocol {name}: nothing to score, no labelled pixel was seen")
    iou = _percent(hits, labelled + predicted - hits)
    f1 = _percent(2 * hits, labelled + predicted)
    if protocol.f1_without_hits == "undefined":
        f1[hits == 0] = np.nan
    if protocol.labelled_only:
        iou[labelled == 0] = f1[labelled == 0] = np.nan
    accuracy = float(100 * hits[counted].sum() / labelled[counted].sum())
    mean_iou, no_iou = _mean(iou, protocol.reported, protocol)
    mean_f1, no_f1 = _mean(f1, protocol.reported, protocol)
    foreground = None
    if protocol.background is not None:
        foreground, _ = _mean(iou, [k for k in protocol.reported if k != protocol.background], protocol)
    return ProtocolScores(name, mean_iou, mean_f1, accuracy, protocol.reported, no_iou, no_f1, foreground)


def check_protocol(name: str, num_classes: int) -> Protocol:
    """The protocol `name`. Raises `DatasetError` where it is unknown or for another number of classes."""
    protocol = find_protocol(name)
    if num_classes != protocol.num_classes:
        raise DatasetError(
            f"protocol {name} is for {protocol.num_classes} classes; the dataset has {num_classes}"
        )
    return protocol


def describe(name: str, class_names: Sequence[str]) -> str:
    """One line for people: over which classes the means of protocol `name` run, and what is left out."""
    protocol = find_protocol(name)
    outside = [k for k in range(protocol.num_classes) if k not in protocol.reported]
    classes = _named(protocol.reported, class_names)
    if protocol.labelled_only:
        classes = f"those of {classes} that have ground truth"
    parts = [f"protocol {name} ({protocol.source}): mIoU and mF1 over {classes}"]
    if protocol.accuracy_without:
        parts.append(f"OA without pixels labelled {_named(protocol.accuracy_without, class_names)}")
    if outside:
        counted = "" if protocol.accuracy_without else ", counted in OA"
        parts.append(f"{_named(outside, class_names)} is trained{counted} and left out of the means")
    return "; ".join(parts)


def explain(scores: ProtocolScores, class_names: Sequence[str]) -> list[str]:
    """For people: the figures, `describe`, mIoU without background where the protocol has it, and which
    classes have no value and what that does.
    """
    figures = ", ".join(f"{key} {getattr(scores, key):.2f}" for key in FIGURES)
    rule = "left out of the mean" if find_protocol(scores.protocol).undefined == "dropped" else "counted as 0"
    undefined = [
        f"{measure} of {_named(ids, class_names)} is undefined and {rule}"
        for measure, ids in (("IoU", scores.no_iou), ("F1", scores.no_f1))
        if ids
    ]
    foreground = []
    if scores.mIoU_foreground is not None:
        background = class_names[find_protocol(scores.protocol).background]
        foreground = [f"mIoU without {background}: {scores.mIoU_foreground:.2f}"]
    return [figures, describe(scores.protocol, class_names), *foreground, *undefined]


def protocol_as_dict(scores: ProtocolScores, class_names: Sequence[str]) -> dict[str, Any]:
    """For JSON: the name, the three figures (None for NaN) and the names of the classes concerned.

    With "mIoU_foreground" where the protocol names a background.
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


def _named(ids: Sequence[int], class_names: Sequence[str]) -> str:
    return ", ".join(class_names[k] for k in ids)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return 100 * np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean(values: np.ndarray, ids: Sequence[int], protocol: Protocol) -> tuple[float, tuple[int, ...]]:
    """The mean over the classes `ids`, and those of them without a value."""
    chosen = values[list(ids)]
    defined = ~np.isnan(chosen)
    without = tuple(k for k, is_defined in zip(ids, defined, strict=True) if not is_defined)
    if protocol.undefined == "zero":
        return float(np.where(defined, chosen, 0).mean()), without
    return (float(chosen[defined].mean()) if defined.any() else math.nan), without
