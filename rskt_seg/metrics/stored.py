"""Reports of benchmarks read again from their JSON files, with every fact that a comparison needs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rskt_seg.errors import DatasetError, UnreadableError
from rskt_seg.metrics.image_counts import ImageCounts, mean_iou
from rskt_seg.metrics.protocols import Protocol, find_protocol
from rskt_seg.metrics.results import CostFigures, EvaluatedModel, SetRecords
from rskt_seg.reading import brief, parse_json, read_text
from rskt_seg.wording import counted

REPORT = "benchmark.json"
"""Name of the report in the folder of a run."""
NAMED = "write TITLE=FOLDER in place of the folder of a run to give it a title"
"""What to do where no run has a title that is asked for."""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class StoredSet:
    """What a report states of a set.

    Attributes:
        images: Number of images.
        fingerprint: Digest of images and labels.
        classes: Names of the classes in the order of ids.
        ignore: Id of the labels that are not scored.
        protocol: Name of its published protocol; "" for none.
        miou: mIoU in percent, the common one or that of the protocol (`read_run`).
        seen: mIoU over the seen classes, and their number; None if unknown or there are none.
        unseen: Likewise over the unseen classes.
        in_domain: Whether it contains images that the model was trained on; None: unknown.
        records: Its files beside the report.
        unpublished: Why it is not the set that papers scored; "" if nothing speaks against it.
    """

    images: int
    fingerprint: str
    classes: tuple[str, ...]
    ignore: int
    protocol: str
    miou: float
    seen: tuple[float, int] | None
    unseen: tuple[float, int] | None
    in_domain: bool | None
    records: SetRecords | None
    unpublished: str = ""


@dataclass(frozen=True)
class StoredRun:
    """A finished benchmark, of a model or of predictions.

    Attributes:
        title: Name of the method.
        report: The JSON file that it was read from.
        trained_on: Names of the training sets, if they are known.
        sets: Registered name -> set, in the order of the report.
        by_protocol: Whether scores are those of the protocols of the sets; sets without one are left out.
        model: What was evaluated; None if the report does not say.
        cost: What an image costs its model; None: unknown.
        no_cost: Why `cost` is None; "" if nobody looked for it.
    """

    title: str
    report: Path
    trained_on: str
    sets: Mapping[str, StoredSet]
    by_protocol: bool = False
    model: EvaluatedModel | None = None
    cost: CostFigures | None = None
    no_cost: str = ""

    def rule(self, name: str) -> Protocol | None:
        """Return the rule of mIoU of a set; None for the common one."""
        return find_protocol(self.sets[name].protocol) if self.by_protocol else None

    def image_counts(self, name: str) -> ImageCounts | None:
        """Read the counts of each image of a set.

        Returns:
            The counts; None if the run kept none.

        Raises:
            DatasetError: They are missing, damaged or not those that the report scored.
        """
        found = self.sets[name]
        if found.records is None:
            return None
        path = self.report.parent / found.records.image_counts
        counts = ImageCounts.load(path, found.records.image_counts_sha256)
        miou = float(mean_iou(counts.counts.sum(axis=0), self.rule(name)))
        if len(counts.stems) != found.images or abs(miou - found.miou) > _TOLERANCE:
            raise DatasetError(
                f"{self.report}: {name} has {counted(found.images, 'image')} and mIoU {found.miou:.4f}; "
                f"{path} has {len(counts.stems)} and {miou:.4f}; evaluate or score the set again"
            )
        return counts

    def predictions(self, name: str) -> Path | None:
        """Return the folder of the predictions of a set; None if the run kept none."""
        records = self.sets[name].records if name in self.sets else None
        return self.report.parent / records.predictions if records and records.predictions else None


def read_run(path: Path, title: str = "", by_protocol: bool = False) -> StoredRun:
    """Read the report of a finished benchmark.

    Args:
        path: The folder of the run, or a report in it such as `benchmark_TTA.json`.
        title: Name of the method; "" for the title that the report states or, without one, the name of the
            folder.
        by_protocol: Whether to read the mIoU of the protocol of each set in place of the common one.

    Returns:
        The run.

    Raises:
        DatasetError: There is no report, the run is not finished, its class names were exchanged as a
            control, or the report is malformed.
    """
    file = path / REPORT if path.is_dir() else path
    try:
        tree = parse_json(read_text(file))
    except FileNotFoundError as error:
        raise DatasetError(_missing(path)) from error
    except UnreadableError as error:
        hint = "" if file.suffix == ".json" else f"; name {REPORT} in its place"
        raise DatasetError(f"{file} cannot be read: {error}{hint}") from error
    try:
        if not isinstance(tree, dict):
            raise TypeError(f"found {brief(tree)}")
        rotated = bool(tree["rotated_names"])
        sets = {
            str(name): _stored_set(entry, by_protocol)
            for name, entry in tree["datasets"].items()
            if entry["protocol"] or not by_protocol
        }
        stated, trained = str(tree["title"]), ", ".join(map(str, tree["trained_on"]))
        trained = trained or ("nothing" if tree["training_free"] else "unknown")
        model = stored_model(tree["model"]) if tree.get("model") else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(
            f"{file} is no report of `rskt-seg eval` or `rskt-seg score` of this version: {what}; evaluate "
            "or score again"
        ) from error
    if rotated:
        raise DatasetError(
            f"{file} is a control with exchanged class names, not a result; leave it out of a comparison"
        )
    title = " ".join(title.split())
    title = title or stated or file.absolute().parent.name
    return StoredRun(title, file, trained, sets, by_protocol, model)


def stored_model(entry: Mapping[str, Any]) -> EvaluatedModel:
    """Return the model that an entry of a JSON file states.

    Raises:
        KeyError: A field is missing.
        TypeError: A field is of another kind.
    """
    views = entry["augmentation"]
    return EvaluatedModel(
        str(entry["method"]),
        dict(entry["options"]),
        dict(entry["evaluation"]),
        None if views is None else dict(views),
    )


def _missing(path: Path) -> str:
    if not path.is_dir():
        return f"{path} does not exist; name the folder of a benchmark or its {REPORT}"
    if others := sorted(each.name for each in path.glob("benchmark*.json")):
        return f"{path} has no {REPORT} but {', '.join(others)}; name the file that is meant"
    if any(path.glob("inference/*.counts.json")):
        return f"{path} holds an evaluation that is not finished: give its command again to get {REPORT}"
    return f"{path} has no {REPORT}: name a folder that `rskt-seg eval` or `rskt-seg score --output` wrote"


def _stored_set(entry: Mapping[str, Any], by_protocol: bool) -> StoredSet:
    records, protocol = entry["records"], entry["protocol"]
    miou = float((protocol if by_protocol else entry)["mIoU"])
    if not math.isfinite(miou):
        raise ValueError(f"found mIoU {miou}")
    return StoredSet(
        images=int(entry["images"]),
        fingerprint=str(entry["fingerprint"]),
        classes=tuple(entry["classes"]),
        ignore=int(entry["ignore_label"]),
        protocol=str(protocol["name"]) if protocol else "",
        miou=miou,
        seen=None if by_protocol else _part(entry.get("seen")),
        unseen=None if by_protocol else _part(entry.get("unseen")),
        in_domain=entry["contains_training_images"],
        records=SetRecords(**records) if records else None,
        unpublished=str(entry.get("unpublished") or ""),
    )


def _part(entry: Mapping[str, Any] | None) -> tuple[float, int] | None:
    if entry is None or entry["mIoU"] is None:
        return None
    return float(entry["mIoU"]), int(entry["classes"])
