"""Rows of papers that stand beside a run: which tables belong to a method, and which row to a model.

The functions named after a method need no configuration: they take plain values or a specification.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict

from detectron2.config import CfgNode

from rskt_seg.checkpoints import bicor, fctl
from rskt_seg.d2.specs import method_of, model_spec
from rskt_seg.metrics.benchmark import BenchmarkReference, Reference
from rskt_seg.metrics.published import read_table
from rskt_seg.models.bicor import BiCoRSpec
from rskt_seg.models.fctl import FCtLSpec
from rskt_seg.models.wsss import PriorWSSSSpec

RSKT_COLUMNS = {
    "DLRSD_all_sem_seg": "DLRSD",
    "iSAID_all_sem_seg": "iSAID",
    "LoveDA_all_8c_sem_seg": "LoveDA",
    "Potsdam_all_sem_seg": "Potsdam",
    "uavid_all_sem_seg": "UAVid",
    "UDD5_all_sem_seg": "UDD5",
    "Vaihingen_all_sem_seg": "Vaihingen",
    "VDD_all_sem_seg": "VDD",
}
"""Registered name -> column of RSKT-Seg's table 1, for the registrations whose scores compare with it: LoveDA
in the published form of 8 classes, the training sets with their training images."""
_RSKT_BACKBONES = {"vitb16": "ViT-B", "vitl14": "ViT-L"}

BICOR_TABLES = {
    "Vaihingen_geoseg_padded_test_sem_seg": "bicor_table2",
    "Potsdam_geoseg_padded_test_sem_seg": "bicor_table3",
}
"""Registered name -> table of BiCoR-Seg, for the registrations whose scores compare with it.

Its tables of ISPRS were scored, as far as their figures tell, on patches whose black padding is labelled
impervious surface (docs/closed_set.md); those of LoveDA by the server of the dataset on a test part without
public labels, so nothing evaluated here compares with them."""
_BICOR_LAYERS = {"bicor_table2": 2, "bicor_table3": 3}

FCTL_TABLES = {"deepglobe_fctl_test_sem_seg": "fctl_table1", "inria_test_sem_seg": "fctl_table2"}
"""Registered name -> main table of FCtL, for the registrations whose scores compare with it."""
_FCTL_FACTORS = {"fctl_table1": (3.0, 0.0), "fctl_table2": (2.0, 3.0)}
_FCTL_BACKBONES = {"vgg16": "VGG16", "mitb2": "MiT-B2", "mitb5": "MiT-B5"}

WSSS_TABLES = {
    "iSAID_wsss_val_sem_seg": "wsss_table1",
    "iSAID_wsss_test_sem_seg": "wsss_table1",
    "Potsdam_wsss_test_sem_seg": "wsss_table2",
}
"""Registered name -> main table of the weakly supervised paper, for registrations that compare with it."""
_WSSS_ABLATIONS = {"modules": "wsss_table3", "clusters": "wsss_table5", "alpha": "wsss_table6"}
"""What each ablation on iSAID varies, which is also the label of its rows."""
_WSSS_DINO = ("vitb14", "vits14")
"""The text names the first, the numbers of parameters are those of the second."""
_WSSS_STATED = (
    "encoder", "dim", "decoder_layers", "heads", "cam_attention", "affinity", "template", "pseudo",
)  # fmt: skip
"""What the weakly supervised paper says of its model, besides the options that its tables vary; the defaults
are that. It leaves everything else open, so nothing else makes a model another one."""


def benchmark_reference(cfg: CfgNode, trained_on: Collection[str]) -> BenchmarkReference | None:
    """Return what the paper of an open-vocabulary method prints for a whole benchmark.

    Args:
        cfg: The configuration of the evaluated model.
        trained_on: Names of the datasets that the model was trained on.

    Returns:
        The row of the paper; None for closed sets, or if no row was trained on exactly these datasets.
    """
    if method_of(cfg).closed_set or len(trained_on) != 1:
        return None
    (dataset,) = trained_on
    return rskt_reference(dataset, cfg.MODEL.RSKT.ENCODER)


def rskt_reference(trained_on: str, encoder: str) -> BenchmarkReference | None:
    """Return the row of RSKT-Seg in table 1 of its paper.

    Args:
        trained_on: Dataset of the training, "DLRSD" or "iSAID".
        encoder: Preset of the CLIP encoder, "vitb16" or "vitl14".

    Returns:
        mIoU and mACC of the eight test sets; None if the table has no such row.
    """
    table = read_table("rskt_table1")
    labels = {"trained_on": trained_on, "method": "RSKT-Seg", "backbone": _RSKT_BACKBONES.get(encoder, "")}
    rows = {measure: table.find(**labels, measure=measure) for measure in ("mIoU", "mACC")}
    printed = {measure: row.figures for measure, row in rows.items() if row is not None}
    if not printed:
        return None
    return BenchmarkReference(
        source=f"{table.source}: {labels['backbone']} trained on {trained_on}",
        labels=labels,
        columns=RSKT_COLUMNS,
        figures={m: {c: row[c] for c in table.columns if c != "mean"} for m, row in printed.items()},
        means={measure: row["mean"] for measure, row in printed.items()},
    )


def closed_set_reference(cfg: CfgNode, test_set: str) -> Reference | None:
    """Return what the paper of a closed-set method prints for a registered test set.

    Args:
        cfg: The configuration of the evaluated model.
        test_set: Registered name of the test set.

    Returns:
        The figures of the paper; None if it scored other data or by another protocol, if the model is none
        of its rows (BiCoR-Seg, FCtL: of its main tables), and for open-vocabulary models.
    """
    spec = model_spec(cfg)
    if isinstance(spec, BiCoRSpec):
        return bicor_reference(spec, test_set)
    if isinstance(spec, FCtLSpec):
        return fctl_reference(spec, test_set)
    if isinstance(spec, PriorWSSSSpec):
        return wsss_reference(spec, test_set)
    return None


def bicor_reference(spec: BiCoRSpec, test_set: str) -> Reference | None:
    """Return the paper's own row for the released BiCoR-Seg on a test set of ISPRS; None for other models."""
    name = BICOR_TABLES.get(test_set)
    if name is None:
        return None
    released = BiCoRSpec(spec.num_classes, num_layers=_BICOR_LAYERS[name], topk_ratio=1.0)
    table = read_table(name)
    row = table.find(method="BiCoR-Seg")
    if row is None or not _computes_as(spec, released, bicor.TRAINING_ONLY):
        return None
    source = f"{table.source}; its test-time augmentation is not stated"
    return Reference(source, row.figures["mIoU"], row.figures["mF1"], row.figures["OA"])


