"""The configurations under configs/bicor and configs/fctl: published experiments, and the rows of tables."""

import math
import re
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode

from rskt_seg.d2 import load_config
from rskt_seg.d2.config_files import AblationRow, ConfigSource, read_rows
from rskt_seg.d2.specs import class_names, model_spec
from rskt_seg.d2.weights import starting_files
from rskt_seg.data.catalog import find_split
from rskt_seg.data.isprs import POTSDAM_FAULTY, POTSDAM_TRAIN, POTSDAM_VAL
from rskt_seg.data.split_lists import read_list
from rskt_seg.inference.contexts import patch_grid
from rskt_seg.methods.fctl.checkpoint import FCtLLayout
from rskt_seg.metrics.published import read_table
from rskt_seg.models.fctl import FCtL
from tests.d2.configurations import ROOT, configurations, name_of, own_keys, repeated_keys
from tests.d2.test_config import leaves

BICOR = [source for source in configurations(ROOT / "bicor") if source.path.stem != "tiny"]
SETS = ("deepglobe", "inria")
FCTL = [source for name in SETS for source in configurations(ROOT / "fctl" / name)]
LEAVES = [source for source in (*BICOR, *FCTL) if source.path.stem != "Base"]
ROWS = [source for source in LEAVES if source.row]
LARGEST = {"deepglobe": 2448, "inria": 5000}
COLUMNS = {"deepglobe": "DeepGlobe", "inria": "Inria Aerial"}


@cache
def config(name: str) -> CfgNode:
    return load_config(str(ROOT / (name if ".yaml" in name else f"{name}.yaml")))


@cache
def rows_of(folder: str) -> dict[str, AblationRow]:
    return read_rows(ROOT / folder / "ablations.yaml")


@cache
def spec_of(name: str):
    cfg = config(name)
    return model_spec(cfg, len(class_names(cfg)) if cfg.DATASETS.TRAIN else 2)


def difference(name: str, base: str) -> dict:
    ours, theirs = asdict(spec_of(name)), asdict(spec_of(base))
    return {key: value for key, value in ours.items() if value != theirs[key]}


@pytest.mark.parametrize("source", [*BICOR, *FCTL], ids=name_of)
def test_every_configuration_loads_names_known_datasets_and_has_a_model_of_their_classes(source):
    cfg = config(name_of(source))
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        split = find_split(name)
        assert split.protocol, name
        assert split.class_set.names == class_names(cfg)
    spec_of(name_of(source))


@pytest.mark.parametrize("source", [*BICOR, *FCTL], ids=name_of)
def test_no_configuration_repeats_its_base(source):
    assert repeated_keys(source) == set()


@pytest.mark.parametrize("source", LEAVES, ids=name_of)
def test_a_configuration_holds_no_path_but_those_of_weights_and_outputs_and_no_number_of_classes(source):
    own = own_keys(source)
    own.pop("_BASE_")
    for key, value in leaves(own).items():
        if "/" in str(value):
            assert key in ("OUTPUT_DIR", "MODEL.START_FROM") or key.startswith("MODEL.ENCODERS."), key
        assert "CLASSES" not in key and "WIDTH" not in key


def test_rows_of_one_table_differ_in_more_than_their_output():
    seen: dict[str, ConfigSource] = {}
    for source in ROWS:
        cfg = config(name_of(source)).clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = ""
        key = f"{source.path.parent.stem} {source.row.split('_')[0]} {cfg.dump()}"
        assert key not in seen, f"{source} is {seen.get(key)}"
        seen[key] = source


def images_of(names: tuple[str, ...]) -> set[tuple[str, str]]:
    """The images of datasets: folder and stem, or the folder alone where every file of it belongs to them."""
    splits = [find_split(name) for name in names]
    return {(split.images, stem) for split in splits for stem in split.stems or ("",)}


@pytest.mark.parametrize("source", ROWS, ids=name_of)
def test_no_row_of_a_table_is_scored_on_images_that_it_was_trained_on(source):
    datasets = config(name_of(source)).DATASETS
    assert images_of(datasets.TRAIN) and images_of(datasets.TEST)
    assert not images_of(datasets.TRAIN) & images_of(datasets.TEST)


# BiCoR-Seg


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


PUBLISHED = [source for source in BICOR if source in LEAVES and source.path.stem != "convnextb"]
"""Without the configuration for data of one's own, which has none."""


@pytest.mark.parametrize("source", PUBLISHED, ids=name_of)
def test_a_bicor_schedule_is_its_epochs_over_the_images_without_the_rest_of_a_batch(source):
    cfg = config(name_of(source))
    epoch = bicor_images(name_of(source)) // cfg.SOLVER.IMS_PER_BATCH
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


