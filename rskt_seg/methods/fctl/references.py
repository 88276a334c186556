"""Figures of the FCtL paper that models may be compared with."""

from rskt_seg.methods.comparing import computes_as
from rskt_seg.methods.fctl.checkpoint import FCtLLayout
from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import Reference
from rskt_seg.models.fctl import FCtLSpec

TABLES = {"deepglobe_fctl_test_sem_seg": "fctl_table1", "inria_test_sem_seg": "fctl_table2"}
"""Registered test set -> main table of the paper whose scores are comparable."""
FACTORS = {"fctl_table1": (3.0, 0.0), "fctl_table2": (2.0, 3.0)}
"""Main table -> factors of the contexts on its data set."""
_BACKBONES = {"vgg16": "VGG16", "mitb2": "MiT-B2", "mitb5": "MiT-B5"}


def paper_model(spec: FCtLSpec, *factors: tuple[float, float]) -> str:
    """Return the name that the paper's tables have for a model.

    Args:
        spec: Specification of the model.
        factors: Factors of the contexts, any of which the paper's own model may have.

    Returns:
        "Ours", or "FCN-8s" and "Segformer" for the models without contexts; "" for a model that computes
        something else.
    """
    plain = FCtLSpec(spec.num_classes, encoder=spec.encoder, contexts=(), lcf=False, view=spec.view)
    if computes_as(spec, plain, FCtLLayout.training_only):
        return "FCN-8s" if spec.encoder == "vgg16" else "Segformer"
    for each in factors:
        ours = FCtLSpec(spec.num_classes, encoder=spec.encoder, factors=each, gpe=True, ale="d")
        if computes_as(spec, ours, FCtLLayout.training_only):
            return "Ours"
    return ""


def reference(spec: FCtLSpec, test_set: str) -> Reference | None:
    """Return the figures that the main tables print for a model (FCtL, FCN-8s or SegFormer).

    Args:
        spec: Specification of the model.
        test_set: Registered name of the test set.

    Returns:
        mIoU, F1 and accuracy; None if there is no row for such a model or test set.
    """
    name = TABLES.get(test_set)
    if name is None:
        return None
    model = paper_model(spec, FACTORS[name])
    if not model:
        return None  # the main tables have no row for other variants
    labels = {"model": model, "backbone": _BACKBONES.get(spec.encoder, "")}
    if name == "fctl_table1":
        patches = "high-res" if model == "Ours" else "local"
        labels["inference"] = "global" if spec.view == "whole" else patches
    elif spec.view == "whole":  # table 2 has no inference on whole images
        return None
    table = read_table(name)
    row = table.find(**labels)
    if row is None:
        return None
    source = f"{table.source}: {model} {labels['backbone']}, with test-time augmentation over eight views"
    return Reference(source, row.figures["mIoU"], row.figures["F1"], row.figures["Acc"])
