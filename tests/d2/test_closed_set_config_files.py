"""The files under configs/bicor and configs/fctl: published experiments, and every row of their tables."""

import math
import re
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.config import CfgNode

from rskt_seg.d2 import load_config
from rskt_seg.d2.specs import class_names, model_spec
from rskt_seg.data.catalog import find_split
from rskt_seg.data.isprs import POTSDAM_FAULTY, POTSDAM_TRAIN, POTSDAM_VAL
from rskt_seg.data.split_lists import read_list
from rskt_seg.methods.fctl.checkpoint import FCtLLayout
from rskt_seg.methods.fctl.references import TABLES as FCTL_TABLES
from rskt_seg.metrics.published import read_table
from rskt_seg.models.bicor import BiCoR
from rskt_seg.models.fctl import FCtL
from tests.d2.conftest import CONFIGS
from tests.d2.test_config import leaves

ROOT = CONFIGS.parents[1]
BICOR = sorted(p for p in (ROOT / "configs" / "bicor").glob("*.yaml") if p.stem != "tiny")
SETS = ("deepglobe", "inria")
FCTL = [*(p for name in SETS for p in sorted((ROOT / "configs" / "fctl" / name).glob("*.yaml")))]
LEAVES = [p for p in (*BICOR, *FCTL) if "Base" not in (p.stem, p.parent.stem)]
ROWS = [p for p in LEAVES if p.stem.startswith("ablation_")]
LARGEST = {"deepglobe": 2448, "inria": 5000}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT / "configs").with_suffix("").as_posix()


@cache
def config(name: str) -> CfgNode:
    return load_config(str(ROOT / "configs" / f"{name}.yaml"))


@cache
def spec_of(name: str):
    cfg = config(name)
    return model_spec(cfg, len(class_names(cfg)) if cfg.DATASETS.TRAIN else 2)


def difference(name: str, base: str) -> dict:
    ours, theirs = asdict(spec_of(name)), asdict(spec_of(base))
    return {key: value for key, value in ours.items() if value != theirs[key]}


def comment(path: Path) -> str:
    lines = path.read_text().splitlines()
    return " ".join(
        line.removeprefix("# ") for line in lines[: next(k for k, s in enumerate(lines) if s[0] != "#")]
    )


@pytest.mark.parametrize("path", [*BICOR, *FCTL], ids=name_of)
def test_every_file_loads_names_known_datasets_and_has_a_model_of_their_classes(path):
    cfg = config(name_of(path))
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        split = find_split(name)
        assert split.protocol, name
        assert split.class_set.names == class_names(cfg)
    spec_of(name_of(path))


@pytest.mark.parametrize("path", [p for p in (*BICOR, *FCTL) if "_BASE_" in p.read_text()], ids=name_of)
def test_no_file_repeats_its_base(path):
    own = yaml.safe_load(path.read_text())
    base = leaves(CfgNode.load_yaml_with_base(str(path.parent / own.pop("_BASE_"))))
    repeated = {key for key, value in leaves(own).items() if key in base and base[key] == value}
    assert repeated == set()


@pytest.mark.parametrize("path", LEAVES, ids=name_of)
def test_a_file_holds_no_path_but_those_of_weights_and_outputs_and_no_number_of_classes(path):
    for key, value in leaves(yaml.safe_load(path.read_text())).items():
        if "/" in str(value):
            assert key in ("OUTPUT_DIR", "MODEL.START_FROM") or key.startswith("MODEL.ENCODERS."), key
        assert "CLASSES" not in key and "WIDTH" not in key


def test_rows_of_one_table_differ_in_more_than_their_output():
    seen: dict[str, str] = {}
    for path in ROWS:
        cfg = config(name_of(path)).clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = ""
        key = f"{path.parent.stem} {path.stem.split('_')[1]} {cfg.dump()}"
        assert key not in seen, f"{path} is {seen.get(key)}"
        seen[key] = str(path)


# BiCoR-Seg


def test_every_distinct_bicor_model_builds_at_a_small_size():
    specs = {replace(spec_of(name_of(path)), encoder="tiny", width=16) for path in BICOR}
    assert len(specs) > 10
    for spec in specs:
        BiCoR(spec)


