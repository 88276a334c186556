"""Figures of the weakly supervised method's paper for the cost of its model."""

import torch

from rskt_seg.methods.wsss.references import is_full_method
from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import PrintedCost
from rskt_seg.models.wsss import PriorWSSS
from rskt_seg.models.wsss.budget import count_parameters, count_table4_operations

_CONVENTIONS = {
    "parameters (M)": "with DINOv2 ViT-S/14 and the mask token of its file, which nothing reads",
    "trained parameters (M)": "with the last block of both towers of CLIP, which no optimizer has",
    "FLOPs (G)": (
        "multiply-adds that fvcore counts of a batch of four images of 320 x 320 px with DINOv2 ViT-S/14, "
        "whose attention it leaves out; the decoder on the features of either encoder; norms and resizing "
        "count"
    ),
}


def printed_costs(model: PriorWSSS) -> tuple[PrintedCost, ...]:
    """Return the figures of table 4, and those of the model by their conventions.

    The operations are those of a model with values, which is built for them: fvcore cannot trace one without.

    Args:
        model: A model of the method, which may be on the device "meta".

    Returns:
        The figures; none for a model that is not the paper's, such as those of the ablations.
    """
    table, spec = read_table("wsss_table4"), model.spec
    row = table.find(method="Ours")
    if row is None or not is_full_method(spec):
        return ()
    counted = count_parameters(model)
    with torch.device("cpu"):
        operations = count_table4_operations(PriorWSSS(spec, model.class_names).eval())
    ours = (counted.table4_total / 1e6, counted.table4_trainable / 1e6, operations / 1e9)
    return tuple(
        PrintedCost(table.source, quantity, printed, convention, figure)
        for (quantity, convention), figure in zip(_CONVENTIONS.items(), ours, strict=True)
        if (printed := row.figures[quantity]) is not None
    )
