"""Rows of the peers in the benchmark table of the RSKT-Seg paper."""

from collections.abc import Callable
from dataclasses import replace

from rskt_seg.methods.ovrsis import main_row
from rskt_seg.metrics.results import BenchmarkReference
from rskt_seg.models.cost_volumes.spec import WindowedSpec

_NOTE = "retrained by the authors of RSKT-Seg; not stated: whole images or windows, and the recipe"


def peer_row(method: str) -> Callable[[WindowedSpec, str], BenchmarkReference | None]:
    """Return the `Method.published_row` of a peer.

    Args:
        method: Its name in the table.

    Returns:
        (specification, training dataset) -> its row, whose source says what is unknown about it; only the
        encoder of the specification matters.
    """

    def published_row(spec: WindowedSpec, trained_on: str) -> BenchmarkReference | None:
        row = main_row(method, spec.encoder, trained_on)
        return row and replace(row, source=f"{row.source}, {method} ({_NOTE})")

    return published_row