@pytest.mark.parametrize(
    ("name", "layers", "topk", "final", "rate", "crop", "turn"),
    [
        ("loveda", 2, 0.02, 1.0, 8e-5, 512, 0.5),
        ("vaihingen", 2, 1.0, 0.0, 5e-5, 512, 0.5),
        ("potsdam", 3, 1.0, 0.0, 1e-4, 768, 0.25),
    ],
)
def test_the_main_bicor_files_are_the_released_recipes(name, layers, topk, final, rate, crop, turn):
    cfg, spec = config(f"bicor/{name}"), spec_of(f"bicor/{name}")
    solver, images = cfg.SOLVER, cfg.INPUT
    assert (spec.num_layers, spec.topk_ratio, spec.min_pixels, spec.final_fisher_weight) == (
        layers,
        topk,
        64,
        final,
    )
    assert (spec.aux_weight, spec.heat_weight, spec.fisher_weight, spec.label_smoothing) == (
        0.4,
        0.1,
        0.1,
        0.05,
    )
    assert ("ADAMW", rate, 1e-6) == (solver.OPTIMIZER, solver.BASE_LR, solver.LR_FLOOR)
    assert {solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_EMBED} == {0.01}
    assert (solver.LOOKAHEAD_STEPS, solver.LOOKAHEAD_ALPHA, solver.LR_SCHEDULER_NAME) == (
        5,
        0.5,
        "EpochCosineLR",
    )
    assert not solver.CLIP_GRADIENTS.ENABLED and not solver.AMP.ENABLED and solver.WARMUP_ITERS == 0
    assert (list(images.CROP.SIZE), images.CROP.SINGLE_CATEGORY_MAX_AREA) == ([crop, crop], 0.75)
    assert (
        (0.75, 1, 1.25, 1.5),
        turn,
        0.5,
        0.5,
    ) == (images.SCALES, images.ROTATE90, images.HFLIP, images.VFLIP)
    assert (images.AUGMENTATION, images.MOSAIC, images.MOSAIC_SIDE) == ("geoseg", 0.25, 1024)
    assert (cfg.TEST.TILE, cfg.TEST.TILE_OVERLAP, images.MIN_SIZE_TEST) == (1024, 0, 0)
    assert (cfg.SEED, cfg.DATALOADER.NUM_WORKERS) == (42, 4)


def bicor_images(name: str) -> int:
    """Training images, from the split lists and, for ISPRS, from the sizes of the scenes."""
    split = find_split(config(name).DATASETS.TRAIN[0])
    if split.stems:
        return len(split.stems)
    if split.dataset == "Potsdam_geoseg":
        scenes = set(POTSDAM_TRAIN.split()) - {POTSDAM_FAULTY, POTSDAM_VAL}
        return 3 * len(scenes) * math.ceil(6000 / 1024) ** 2
    # 13 scenes fit 2 x 3 patches, area 13 fits 3 x 3 and area 37 fits 2 x 2, half a patch apart, thrice.
    return 3 * (13 * 3 * 5 + 5 * 5 + 3 * 3)


@pytest.mark.parametrize("path", [p for p in BICOR if p in LEAVES], ids=name_of)
def test_a_bicor_schedule_is_its_epochs_over_the_images_without_the_rest_of_a_batch(path):
    cfg = config(name_of(path))
    epoch = bicor_images(name_of(path)) // cfg.SOLVER.IMS_PER_BATCH
    assert cfg.SOLVER.EPOCHS * epoch == cfg.SOLVER.MAX_ITER
    assert 3 * epoch == cfg.SOLVER.CHECKPOINT_PERIOD  # the published code keeps every third epoch
    assert (30 if "LoveDA" in cfg.DATASETS.TRAIN[0] else 45) == cfg.SOLVER.EPOCHS


def test_the_padded_files_change_the_labels_alone():
    for name in ("vaihingen", "potsdam"):
        assert difference(f"bicor/{name}_padded", f"bicor/{name}") == {}
        padded, plain = (config(f"bicor/{name}{end}") for end in ("_padded", ""))
        assert padded.SOLVER == plain.SOLVER and padded.INPUT == plain.INPUT
        assert "padded" in padded.DATASETS.TRAIN[0] and "padded" in padded.DATASETS.TEST[0]


