"""Figures of the BiCoR-Seg paper that models may be compared with."""

from rskt_seg.methods.bicor.checkpoint import BiCoRLayout
from rskt_seg.methods.comparing import computes_as
from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import Reference
from rskt_seg.models.bicor import BiCoRSpec

TABLES = {
    "Vaihingen_geoseg_padded_test_sem_seg": "bicor_table2",
    "Potsdam_geoseg_padded_test_sem_seg": "bicor_table3",
}
"""Registered test set -> table of the paper whose scores are comparable.

The tables of ISPRS were scored, as far as their figures tell, on patches whose black padding is labelled
impervious surface (docs/closed_set.md). Those of LoveDA were scored by the server of the dataset on a test
split without public labels, so that no evaluation here is comparable."""
_LAYERS = {"bicor_table2": 2, "bicor_table3": 3}
_FREE = tuple(option for option in BiCoRLayout.training_only if option != "padding")


def reference(spec: BiCoRSpec, test_set: str) -> Reference | None:
    """Return the figures that the paper prints for its own model on a test set.

    Args:
        spec: Specification of the model.
        test_set: Registered name of the test set.

    Returns:
        mIoU, F1 and overall accuracy; None unless the model computes the same as the released BiCoR-Seg and
        the test set is one of ISPRS.
    """
    name = TABLES.get(test_set)
    if name is None:
        return None
    released = BiCoRSpec(spec.num_classes, num_layers=_LAYERS[name], topk_ratio=1.0)
    table = read_table(name)
    row = table.find(method="BiCoR-Seg")
    if row is None or not computes_as(spec, released, _FREE):
        return None
    source = f"{table.source}; its test-time augmentation is not stated"
    return Reference(source, row.figures["mIoU"], row.figures["mF1"], row.figures["OA"])
