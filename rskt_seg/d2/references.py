"""The rows of the closed-set papers that a configuration repeats."""

from detectron2.config import CfgNode

from rskt_seg.d2.specs import METHODS, method_of, model_spec
from rskt_seg.metrics import published_bicor, published_fctl
from rskt_seg.metrics.benchmark import Reference
from rskt_seg.models.bicor import BiCoRSpec
from rskt_seg.models.fctl import FCtLSpec

_FCTL_BACKBONES = {"vgg16": "VGG16", "mitb2": "MiT-B2", "mitb5": "MiT-B5"}


def closed_set_reference(cfg: CfgNode, test_set: str) -> Reference | None:
    """What the paper of a closed-set method prints for a registered test set.

    None where it scored other data or by another protocol, where the model is none of its main rows, and for
    open-vocabulary models.
    """
    method = method_of(cfg)
    if method is METHODS["BiCoRHead"]:
        return _bicor(model_spec(cfg), test_set)
    return _fctl(model_spec(cfg), test_set) if method is METHODS["FCtLHead"] else None


def _bicor(spec: BiCoRSpec, test_set: str) -> Reference | None:
    row = published_bicor.published(test_set)
    if row is None or (spec.encoder, spec.interaction) != ("convnextb", "hbis"):
        return None
    table = 2 if published_bicor.PROTOCOL[test_set] == "Vaihingen" else 3
    source = f"BiCoR-Seg, table {table}; its test-time augmentation is not stated"
    return Reference(source, row.mIoU, row.mF1, row.OA)


def _fctl(spec: FCtLSpec, test_set: str) -> Reference | None:
    model, backbone = _fctl_model(spec), _FCTL_BACKBONES.get(spec.encoder, "")
    row = published_fctl.published(test_set, model, backbone, spec.view)
    if row is None:
        return None
    table = 1 if published_fctl.PROTOCOL[test_set] == "DeepGlobe" else 2
    source = f"FCtL, table {table}: {model} {backbone}, with test-time augmentation over eight views"
    return Reference(source, row.mIoU, row.F1, row.Acc)


def _fctl_model(spec: FCtLSpec) -> str:
    """What the tables call a model, "" for the variants that stand in none of the main tables."""
    if not spec.contexts and not spec.lcf and not spec.fcn_decoder:
        return "FCN-8s" if spec.encoder == "vgg16" else "Segformer"
    full = spec.lcf and spec.self_context and len(spec.contexts) == 2 and spec.gpe and spec.ale == "d"
    return "Ours" if full else ""
