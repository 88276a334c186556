"""Which figures of the FCtL paper a model may be compared with."""

from rskt_seg.methods.comparing import computes_as
from rskt_seg.methods.fctl.checkpoint import FCtLLayout
from rskt_seg.metrics.benchmark import Reference
from rskt_seg.metrics.published import read_table
from rskt_seg.models.fctl import FCtLSpec

TABLES = {"deepglobe_fctl_test_sem_seg": "fctl_table1", "inria_test_sem_seg": "fctl_table2"}
"""Registered name -> main table, for the registrations whose scores compare with it."""
_FACTORS = {"fctl_table1": (3.0, 0.0), "fctl_table2": (2.0, 3.0)}
_BACKBONES = {"vgg16": "VGG16", "mitb2": "MiT-B2", "mitb5": "MiT-B5"}


def reference(spec: FCtLSpec, test_set: str) -> Reference | None:
    """Return the row of FCtL's main tables for a model (FCtL, FCN-8s, SegFormer) on a test set, or None."""
    name = TABLES.get(test_set)
    model = _row_name(spec, _FACTORS[name]) if name else None
    if name is None or model is None:
        return None
    labels = {"model": model, "backbone": _BACKBONES.get(spec.encoder, "")}
    if name == "fctl_table1":
        patches = "high-res" if model == "Ours" else "local"
        labels["inference"] = "global" if spec.view == "whole" else patches
    elif spec.view == "whole":  # table 2 has patches alone
        return None
    table = read_table(name)
    row = table.find(**labels)
    if row is None:
        return None
    source = f"{table.source}: {model} {labels['backbone']}, with test-time augmentation over eight views"
    return Reference(source, row.figures["mIoU"], row.figures["F1"], row.figures["Acc"])


def _row_name(spec: FCtLSpec, factors: tuple[float, ...]) -> str | None:
    """Return what the main tables call a model, None for variants that stand in none of them."""
    plain = FCtLSpec(spec.num_classes, encoder=spec.encoder, contexts=(), lcf=False, view=spec.view)
    if computes_as(spec, plain, FCtLLayout.training_only):
        return "FCN-8s" if spec.encoder == "vgg16" else "Segformer"
    ours = FCtLSpec(spec.num_classes, encoder=spec.encoder, factors=factors, gpe=True, ale="d")
    return "Ours" if computes_as(spec, ours, FCtLLayout.training_only) else None
