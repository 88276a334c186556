"""Which figures of the FCtL paper a model may be compared with."""

from rskt_seg.methods.comparing import computes_as
from rskt_seg.methods.fctl.checkpoint import FCtLLayout
from rskt_seg.metrics import published_fctl
from rskt_seg.metrics.benchmark import Reference
from rskt_seg.models.fctl import FCtLSpec

_FACTORS = {"DeepGlobe": (3.0, 0.0), "Inria Aerial": (2.0, 3.0)}
_BACKBONES = {"vgg16": "VGG16", "mitb2": "MiT-B2", "mitb5": "MiT-B5"}


def reference(spec: FCtLSpec, test_set: str) -> Reference | None:
    """Return what the main tables print for a registered test set.

    None where they have other data or another protocol, and where the model is none of their rows.
    """
    area = published_fctl.PROTOCOL.get(test_set, "")
    model, backbone = _row_name(spec, area), _BACKBONES.get(spec.encoder, "")
    row = published_fctl.published(test_set, model, backbone, spec.view)
    if row is None:
        return None
    table = 1 if area == "DeepGlobe" else 2
    source = f"FCtL, table {table}: {model} {backbone}, with test-time augmentation over eight views"
    return Reference(source, row.mIoU, row.F1, row.Acc)


def _row_name(spec: FCtLSpec, area: str) -> str:
    """Return what the tables call a model, "" for variants that are in none of the main tables."""
    free = FCtLLayout.training_only
    classes, encoder = spec.num_classes, spec.encoder
    if computes_as(spec, FCtLSpec(classes, encoder, contexts=(), lcf=False, view=spec.view), free):
        return "FCN-8s" if spec.encoder == "vgg16" else "Segformer"
    if area not in _FACTORS:
        return ""
    ours = FCtLSpec(classes, encoder, factors=_FACTORS[area], gpe=True, ale="d")
    return "Ours" if computes_as(spec, ours, free) else ""
