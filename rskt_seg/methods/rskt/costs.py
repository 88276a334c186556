"""Figures of the RSKT-Seg paper for the cost of its model."""

from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import PrintedCost
from rskt_seg.models.rskt import RSKT

_ENCODERS = ("vitb16", "vitl14")
_CONVENTION = (
    "device, size, classes and encoder are not stated; Cat-Seg's row (114.88 ms) most likely counts five "
    "crops an image and this one a single crop, as the published evaluation scripts do"
)


def printed_costs(model: RSKT) -> tuple[PrintedCost, ...]:
    """Return the times of table 7.

    Args:
        model: A model of the method, which may be on the device "meta".

    Returns:
        The figures; none for encoders that the paper does not have.
    """
    table = read_table("rskt_table7")
    row = table.find(method="RSKT-Seg")
    if row is None or model.spec.encoder not in _ENCODERS:
        return ()
    return tuple(
        PrintedCost(table.source, quantity, printed, _CONVENTION)
        for quantity, printed in row.figures.items()
        if printed is not None
    )
