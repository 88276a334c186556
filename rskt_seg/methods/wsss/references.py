"""Which figures of the weakly supervised method's paper a model may be compared with."""

from rskt_seg.metrics import published_wsss
from rskt_seg.metrics.benchmark import Reference
from rskt_seg.models.wsss import PriorWSSSSpec

_DINO = ("vitb14", "vits14")
"""The text names the first, the numbers of parameters are those of the second."""
_STATED = (
    "encoder", "dim", "decoder_layers", "heads", "cam_attention", "affinity", "template", "pseudo",
)  # fmt: skip
"""What the paper says of its model besides the options that its tables vary; the defaults are that. It leaves
everything else open, so that nothing else makes a model another one."""


def reference(spec: PriorWSSSSpec, test_set: str) -> Reference | None:
    """Return what the tables print for a registered test set; None for another protocol or another model."""
    switched_on = {"TPE": spec.tpe, "USR": spec.usr, "VPE": spec.vpe}
    modules = tuple(name for name in published_wsss.MODULES if switched_on[name])
    row = published_wsss.published(test_set, modules, spec.clusters, spec.alpha)
    stated = PriorWSSSSpec(spec.num_classes)
    other = spec.dino not in _DINO or 0 in (spec.seg_weight, spec.affinity_weight)
    if row is None or other or any(getattr(spec, name) != getattr(stated, name) for name in _STATED):
        return None
    unlike = "its F1 is not that of its IoU"
    if published_wsss.PROTOCOL[test_set] == "iSAID":
        unlike = "other crops of iSAID, of a part that it does not state"
    source = f"prior WSSS, table {row.table}, with several scales and dense CRF; {unlike}"
    return Reference(source, row.mIoU, row.F1, row.OA)
