"""Which figures of the BiCoR-Seg paper a model may be compared with."""

from rskt_seg.methods.bicor.checkpoint import BiCoRLayout
from rskt_seg.methods.comparing import computes_as
from rskt_seg.metrics.benchmark import Reference
from rskt_seg.metrics.published import read_table
from rskt_seg.models.bicor import BiCoRSpec

TABLES = {
    "Vaihingen_geoseg_padded_test_sem_seg": "bicor_table2",
    "Potsdam_geoseg_padded_test_sem_seg": "bicor_table3",
}
"""Registered name -> table, for the registrations whose scores compare with it.

Its tables of ISPRS were scored, as far as their figures tell, on patches whose black padding is labelled
impervious surface (docs/closed_set.md); those of LoveDA by the server of the dataset on a test part without
public labels, so nothing evaluated here compares with them."""
_LAYERS = {"bicor_table2": 2, "bicor_table3": 3}
_FREE = tuple(option for option in BiCoRLayout.training_only if option != "padding")


def reference(spec: BiCoRSpec, test_set: str) -> Reference | None:
    """Return the paper's own row for the released BiCoR-Seg on a test set of ISPRS; None for other models."""
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