def test_the_papers_own_forms_are_those_that_it_words_otherwise():
    changed = difference("bicor/paper", "bicor/loveda_paper_split")
    assert changed == {
        "heatmap_inputs": "raw",
        "pooled_inputs": "raw",
        "gate": "class",
        "candidate": "context",
        "assignment": "heatmap",
        "mixing": "learned",
        "head": "product",
        "min_pixels": 1,
        "label_smoothing": 0.0,
        "heat_loss": "heatmap",
        "aux_weight": 0.0,
        "final_fisher_weight": 0.0,
        "between": "center",
    }
    assert (config("bicor/paper").SOLVER.OPTIMIZER, config("bicor/paper").SOLVER.LOOKAHEAD_STEPS) == (
        "ADAM",
        0,
    )


def test_there_is_a_bicor_file_for_every_row_and_it_has_the_modules_and_losses_of_its_row():
    stems = {path.stem for path in BICOR if path in ROWS}
    for row in read_table("bicor_table4").rows:
        parts = tuple(row.labels["modules"].split(" + "))
        name = "baseline" if parts == ("cross-attention",) else "_".join(parts).lower()
        spec = spec_of(f"bicor/ablation_table4_{name}")
        stems.remove(f"ablation_table4_{name}")
        assert spec.interaction == ("cross_attention" if parts[0] == "cross-attention" else "hbis")
        assert (spec.fisher_weight > 0) == ("FD" in parts)
        assert (spec.heat_weight > 0) == ("HM" in parts or spec.interaction == "cross_attention")
        assert spec.aux_weight == spec.final_fisher_weight == 0
    for layers in (int(row.labels["layers"]) for row in read_table("bicor_table5").rows):
        for place in ("loveda", "vaihingen"):
            name = f"ablation_table5_{place}_l{layers}"
            stems.remove(name)
            main = "loveda" if place == "loveda" else "vaihingen_padded"
            assert difference(f"bicor/{name}", f"bicor/{main}") == (
                {"num_layers": layers} if layers != 2 else {}
            )
    figure = {spec_of(f"bicor/{stem}").topk_ratio: stem for stem in stems}
    assert all(stem.startswith("ablation_figure3_") for stem in stems) and len(figure) == len(stems)
    assert {float(row.labels["topk_ratio"]) for row in read_table("bicor_figure3").rows} <= figure.keys()
    assert 1.0 in figure
    for ratio, stem in figure.items():
        assert difference(f"bicor/{stem}", "bicor/loveda") == ({"topk_ratio": ratio} if ratio != 0.02 else {})


# FCtL


def checkpoint_of(path: Path) -> str:
    return f"output/fctl/{path.parent.stem}/{path.stem}/model_final.pth"


STAGES = {checkpoint_of(path): name_of(path) for path in FCTL if path in LEAVES}


@pytest.mark.parametrize("path", [p for p in FCTL if p in LEAVES], ids=name_of)
def test_every_fctl_file_writes_to_its_own_folder(path):
    assert f"{config(name_of(path)).OUTPUT_DIR}/model_final.pth" == checkpoint_of(path)


@pytest.mark.parametrize("dataset", SETS)
def test_the_fctl_files_have_the_published_schedule(dataset):
    cfg = config(f"fctl/{dataset}/4_fused")
    solver, images = cfg.SOLVER, len(read_list(f"{dataset}_train"))
    assert 50 * math.ceil(images / solver.IMS_PER_BATCH) == solver.MAX_ITER
    assert (solver.IMS_PER_BATCH, solver.SUB_BATCH, solver.OPTIMIZER, solver.BASE_LR) == (6, 4, "ADAM", 5e-5)
    assert {solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_EMBED} == {5e-4}
    assert (solver.LR_SCHEDULER_NAME, solver.POLY_POWER, solver.POLY_START) == ("PolyLR", 0.9, 0.0)
    assert (cfg.INPUT.AUGMENTATION, cfg.INPUT.HFLIP, cfg.INPUT.ROTATE90) == ("fctl", 0.5, 0.5)
    assert (cfg.INPUT.PATCH_OVERLAP, cfg.TEST.AUG.ENABLED, cfg.TEST.AUG.VIEWS) == (50, True, "dihedral")
    assert spec_of(f"fctl/{dataset}/4_fused").focal_gamma == 3
    assert config(f"fctl/{dataset}/1_local").SOLVER.SUB_BATCH == 6
    assert config("fctl/inria/4_published").SOLVER.POLY_START == 0.5


