"""OVRSISBench as its paper prints it: table 1 has rows of several methods, tables 2 to 6 of one.

The published evaluation of the paper's own method sees whole images, with a shorter side of 640 px, and no
augmented views. Of the other methods in table 1 the paper does not say whether they were scored in this way
or in their own.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from rskt_seg.checkpoints.manifest import ENCODER_WEIGHTS, by_name
from rskt_seg.metrics.published import ComparableTable, PublishedRow, PublishedTable
from rskt_seg.metrics.results import BenchmarkReference

COLUMNS: Mapping[str, str] = {
    "DLRSD_all_sem_seg": "DLRSD",
    "iSAID_all_sem_seg": "iSAID",
    "LoveDA_all_8c_sem_seg": "LoveDA",
    "Potsdam_all_sem_seg": "Potsdam",
    "uavid_all_sem_seg": "UAVid",
    "UDD5_all_sem_seg": "UDD5",
    "Vaihingen_all_sem_seg": "Vaihingen",
    "VDD_all_sem_seg": "VDD",
}
"""Registered test set -> column of table 1. Scores are comparable on these registrations: LoveDA in the
published form of 8 classes, the training datasets including their training images."""
TABLE_1 = ComparableTable("rskt_table1", COLUMNS, {"measure": "mIoU"}, "trained_on")
ABLATION_COLUMNS: Mapping[str, str] = {
    name: column for name, column in COLUMNS.items() if column in ("DLRSD", "iSAID", "Potsdam", "Vaihingen")
}
"""Registered test set -> its dataset, for the sets whose means the ablations print (tables 2 to 6)."""
IMAGE_SIZE: Mapping[str, object] = {"short_side": 640, "max_side": 2560}
"""Sides of the images that the published evaluations of all methods see, in px."""
WHOLE_IMAGE: Mapping[str, object] = {**IMAGE_SIZE, "sliding": False}
"""How the published evaluation of the paper's own method sees images."""
_CLIP = {"vitb16": "clip-vitb16", "vitl14": "clip-vitl14-336"}
_HUB_NAMES = {"ViT-B-16/openai": "clip-vitb16", "ViT-L-14-336/openai": "clip-vitl14-336"}
"""Names that fetch the weights of a file from a hub -> the file's name in the manifest."""
_TRAINING_SETS = {"DLRSD_train_sem_seg": "DLRSD", "iSAID_train_sem_seg": "iSAID"}
_BACKBONES = {"vitb16": "ViT-B", "vitl14": "ViT-L"}


def training_dataset(trained_on: Sequence[str]) -> str | None:
    """Return the label of a training set in the paper's tables.

    Args:
        trained_on: Registered names of the training sets.

    Returns:
        "DLRSD" or "iSAID"; None if the paper trained on no such sets.
    """
    return _TRAINING_SETS.get(trained_on[0]) if len(trained_on) == 1 else None


def why_no_row(table: PublishedTable, method: str, encoder: str, trained_on: Sequence[str]) -> str:
    """Return why table 1 has no row of a model, whatever its options.

    Args:
        table: Table 1.
        method: Its name there, such as "Cat-Seg".
        encoder: Encoder of the model, such as "vitb16".
        trained_on: Registered names of the training sets; (): unknown.

    Returns:
        The reason in one sentence; "" if the table has such a row.
    """
    labels = [row.labels for row in table.rows if row.labels["method"] == method]
    sets = [name for name, label in _TRAINING_SETS.items() if label in {row["trained_on"] for row in labels}]
    encoders = [name for name, label in _BACKBONES.items() if label in {row["backbone"] for row in labels}]
    reasons = []
    if encoder not in encoders:
        reasons.append(f"encoder is {encoder!r}, there {' or '.join(map(repr, encoders))}")
    if len(trained_on) != 1 or trained_on[0] not in sets:
        found = f"trained on {' and '.join(trained_on)}" if trained_on else "the training set is unknown"
        reasons.append(f"{found}, there on {' or '.join(sets)}" + (" alone" if len(trained_on) > 1 else ""))
    return f"{table.source}: no row of {method} compares: {', '.join(reasons)}" if reasons else ""


def encoder_facts(encoders: Mapping[str, str]) -> dict[str, object]:
    """Return which weights an evaluated model started from.

    Args:
        encoders: Role -> file or name, as in `Evaluation`.

    Returns:
        "<role> weights" -> name of the file, wherever it lies.
    """
    return {f"{role} weights": _file_of(given) for role, given in encoders.items()}


def published_encoders(encoder: str, **others: str) -> dict[str, object]:
    """Return what `encoder_facts` must be of a model that starts from the published files.

    Args:
        encoder: CLIP of the model, such as "vitb16".
        **others: Role -> name in the manifest, of the other encoders.

    Returns:
        "<role> weights" -> name of the file.
    """
    names = {"clip": _CLIP[encoder], **others}
    return {f"{role} weights": by_name(name, ENCODER_WEIGHTS).file for role, name in names.items()}


def _file_of(given: str) -> str:
    name = _HUB_NAMES.get(given)
    return by_name(name, ENCODER_WEIGHTS).file if name else PurePath(given).name


def main_row(table: PublishedTable, method: str, encoder: str, trained_on: str) -> BenchmarkReference | None:
    """Return a row of table 1.

    Args:
        table: Table 1.
        method: Its name there, such as "Cat-Seg".
        encoder: Encoder of the model, such as "vitb16".
        trained_on: "DLRSD" or "iSAID".

    Returns:
        mIoU and mACC on the eight test sets, and their means; None if the table has no such row.
    """
    labels = {"trained_on": trained_on, "method": method, "backbone": _BACKBONES.get(encoder, "")}
    rows = {measure: table.find(**labels, measure=measure) for measure in ("mIoU", "mACC")}
    printed = {measure: row.figures for measure, row in rows.items() if row is not None}
    if not printed:
        return None
    return BenchmarkReference(
        source=f"{table.source}: {method} {labels['backbone']} trained on {trained_on}",
        labels=labels,
        columns=COLUMNS,
        figures={m: {c: row[c] for c in table.columns if c != "mean"} for m, row in printed.items()},
        means={measure: row["mean"] for measure, row in printed.items()},
    )


def ablation_row(source: str, row: PublishedRow, remark: str = "") -> BenchmarkReference:
    """Return a row of tables 2 to 6, which print means over four sets alone.

    Args:
        source: Paper and table.
        row: The row.
        remark: What its labels do not tell.
    """
    words = ", ".join(row.labels.values()) + (f"; {remark}" if remark else "")
    return BenchmarkReference(f"{source} ({words})", row.labels, ABLATION_COLUMNS, {}, row.figures)
