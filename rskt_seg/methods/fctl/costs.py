"""Figures of the FCtL paper for the cost of its models."""

from rskt_seg.methods.fctl.references import FACTORS, paper_model
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
        The figures of FCN-8s or of the paper's model; none for models that compute something else, such as
        those of the ablations and of the published code.
    """
    spec, table = model.spec, read_table("fctl_efficiency")
    measured = spec.encoder == "vgg16" and spec.view == "patches"
    name = paper_model(spec, *FACTORS.values()) if measured else ""
    row = table.find(model=name) if name else None
    if row is None:
        return ()
    source = f"{table.source}, {row.labels['model']}"
    return tuple(
        PrintedCost(source, quantity, printed, _CONVENTION)
        for quantity, printed in row.figures.items()
        if printed is not None
    )