def fctl_reference(spec: FCtLSpec, test_set: str) -> Reference | None:
    """Return the row of FCtL's main tables for a model (FCtL, FCN-8s, SegFormer) on a test set, or None."""
    name = FCTL_TABLES.get(test_set)
    model = _fctl_model(spec, _FCTL_FACTORS[name]) if name else None
    if name is None or model is None:
        return None
    labels = {"model": model, "backbone": _FCTL_BACKBONES.get(spec.encoder, "")}
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


def _fctl_model(spec: FCtLSpec, factors: tuple[float, ...]) -> str | None:
    """Return what the main tables call a model, None for variants that stand in none of them."""
    plain = FCtLSpec(spec.num_classes, encoder=spec.encoder, contexts=(), lcf=False, view=spec.view)
    if _computes_as(spec, plain, fctl.TRAINING_ONLY):
        return "FCN-8s" if spec.encoder == "vgg16" else "Segformer"
    ours = FCtLSpec(spec.num_classes, encoder=spec.encoder, factors=factors, gpe=True, ale="d")
    return "Ours" if _computes_as(spec, ours, fctl.TRAINING_ONLY) else None


def wsss_reference(spec: PriorWSSSSpec, test_set: str) -> Reference | None:
    """Return what the weakly supervised paper prints of its method on a test set.

    The whole method is in table 1 (iSAID) or 2 (Potsdam). Tables 3, 5 and 6 (iSAID) change the modules, the
    clusters or the steps of diffusion, one of them at a time.

    Args:
        spec: The model.
        test_set: Registered name of the test set.

    Returns:
        The figures of the paper; None for other test sets, and for models that no table has.
    """
    name, stated = WSSS_TABLES.get(test_set), PriorWSSSSpec(spec.num_classes)
    varied, whole = _wsss_varied(spec), _wsss_varied(stated)
    changed = [label for label in varied if varied[label] != whole[label]]
    other = spec.dino not in _WSSS_DINO or 0 in (spec.seg_weight, spec.affinity_weight)
    if name is None or other or any(getattr(spec, key) != getattr(stated, key) for key in _WSSS_STATED):
        return None
    on_isaid = name == "wsss_table1"
    if len(changed) > 1 or (changed and not on_isaid):
        return None
    table = read_table(_WSSS_ABLATIONS[changed[0]] if changed else name)
    row = table.find(**({label: varied[label] for label in changed} or {"method": "Ours"}))
    if row is None:
        return None
    difference = "its F1 is not that of its IoU"
    if on_isaid:
        difference = "other crops of iSAID, of a part that it does not state"
    source = f"{table.source}, with several scales and dense CRF; {difference}"
    return Reference(source, row.figures["mIoU"], row.figures.get("F1"), row.figures.get("OA"))


def _wsss_varied(spec: PriorWSSSSpec) -> dict[str, str]:
    """Return the labels of a model in the ablations."""
    used = [name for name, on in (("TPE", spec.tpe), ("USR", spec.usr), ("VPE", spec.vpe)) if on]
    modules = " + ".join(used) or "none"
    return {"modules": modules, "clusters": str(spec.clusters), "alpha": str(spec.alpha)}


def _computes_as(spec: BiCoRSpec | FCtLSpec, other: BiCoRSpec | FCtLSpec, free: Sequence[str]) -> bool:
    """Return whether two specifications differ in nothing but the options `free`."""
    a, b = asdict(spec), asdict(other)
    return all(a[name] == b[name] for name in a if name not in free)
