"""Rows of the peers in the benchmark table of the RSKT-Seg paper."""

from collections.abc import Callable
from dataclasses import replace

from rskt_seg.methods.comparing import PrintedRow, compare, facts_of
from rskt_seg.methods.ovrsis import (
    IMAGE_SIZE,
    encoder_facts,
    main_row,
    published_encoders,
    training_dataset,
    why_no_row,
)
from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import Evaluation, PaperRows

PEER_FREE = ("class_chunk", "padding", "test_pooling")
"""Options that may differ: the first changes no result, and of the others the paper does not speak."""
_NOTE = "retrained by the authors of RSKT-Seg; not stated: windows or whole images, test pooling, recipe"


def peer_rows(method: str, **encoders: str) -> Callable[[Evaluation], PaperRows]:
    """Return the `Method.published_rows` of a peer.

    Args:
        method: Its name in the table.
        **encoders: Role -> name in the manifest, of its encoders besides CLIP.

    Returns:
        Evaluation -> its row, whose source says what is unknown about it; for a model that computes
        something else than the published one, or that the paper did not train, why there is none.
    """

    def published_rows(evaluation: Evaluation) -> PaperRows:
        encoder, dataset = evaluation.spec.encoder, training_dataset(evaluation.trained_on)
        table = read_table("rskt_table1")
        row = dataset and main_row(table, method, encoder, dataset)
        if not row:
            return PaperRows(why_none=why_no_row(table, method, encoder, evaluation.trained_on))
        published = Evaluation(type(evaluation.spec)(encoder=encoder), (), {}, IMAGE_SIZE)
        facts = {**published_encoders(encoder, **encoders), **facts_of(published, PEER_FREE)}
        printed = PrintedRow(replace(row, source=f"{row.source} ({_NOTE})"), facts)
        return compare({**encoder_facts(evaluation.encoders), **facts_of(evaluation, PEER_FREE)}, [printed])

    return published_rows
