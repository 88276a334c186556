"""Figures of the weakly supervised method's paper that models may be compared with."""

from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import Reference
from rskt_seg.models.wsss import PriorWSSSSpec

TABLES = {
    "iSAID_wsss_val_sem_seg": "wsss_table1",
    "iSAID_wsss_test_sem_seg": "wsss_table1",
    "Potsdam_wsss_test_sem_seg": "wsss_table2",
}
"""Registered test set -> main table of the paper whose scores are comparable."""
_ABLATIONS = {"modules": "wsss_table3", "clusters": "wsss_table5", "alpha": "wsss_table6"}
"""What an ablation on iSAID varies, which is also the label of its rows -> table."""
_DINO = ("vitb14", "vits14")
"""The text of the paper names the first; its numbers of parameters are those of the second."""
_STATED = (
    "encoder", "dim", "decoder_layers", "heads", "cam_attention", "affinity", "template", "pseudo",
)  # fmt: skip
"""Options that the paper states, besides those that its tables vary; the defaults are its values. Models that
differ in other options, which the paper leaves open, are comparable."""


def reference(spec: PriorWSSSSpec, test_set: str) -> Reference | None:
    """Return the figures that the paper prints for a model.

    The full method is in table 1 (iSAID) or 2 (Potsdam). Tables 3, 5 and 6 (iSAID) vary the modules, the
    clusters or the steps of diffusion, one at a time.

    Args:
        spec: Specification of the model.
        test_set: Registered name of the test set.

    Returns:
        mIoU and where printed F1 and overall accuracy; None if no table has such a model or test set.
    """
    name, stated = TABLES.get(test_set), PriorWSSSSpec(spec.num_classes)
    varied, whole = _varied(spec), _varied(stated)
    changed = [label for label in varied if varied[label] != whole[label]]
    other = spec.dino not in _DINO or 0 in (spec.seg_weight, spec.affinity_weight)
    if name is None or other or any(getattr(spec, key) != getattr(stated, key) for key in _STATED):
        return None
    on_isaid = name == "wsss_table1"
    if len(changed) > 1 or (changed and not on_isaid):
        return None
    table = read_table(_ABLATIONS[changed[0]] if changed else name)
    row = table.find(**({label: varied[label] for label in changed} or {"method": "Ours"}))
    if row is None:
        return None
    difference = "its F1 is not that of its IoU"
    if on_isaid:
        difference = "other crops of iSAID, from a split that it does not state"
    source = f"{table.source}, with several scales and dense CRF; {difference}"
    return Reference(source, row.figures["mIoU"], row.figures.get("F1"), row.figures.get("OA"))


def is_full_method(spec: PriorWSSSSpec) -> bool:
    """Return whether a model is the paper's in all that it states and varies, with either DINOv2."""
    stated = PriorWSSSSpec(spec.num_classes)
    same = all(getattr(spec, key) == getattr(stated, key) for key in _STATED)
    return same and spec.dino in _DINO and _varied(spec) == _varied(stated)


def _varied(spec: PriorWSSSSpec) -> dict[str, str]:
    """Return the labels of a model in the ablation tables: column -> value."""
    used = [name for name, on in (("TPE", spec.tpe), ("USR", spec.usr), ("VPE", spec.vpe)) if on]
    modules = " + ".join(used) or "none"
    return {"modules": modules, "clusters": str(spec.clusters), "alpha": str(spec.alpha)}