def test_there_is_a_bicor_row_for_every_printed_one_and_it_has_its_modules_and_losses():
    rows, seen = rows_of("bicor"), set()
    for printed in read_table("bicor_table4").rows:
        parts = printed.labels["modules"].split(" + ")
        name = "table4_baseline" if parts == ["cross-attention"] else f"table4_{'_'.join(parts).lower()}"
        seen.add(name)
        spec = spec_of(f"bicor/ablations.yaml:{name}")
        assert rows[name].row == printed.labels["modules"]
        assert spec.interaction == ("cross_attention" if parts[0] == "cross-attention" else "hbis")
        assert (spec.fisher_weight > 0) == ("FD" in parts)
        assert (spec.heat_weight > 0) == ("HM" in parts or spec.interaction == "cross_attention")
        assert spec.aux_weight == spec.final_fisher_weight == 0
    for printed in read_table("bicor_table5").rows:
        layers = int(printed.labels["layers"])
        for place, main in (("LoveDA", "loveda_paper_split"), ("Vaihingen", "vaihingen_padded")):
            name = f"table5_{place.lower()}_l{layers}"
            seen.add(name)
            assert (rows[name].row, rows[name].column) == (str(layers), place)
            changed = difference(f"bicor/ablations.yaml:{name}", f"bicor/{main}")
            assert changed == ({"num_layers": layers} if layers != 2 else {})
    assert all(name.startswith("figure3_") for name in rows.keys() - seen)


def test_figure_3_of_bicor_varies_the_ratio_alone_and_states_which_points_are_printed():
    figure = {name: row for name, row in rows_of("bicor").items() if name.startswith("figure3_")}
    ratios = {spec_of(f"bicor/ablations.yaml:{name}").topk_ratio: row for name, row in figure.items()}
    assert len(ratios) == len(figure) and 1.0 in ratios
    printed = {row.labels["topk_ratio"] for row in read_table("bicor_figure3").rows}
    assert {ratio: row.row for ratio, row in ratios.items() if row.row} == {float(p): p for p in printed}
    for name in figure:
        ratio = spec_of(f"bicor/ablations.yaml:{name}").topk_ratio
        changed = difference(f"bicor/ablations.yaml:{name}", "bicor/loveda_paper_split")
        assert changed == ({"topk_ratio": ratio} if ratio != 0.02 else {})


# FCtL


def checkpoint_of(source: ConfigSource) -> str:
    own = f"ablation_{source.row}" if source.row else source.path.stem
    return f"output/fctl/{source.path.parent.stem}/{own}/model_final.pth"


STAGES = {checkpoint_of(source): name_of(source) for source in FCTL if source in LEAVES}


@pytest.mark.parametrize("source", [source for source in FCTL if source in LEAVES], ids=name_of)
def test_every_fctl_configuration_writes_to_its_own_folder(source):
    assert f"{config(name_of(source)).OUTPUT_DIR}/model_final.pth" == checkpoint_of(source)


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


@pytest.mark.parametrize("source", [source for source in FCTL if source in LEAVES], ids=name_of)
def test_a_stage_starts_from_stages_of_its_data_and_encoder_that_saw_what_it_sees(source):
    name, cfg = name_of(source), config(name_of(source))
    spec = spec_of(name)
    sources = {"START_FROM": cfg.MODEL.START_FROM}
    if spec.context_encoder == "frozen":
        sources |= {context: cfg.MODEL.ENCODERS[context.upper()] for context in spec.contexts}
    for role, checkpoint in sources.items():
        if role == "START_FROM" and not checkpoint:
            # Only stages without contexts start from ImageNet, and the paper's training, which has no stages.
            assert not spec.contexts or spec.context_encoder == "trained"
            continue
        stage = STAGES[checkpoint]
        assert Path(stage).parent.stem == source.path.parent.stem
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


def fctl_row(dataset: str, name: str, table: str, labels: dict[str, str]):
    """The model of a row, which must point to the printed row with `labels` in the column of its data."""
    row = rows_of(f"fctl/{dataset}")[name]
    column = "" if "dataset" in labels else COLUMNS[dataset]
    assert (row.table, row.row, row.column) == (table, ", ".join(labels.values()), column)
    return spec_of(f"fctl/{dataset}/ablations.yaml:{name}")


