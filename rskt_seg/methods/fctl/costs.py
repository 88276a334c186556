"""Figures of the FCtL paper for the cost of its models."""

from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import PrintedCost
from rskt_seg.models.fctl import FCtL

_CONVENTION = (
    "one Titan Xp with PyTorch 1.7.1, without test-time augmentation; the seconds of an image are those of "
    "its patches (36 of DeepGlobe, 121 of Inria Aerial)"
)


def printed_costs(model: FCtL) -> tuple[PrintedCost, ...]:
    """Return the memory and the times of section 4.4.6.

    Args:
        model: A model of the method, which may be on the device "meta".

    Returns:
        The figures of FCN-8s or of FCtL with two contexts; none for other variants.
    """
    spec, table = model.spec, read_table("fctl_efficiency")
    if spec.encoder != "vgg16" or spec.view == "whole" or len(spec.contexts) == 1:
        return ()
    row = table.find(model="Ours" if spec.contexts else "FCN-8s")
    if row is None or bool(spec.contexts) != spec.lcf:
        return ()
    source = f"{table.source}, {row.labels['model']}"
    return tuple(
        PrintedCost(source, quantity, printed, _CONVENTION)
        for quantity, printed in row.figures.items()
        if printed is not None
    )