def sides(name: str) -> dict[str, float]:
    """What a model sees besides the patch, in pixels of the image; the whole image is its side."""
    spec, largest = spec_of(name), LARGEST[name.split("/")[1]]
    if spec.view == "whole":
        return {"whole": largest}
    return {k: round(f * spec.patch_side, 1) if f else largest for k, f in spec.context_factors.items()}


@pytest.mark.parametrize("path", [p for p in FCTL if p in LEAVES], ids=name_of)
def test_a_stage_starts_from_stages_of_its_data_and_encoder_that_saw_what_it_sees(path):
    name, cfg = name_of(path), config(name_of(path))
    spec = spec_of(name)
    sources = {"START_FROM": cfg.MODEL.START_FROM}
    if spec.context_encoder == "frozen":
        sources |= {context: cfg.MODEL.ENCODERS[context.upper()] for context in spec.contexts}
    for role, source in sources.items():
        if role == "START_FROM" and not source:
            assert not spec.contexts  # only stages without contexts start from ImageNet
            continue
        stage = STAGES[source]
        assert Path(stage).parent.stem == path.parent.stem
        assert spec_of(stage).encoder == spec.encoder and config(stage).DATASETS.TRAIN == cfg.DATASETS.TRAIN
        if role != "START_FROM":
            assert list(sides(stage).values()) == [sides(name)[role]], f"{role} of {name} from {stage}"
        elif spec.lcf:
            assert spec_of(stage).patch_side == spec.patch_side
            assert sides(stage).items() <= sides(name).items(), (
                f"{name} starts from a context of another size"
            )


def small(name: str):
    spec = spec_of(name)
    return replace(spec, encoder="vgg_tiny" if spec.encoder.startswith("vgg") else "mit_tiny")


def test_every_distinct_fctl_model_builds_and_starts_from_the_stages_before_it():
    """With the smallest encoders, whose widths are other and whose structure is the same."""
    torch.manual_seed(0)
    stages = {}
    for name in STAGES.values():
        stages.setdefault(small(name), FCtL(small(name)).state_dict())
    tried = set()
    for name in STAGES.values():
        cfg, spec = config(name), small(name)
        if not cfg.MODEL.START_FROM:
            continue
        own = spec.contexts if spec.context_encoder == "frozen" else ()
        before = (STAGES[cfg.MODEL.START_FROM], *(STAGES[cfg.MODEL.ENCODERS[c.upper()]] for c in own))
        key = (spec, *map(small, before))
        if key in tried:
            continue
        tried.add(key)
        model = FCtL(spec)
        contexts = {c: stages[small(stage)] for c, stage in zip(own, before[1:], strict=True)}
        FCtLLayout().start_from(model, stages[small(before[0])], contexts)
        assert_same(model.encoder, stages[small(before[0])])
        for context, stage in zip(own, before[1:], strict=True):
            assert_same(model.context_encoders[context], stages[small(stage)])
    assert len(tried) > 20


def assert_same(encoder, stage) -> None:
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, stage[f"encoder.{key}"]), key


def parts_of(label: str) -> tuple[str, ...]:
    """What a label of a table joins: "medium + large", or "none"."""
    return () if label == "none" else tuple(label.split(" + "))


