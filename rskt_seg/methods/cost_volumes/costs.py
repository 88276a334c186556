"""Table 7 of the RSKT-Seg paper: times of its own method and of peers."""

from collections.abc import Callable, Sequence
from typing import Any

from rskt_seg.methods.comparing import computes_as
from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import PrintedCost

_ENCODERS = ("vitb16", "vitl14")
_CONVENTION = (
    "device, size, classes and encoder are not stated; the row of Cat-Seg (114.88 ms) most likely counts "
    "five crops an image and that of RSKT-Seg (65.11 ms) a single one, as the published evaluation scripts do"
)


def printed_times(name: str) -> tuple[PrintedCost, ...]:
    """Return the figures of a row of table 7.

    Args:
        name: Its method, as printed.

    Returns:
        Time of an image and images a second; none if the table has no such row.
    """
    table = read_table("rskt_table7")
    row = table.find(method=name)
    return tuple(
        PrintedCost(f"{table.source}, {name}", quantity, printed, _CONVENTION)
        for quantity, printed in (row.figures if row else {}).items()
        if printed is not None
    )


def peer_costs(name: str, free: Sequence[str]) -> Callable[[Any], tuple[PrintedCost, ...]]:
    """Return the `Method.printed_costs` of a peer.

    Args:
        name: Its name in table 7.
        free: Options that change no cost of an evaluation, or of which the paper does not speak.

    Returns:
        Model -> its row; none for a model that computes something else than the published one.
    """

    def printed_costs(model: Any) -> tuple[PrintedCost, ...]:
        spec = model.spec
        if spec.encoder not in _ENCODERS or not computes_as(spec, type(spec)(encoder=spec.encoder), free):
            return ()
        return printed_times(name)

    return printed_costs
