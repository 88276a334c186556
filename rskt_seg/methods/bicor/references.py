"""Which figures of the BiCoR-Seg paper a model may be compared with."""

from rskt_seg.methods.bicor.checkpoint import BiCoRLayout
from rskt_seg.methods.comparing import computes_as
from rskt_seg.metrics import published_bicor
from rskt_seg.metrics.benchmark import Reference
from rskt_seg.models.bicor import BiCoRSpec

_LAYERS = {"Vaihingen": 2, "Potsdam": 3}
_FREE = tuple(option for option in BiCoRLayout.training_only if option != "padding")


def reference(spec: BiCoRSpec, test_set: str) -> Reference | None:
    """Return what the main tables print for a registered test set.

    None where they have other data or another protocol, and where the model is not the released one.
    """
    row = published_bicor.published(test_set)
    if row is None:
        return None
    area = published_bicor.PROTOCOL[test_set]
    released = BiCoRSpec(spec.num_classes, num_layers=_LAYERS[area], topk_ratio=1.0)
    if not computes_as(spec, released, _FREE):
        return None
    table = 2 if area == "Vaihingen" else 3
    source = f"BiCoR-Seg, table {table}; its test-time augmentation is not stated"
    return Reference(source, row.mIoU, row.mF1, row.OA)