@pytest.mark.parametrize("dataset", SETS)
def test_there_is_an_fctl_file_for_every_row_and_it_has_what_its_row_says(dataset):
    column = ("DeepGlobe", "Inria Aerial")[SETS.index(dataset)]
    stems = {path.stem for path in ROWS if path.parent.stem == dataset}
    expected = {}
    for row in read_table("fctl_table4").rows:
        gpe = row.labels["gpe"] == "yes"
        assumed = parts_of(row.labels["contexts"] or "medium")
        stem = f"ablation_table4_{'_'.join(assumed) or 'none'}{'_gpe' if gpe else ''}"
        expected[stem] = row.figures[column]
        spec = spec_of(f"fctl/{dataset}/{stem}")
        assert (spec.terms, spec.gpe, spec.ale, spec.lcf) == (assumed, gpe, "none", bool(assumed))
    for row in read_table("fctl_table5").rows:
        if row.labels["dataset"] != column:
            continue
        local, medium, large = (int(row.labels[name]) for name in ("local", "medium", "large"))
        stem = f"ablation_table5_{local}_{medium}_{large}"
        expected[stem] = row.figures["mIoU"]
        spec = spec_of(f"fctl/{dataset}/{stem}")
        seen = [LARGEST["deepglobe"] if f == 0 else f * spec.patch_side for f in spec.factors]
        assert (spec.patch_side, *map(round, seen)) == (local, medium, large)
        assert (0.0 in spec.factors) == (large == 2448)
    for row in read_table("fctl_table6").rows:
        fusion = row.labels["fusion"]
        expected[f"ablation_table6_{fusion}"] = row.figures[column]
        mcf = spec_of(f"fctl/{dataset}/ablation_table6_{fusion}").mcf
        assert mcf == {"adaptive": "code"}.get(fusion, fusion)
    for row in read_table("fctl_table7").rows:
        structure, reads = row.labels["structure"], parts_of(row.labels["contexts"])
        stem = f"ablation_table7_{structure}{f'_{reads[0]}' if len(reads) == 1 else ''}"
        expected[stem] = row.figures[column]
        spec = spec_of(f"fctl/{dataset}/{stem}")
        assert spec.ale == {"without": "none", "only": "d"}.get(structure, structure)
        assert (spec.enhanced, spec.lcf) == (reads, structure != "only")
    assert stems == expected.keys()
    for stem, miou in expected.items():
        assert f"(printed: mIoU {miou:.2f}" in comment(ROOT / "configs" / "fctl" / dataset / f"{stem}.yaml")


@pytest.mark.parametrize("path", ROWS, ids=name_of)
def test_every_row_says_which_it_is(path):
    kind, number = re.fullmatch(r"(table|figure)(\d)", path.stem.split("_")[1]).groups()
    assert comment(path).startswith(f"{kind.capitalize()} {number}, ")


def test_the_rows_of_bicor_state_what_is_printed_of_them():
    printed = {
        f"table4_{row.labels['modules'].replace(' + ', '_').lower()}": row.figures["mIoU"]
        for row in read_table("bicor_table4").rows
    }
    printed["table4_baseline"] = printed.pop("table4_cross-attention")
    for row in read_table("bicor_table5").rows:
        for place in ("LoveDA", "Vaihingen"):
            printed[f"table5_{place.lower()}_l{row.labels['layers']}"] = row.figures[place]
    printed["figure3_topk_002"] = read_table("bicor_figure3").find(topk_ratio="0.02").figures["mIoU"]
    for stem, miou in printed.items():
        assert f"(printed: mIoU {miou:.2f}" in comment(ROOT / "configs" / "bicor" / f"ablation_{stem}.yaml")


@pytest.mark.parametrize("dataset", SETS)
def test_the_stages_state_the_rows_of_the_main_tables(dataset):
    table = read_table(FCTL_TABLES[config(f"fctl/{dataset}/4_fused").DATASETS.TEST[0]])
    for prefix, backbone in (("", "VGG16"), ("mitb2_", "MiT-B2"), ("mitb5_", "MiT-B5")):
        plain = "Segformer" if prefix else "FCN-8s"
        rows = {"1_local": {"model": plain}, "4_fused": {"model": "Ours"}}
        if dataset == "deepglobe":
            rows["1_local"]["inference"] = "local"
            rows["3_global"] = {"model": plain, "inference": "global"}
        for stage, labels in rows.items():
            row = table.find(backbone=backbone, **labels).figures
            path = ROOT / "configs" / "fctl" / dataset / f"{prefix}{stage}.yaml"
            assert f"printed: mIoU {row['mIoU']:.1f}, F1 {row['F1']:.1f}, Acc {row['Acc']:.1f}" in comment(
                path
            )


def test_the_page_on_closed_sets_names_every_file_and_no_other():
    page = (ROOT / "docs" / "closed_set.md").read_text()
    named = set(re.findall(r"`([a-z0-9_]+)`", page))
    assert {path.stem for path in LEAVES} <= named
    assert {name for name in named if name.startswith("ablation_")} <= {path.stem for path in ROWS}
