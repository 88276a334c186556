"""The rows of the papers on closed sets, weakly supervised or not, that a configuration repeats."""

from collections.abc import Sequence
from dataclasses import asdict

from detectron2.config import CfgNode

from rskt_seg.checkpoints import bicor, fctl
from rskt_seg.d2.specs import model_spec
from rskt_seg.metrics import published_bicor, published_fctl, published_wsss
from rskt_seg.metrics.benchmark import Reference
from rskt_seg.models.bicor import BiCoRSpec
from rskt_seg.models.fctl import FCtLSpec
from rskt_seg.models.wsss import PriorWSSSSpec

_LAYERS = {"Vaihingen": 2, "Potsdam": 3}
_FACTORS = {"DeepGlobe": (3.0, 0.0), "Inria Aerial": (2.0, 3.0)}
_FCTL_BACKBONES = {"vgg16": "VGG16", "mitb2": "MiT-B2", "mitb5": "MiT-B5"}
_WSSS_DINO = ("vitb14", "vits14")
"""The text names the first, the numbers of parameters are those of the second."""
_WSSS_STATED = (
    "encoder", "dim", "decoder_layers", "heads", "cam_attention", "affinity", "template", "pseudo",
)  # fmt: skip
"""What the weakly supervised paper says of its model, besides the options that its tables vary; the defaults
are that. It leaves everything else open, so nothing else makes a model another one."""


def closed_set_reference(cfg: CfgNode, test_set: str) -> Reference | None:
    """What the paper of a closed-set method prints for a registered test set.

    None where it scored other data or by another protocol, where the model is none of its rows (BiCoR-Seg,
    FCtL: of its main tables), and for open-vocabulary models.
    """
    find = _FINDERS.get(cfg.MODEL.SEM_SEG_HEAD.NAME)
    return find(model_spec(cfg), test_set) if find else None


def _bicor(spec: BiCoRSpec, test_set: str) -> Reference | None:
    row = published_bicor.published(test_set)
    if row is None:
        return None
    area = published_bicor.PROTOCOL[test_set]
    released = BiCoRSpec(spec.num_classes, num_layers=_LAYERS[area], topk_ratio=1.0)
    if not _computes_as(spec, released, bicor.TRAINING_ONLY):
        return None
    table = 2 if area == "Vaihingen" else 3
    source = f"BiCoR-Seg, table {table}; its test-time augmentation is not stated"
    return Reference(source, row.mIoU, row.mF1, row.OA)


def _fctl(spec: FCtLSpec, test_set: str) -> Reference | None:
    area = published_fctl.PROTOCOL.get(test_set, "")
    model, backbone = _fctl_model(spec, area), _FCTL_BACKBONES.get(spec.encoder, "")
    row = published_fctl.published(test_set, model, backbone, spec.view)
    if row is None:
        return None
    table = 1 if area == "DeepGlobe" else 2
    source = f"FCtL, table {table}: {model} {backbone}, with test-time augmentation over eight views"
    return Reference(source, row.mIoU, row.F1, row.Acc)


def _fctl_model(spec: FCtLSpec, area: str) -> str:
    """What the tables call a model, "" for the variants that stand in none of the main tables."""
    own = {"num_classes": spec.num_classes, "encoder": spec.encoder}
    if _computes_as(spec, FCtLSpec(**own, contexts=(), lcf=False, view=spec.view), fctl.TRAINING_ONLY):
        return "FCN-8s" if spec.encoder == "vgg16" else "Segformer"
    ours = area in _FACTORS and FCtLSpec(**own, factors=_FACTORS[area], gpe=True, ale="d")
    return "Ours" if ours and _computes_as(spec, ours, fctl.TRAINING_ONLY) else ""


def _wsss(spec: PriorWSSSSpec, test_set: str) -> Reference | None:
    modules = tuple(name for name in published_wsss.MODULES if getattr(spec, name.lower()))
    row = published_wsss.published(test_set, modules, spec.clusters, spec.alpha)
    stated = PriorWSSSSpec(spec.num_classes)
    other = spec.dino not in _WSSS_DINO or 0 in (spec.seg_weight, spec.affinity_weight)
    if row is None or other or any(getattr(spec, name) != getattr(stated, name) for name in _WSSS_STATED):
        return None
    unlike = "its F1 is not that of its IoU"
    if published_wsss.PROTOCOL[test_set] == "iSAID":
        unlike = "other crops of iSAID, of a part that it does not state"
    source = f"prior WSSS, table {row.table}, with several scales and dense CRF; {unlike}"
    return Reference(source, row.mIoU, row.F1, row.OA)


_FINDERS = {"BiCoRHead": _bicor, "FCtLHead": _fctl, "PriorWSSSHead": _wsss}


def _computes_as(spec: object, other: object, free: Sequence[str]) -> bool:
    """Whether two specifications differ in nothing but the options `free`."""
    a, b = asdict(spec), asdict(other)
    return all(a[name] == b[name] for name in a if name not in free)
