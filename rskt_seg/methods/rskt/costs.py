"""Figures of the RSKT-Seg paper for the cost of its model."""

from rskt_seg.methods.comparing import computes_as
from rskt_seg.methods.cost_volumes.costs import printed_times
from rskt_seg.methods.rskt.checkpoint import RSKTLayout
from rskt_seg.methods.rskt.references import released_specs
from rskt_seg.metrics.results import PrintedCost
from rskt_seg.models.rskt import RSKT

_FREE = (*RSKTLayout.training_only, "class_chunk")


def printed_costs(model: RSKT) -> tuple[PrintedCost, ...]:
    """Return the times of table 7.

    Args:
        model: A model of the method, which may be on the device "meta".

    Returns:
        The figures; none for a model that computes something else than the released ones, such as those of
        the ablations.
    """
    if not any(computes_as(model.spec, released, _FREE) for released in released_specs()):
        return ()
    return printed_times("RSKT-Seg")
