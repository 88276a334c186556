"""Figures of the BiCoR-Seg paper for the cost of its models."""

from collections.abc import Iterator

import torch

from rskt_seg.analysis import count_flops, count_parameters, counting
from rskt_seg.methods.bicor.checkpoint import BiCoRLayout
from rskt_seg.methods.comparing import computes_as
from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import PrintedCost
from rskt_seg.models.bicor import BiCoR, BiCoRSpec

_SIDE = 512
_PARAMETERS, _FLOPS, _SPEED = "parameters (M)", "FLOPs (G)", "frames per second"
_TABLE_4 = {
    "HBIS": BiCoRSpec(7),
    "cross-attention": BiCoRSpec(7, interaction="cross_attention"),
}
"""Row of table 4 -> its model, of LoveDA. The costs of HBIS are printed for its four rows together, which
differ in their losses."""
_FREE = BiCoRLayout.training_only
_TABLE_5 = tuple(
    BiCoRSpec(classes, num_layers=layers, topk_ratio=ratio)
    for layers in (1, 2, 3)
    for classes, ratio in ((7, BiCoRSpec.topk_ratio), (6, 1.0))
)
"""The models of table 5, each of LoveDA and of Vaihingen."""
_CONVENTIONS = {
    _PARAMETERS: "all parameters",
    _FLOPS: (
        f"multiply-adds of one image of {_SIDE} x {_SIDE} px in the literal form of the published network, "
        "which are 87.82 G; the model here folds projections into the aggregation and pools before it "
        "projects"
    ),
    _SPEED: "an RTX 4090, at a size that is not stated",
}
_UNMATCHED = "the paper's cross-attention is not specified, and its figures are not matched"


def printed_costs(model: BiCoR) -> tuple[PrintedCost, ...]:
    """Return the figures of tables 4 and 5.

    Args:
        model: A model of the method, which may be on the device "meta".

    Returns:
        The figures of the rows whose models compute as this one.
    """
    return (*_modules(model), *_layers(model))


def _modules(model: BiCoR) -> Iterator[PrintedCost]:
    """Yield the figures of table 4."""
    table = read_table("bicor_table4")
    name = next(
        (row for row, spec in _TABLE_4.items() if computes_as(model.spec, spec, _FREE)),
        None,
    )
    row = table.find(modules=name) if name else None
    if row is None:
        return
    ours = {_PARAMETERS: _millions(model), _FLOPS: _multiply_adds(model)}
    for quantity, convention in _CONVENTIONS.items():
        printed = row.figures[quantity]
        if printed is not None:
            if model.spec.interaction != "hbis" and quantity != _SPEED:
                convention = _UNMATCHED
            source = f"{table.source}, {name}"
            yield PrintedCost(source, quantity, printed, convention, ours.get(quantity))


def _layers(model: BiCoR) -> Iterator[PrintedCost]:
    """Yield the parameters of table 5."""
    table = read_table("bicor_table5")
    stands = any(computes_as(model.spec, spec, _FREE) for spec in _TABLE_5)
    row = table.find(layers=str(model.spec.num_layers)) if stands else None
    printed = row.figures[_PARAMETERS] if row is not None else None
    if printed is not None:
        source = f"{table.source}, {model.spec.num_layers} layers"
        yield PrintedCost(source, _PARAMETERS, printed, _CONVENTIONS[_PARAMETERS], _millions(model))


def _millions(model: BiCoR) -> float:
    return count_parameters(model).total / 1e6


def _multiply_adds(model: BiCoR) -> float:
    """Count the multiply-adds of an image, in 1e9."""
    with counting(model):
        images = torch.zeros(1, 3, _SIDE, _SIDE, device=model.device)
        return count_flops(lambda: model(images)) / 2e9
