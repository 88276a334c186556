"""Rows of the peers in the benchmark table of the RSKT-Seg paper."""

from collections.abc import Callable
from dataclasses import replace

from rskt_seg.methods.comparing import computes_as
from rskt_seg.methods.ovrsis import main_row
from rskt_seg.metrics.results import BenchmarkReference
from rskt_seg.models.cost_volumes.spec import WindowedSpec

_FREE = ("class_chunk", "padding", "test_pooling")
"""Options that may differ: the first changes no result, and of the others the paper does not speak."""
_NOTE = "retrained by the authors of RSKT-Seg; not stated: whole images or windows, and the recipe"


def peer_row(method: str) -> Callable[[WindowedSpec, str], BenchmarkReference | None]:
    """Return the `Method.published_row` of a peer.

    Args:
        method: Its name in the table.

    Returns:
        (specification, training dataset) -> its row, whose source says what is unknown about it; None for a
        model that computes something else than the published one.
    """

    def published_row(spec: WindowedSpec, trained_on: str) -> BenchmarkReference | None:
        if not computes_as(spec, type(spec)(encoder=spec.encoder), _FREE):
            return None
        row = main_row(method, spec.encoder, trained_on)
        return row and replace(row, source=f"{row.source}, {method} ({_NOTE})")

    return published_row
