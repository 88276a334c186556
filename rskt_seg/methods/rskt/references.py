"""Rows of the RSKT-Seg paper: the benchmark (table 1) and its ablations (tables 2 to 6)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from rskt_seg.methods.comparing import PrintedRow, compare, facts_of
from rskt_seg.methods.ovrsis import (
    WHOLE_IMAGE,
    ablation_row,
    encoder_facts,
    main_row,
    published_encoders,
    training_dataset,
    why_no_row,
)
from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import Evaluation, PaperRows
from rskt_seg.models.rskt import RSKTSpec

_LAYERS = {("vitb16", "DLRSD"): 5, ("vitb16", "iSAID"): 3, ("vitl14", "DLRSD"): 5, ("vitl14", "iSAID"): 2}
"""Encoder, training set -> layers of the model in table 1: those of the released checkpoints. The text
chooses 2 for iSAID, but the figures of ViT-B are those of 3 layers (table 5)."""
_FREE = ("class_chunk",)

_Labels = Mapping[str, str]
_Options = dict[str, Any]


def _components(labels: _Labels) -> _Options:
    parts = labels["components"].split(" + ")
    return {
        "rotations": "R-I" in parts,
        "dino": "DINO" in parts,
        "remote_clip": "RST" in parts,
        "aggregator": "efficient" if "RSF" in parts else "original",
    }


def _encoders(labels: _Labels) -> _Options:
    parts = labels["components"].split(" + ")
    return {
        "rotations": "rotate" in parts,
        "dino": "RS-DINO" in parts or "N-DINO" in parts,
        "remote_clip": "RCLIP" in parts,
    }


def _fusion(labels: _Labels) -> _Options:
    return {"fusion": {"cat": "concat"}.get(labels["fusion"], labels["fusion"])}


def _layers(labels: _Labels) -> _Options:
    return {"num_layers": int(labels["layers"])}


def _trained(labels: _Labels) -> _Options:
    return {
        "aggregator": "original",
        "clip_finetune": labels["clip"],
        "dino_finetune": labels["dino"],
    }


class _Ablation(NamedTuple):
    """A table of ablations: the options of a row by which it differs from the model of table 1."""

    options: Callable[[_Labels], _Options]
    trained_on: str = ""
    """The training set, if it is no label of the rows."""
    remark: str = ""
    """What the labels of a row do not tell."""


_ABLATIONS: Mapping[str, _Ablation] = {
    "rskt_table2": _Ablation(_components),
    "rskt_table3": _Ablation(_encoders, "DLRSD", "trained on DLRSD"),
    "rskt_table4": _Ablation(_fusion, "DLRSD", "training set not stated, taken for DLRSD"),
    "rskt_table5": _Ablation(_layers),
    "rskt_table6": _Ablation(_trained, "iSAID", "trained on iSAID"),
}


def released_specs() -> list[RSKTSpec]:
    """Return the specifications of the released models, those of table 1."""
    return [RSKTSpec(encoder=encoder, num_layers=layers) for (encoder, _), layers in _LAYERS.items()]


def published_rows(evaluation: Evaluation) -> PaperRows:
    """Return the rows of tables 1 to 6 that an evaluation of RSKT-Seg repeats.

    Args:
        evaluation: Model, training set and protocol.

    Returns:
        The rows whose model computes the same, learned from the same set and was evaluated in the same way,
        or why there is none.
    """
    encoder, dataset = evaluation.spec.encoder, training_dataset(evaluation.trained_on)
    why_none = why_no_row(read_table("rskt_table1"), "RSKT-Seg", encoder, evaluation.trained_on)
    if dataset is None or why_none:
        return PaperRows(why_none=why_none)
    found = {**encoder_facts(evaluation.encoders), **facts_of(evaluation, _FREE)}
    return compare(found, _printed(encoder, dataset))


def _printed(encoder: str, dataset: str) -> Iterator[PrintedRow]:
    """Yield what is printed of an encoder and a training set, table 1 first."""
    whole = RSKTSpec(encoder=encoder, num_layers=_LAYERS[encoder, dataset])
    main = main_row(read_table("rskt_table1"), "RSKT-Seg", encoder, dataset)
    assert main is not None  # its own table has the row
    yield PrintedRow(main, _facts(whole))
    if encoder != "vitb16":  # the ablations are of ViT-B/16
        return
    for name, ablation in _ABLATIONS.items():
        table = read_table(name)
        for row in table.rows:
            if row.labels.get("trained_on", ablation.trained_on) == dataset:
                natural = "N-DINO" in row.labels.get("components", "")
                facts = _facts(replace(whole, **ablation.options(row.labels)), natural)
                yield PrintedRow(ablation_row(table.source, row, ablation.remark), facts)


def _facts(spec: RSKTSpec, natural: bool = False) -> dict[str, object]:
    """Return what an evaluation must have to repeat the row of a model."""
    others = {"remote_clip": "remoteclip-vitb32"} if spec.remote_clip else {}
    if spec.dino:
        others["dino"] = "dino-vitb8" if natural else "rs-dino"
    facts = facts_of(Evaluation(spec, (), {}, WHOLE_IMAGE), _FREE)
    return {**published_encoders(spec.encoder, **others), **facts}