@pytest.mark.parametrize("dataset", SETS)
def test_there_is_an_fctl_row_for_every_printed_one_and_it_has_what_that_says(dataset):
    seen = []
    for labels in (row.labels for row in read_table("fctl_table4").rows):
        gpe = labels["gpe"] == "yes"
        # The printed row with embeddings and no context marked is taken for the medium one.
        contexts = () if labels["contexts"] == "none" else tuple(labels["contexts"].split(" + "))
        contexts = ("medium",) if contexts == ("",) else contexts
        seen.append(f"table4_{'_'.join(contexts) or 'none'}{'_gpe' if gpe else ''}")
        spec = fctl_row(dataset, seen[-1], "fctl_table4", labels)
        assert (spec.terms, spec.gpe, spec.ale, spec.lcf) == (contexts, gpe, "none", bool(contexts))
    for labels in (row.labels for row in read_table("fctl_table5").rows):
        if labels["dataset"] != COLUMNS[dataset]:
            continue
        printed = [int(labels[name]) for name in ("local", "medium", "large")]
        seen.append(f"table5_{'_'.join(map(str, printed))}")
        spec = fctl_row(dataset, seen[-1], "fctl_table5", labels)
        sees = [LARGEST["deepglobe"] if f == 0 else f * spec.patch_side for f in spec.factors]
        assert [spec.patch_side, *map(round, sees)] == printed
        assert (0.0 in spec.factors) == (printed[2] == 2448)
    for labels in (row.labels for row in read_table("fctl_table6").rows):
        seen.append(f"table6_{labels['fusion']}")
        spec = fctl_row(dataset, seen[-1], "fctl_table6", labels)
        assert spec.mcf == {"adaptive": "code"}.get(labels["fusion"], labels["fusion"])
    for labels in (row.labels for row in read_table("fctl_table7").rows):
        structure = labels["structure"]
        reads = () if labels["contexts"] == "none" else tuple(labels["contexts"].split(" + "))
        seen.append(f"table7_{structure}{f'_{reads[0]}' if len(reads) == 1 else ''}")
        spec = fctl_row(dataset, seen[-1], "fctl_table7", labels)
        assert spec.ale == {"without": "none", "only": "d"}.get(structure, structure)
        assert (spec.enhanced, spec.lcf) == (reads, structure != "only")
    assert sorted(seen) == sorted(rows_of(f"fctl/{dataset}"))


@pytest.mark.parametrize("dataset", SETS)
def test_the_papers_own_fctl_is_the_fused_one_in_the_forms_that_it_words_otherwise(dataset):
    name = f"fctl/{dataset}/paper"
    changed = {"context_encoder": "trained", "mcf": "squeeze", "learn_upsampling": True}
    assert difference(name, f"fctl/{dataset}/4_fused") == changed
    spec, cfg = spec_of(name), config(name)
    assert (spec.branch, spec.gpe, spec.ale, spec.ale_residual, spec.terms) == (
        "main",
        True,
        "d",
        "full",
        ("local", "medium", "large"),
    )
    assert cfg.INPUT.PATCH_OVERLAP == 120
    assert len(patch_grid(2448, 2448, 508, 120)) == len(patch_grid(2448, 2448, 508, 50)) == 36
    assert set(starting_files(cfg).values()) == {"pretrained/vgg16-397923af.pth"}
    assert len(starting_files(cfg)) == 3


@pytest.mark.parametrize("dataset", SETS)
def test_the_stages_state_the_rows_of_the_main_tables(dataset):
    table = read_table("fctl_table1" if dataset == "deepglobe" else "fctl_table2")
    for prefix, backbone in (("", "VGG16"), ("mitb2_", "MiT-B2"), ("mitb5_", "MiT-B5")):
        plain = "Segformer" if prefix else "FCN-8s"
        rows = {"1_local": (plain, "local"), "4_fused": ("Ours", "high-res")}
        if dataset == "deepglobe":
            rows["3_global"] = (plain, "global")
        for stage, (model, inference) in rows.items():
            labels = {"model": model, "backbone": backbone, "inference": inference}
            row = table.find(**{name: labels[name] for name in table.labels})
            text = " ".join((ROOT / "fctl" / dataset / f"{prefix}{stage}.yaml").read_text().split("\n# "))
            mIoU, F1, Acc = (row.figures[name] for name in ("mIoU", "F1", "Acc"))
            assert f"printed: mIoU {mIoU:.1f}, F1 {F1:.1f}, Acc {Acc:.1f}" in text


def test_the_page_on_closed_sets_names_every_configuration_and_no_other():
    page = (ROOT.parent / "docs" / "closed_set.md").read_text()
    named = set(re.findall(r"`([a-z0-9_]+)`", page))
    assert {source.row or source.path.stem for source in LEAVES} <= named
    assert {name for name in named if re.match(r"(table|figure)\d_", name)} <= {s.row for s in ROWS}
