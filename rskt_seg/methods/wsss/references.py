"""Which figures of the weakly supervised method's paper a model may be compared with."""

from rskt_seg.metrics.benchmark import Reference
from rskt_seg.metrics.published import read_table
from rskt_seg.models.wsss import PriorWSSSSpec

TABLES = {
    "iSAID_wsss_val_sem_seg": "wsss_table1",
    "iSAID_wsss_test_sem_seg": "wsss_table1",
    "Potsdam_wsss_test_sem_seg": "wsss_table2",
}
"""Registered name -> main table of the weakly supervised paper, for registrations that compare with it."""
_ABLATIONS = {"modules": "wsss_table3", "clusters": "wsss_table5", "alpha": "wsss_table6"}
"""What each ablation on iSAID varies, which is also the label of its rows."""
_DINO = ("vitb14", "vits14")
"""The text names the first, the numbers of parameters are those of the second."""
_STATED = (
    "encoder", "dim", "decoder_layers", "heads", "cam_attention", "affinity", "template", "pseudo",
)  # fmt: skip
"""What the weakly supervised paper says of its model, besides the options that its tables vary; the defaults
are that. It leaves everything else open, so nothing else makes a model another one."""


def reference(spec: PriorWSSSSpec, test_set: str) -> Reference | None:
    """Return what the weakly supervised paper prints of its method on a test set.

    The whole method is in table 1 (iSAID) or 2 (Potsdam). Tables 3, 5 and 6 (iSAID) change the modules, the
    clusters or the steps of diffusion, one of them at a time.

    Args:
        spec: The model.
        test_set: Registered name of the test set.

    Returns:
        The figures of the paper; None for other test sets, and for models that no table has.
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
        difference = "other crops of iSAID, of a part that it does not state"
    source = f"{table.source}, with several scales and dense CRF; {difference}"
    return Reference(source, row.figures["mIoU"], row.figures.get("F1"), row.figures.get("OA"))


def _varied(spec: PriorWSSSSpec) -> dict[str, str]:
    """Return the labels of a model in the ablations."""
    used = [name for name, on in (("TPE", spec.tpe), ("USR", spec.usr), ("VPE", spec.vpe)) if on]
    modules = " + ".join(used) or "none"
    return {"modules": modules, "clusters": str(spec.clusters), "alpha": str(spec.alpha)}
