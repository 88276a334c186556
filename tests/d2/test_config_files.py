"""The configurations under configs/ovrsis are the published experiments; each says only what it changes."""

from dataclasses import asdict, replace

import pytest

from rskt_seg.d2 import load_config
from rskt_seg.d2.specs import model_spec
from rskt_seg.data.catalog import find_split
from rskt_seg.models.rskt import RSKT
from tests.d2.configurations import configurations, name_of, repeated_keys
from tests.d2.conftest import CONFIGS

ALL = configurations(CONFIGS)
ROWS = {2: 14, 3: 7, 4: 3, 5: 10, 6: 4}


def config(name: str):
    """The configuration of a file or, where the name starts with that of a table, of a row."""
    return load_config(
        str(CONFIGS / (f"ablations.yaml:{name}" if name.startswith("table") else f"{name}.yaml"))
    )


def spec_of(name: str) -> dict:
    return asdict(model_spec(config(name)))


def difference(name: str, base: str) -> dict:
    ours, theirs = spec_of(name), spec_of(base)
    return {key: value for key, value in ours.items() if value != theirs[key]}


@pytest.mark.parametrize("source", ALL, ids=name_of)
def test_every_configuration_loads_and_names_known_datasets(source):
    cfg = load_config(str(source))
    model_spec(cfg)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        find_split(name)


@pytest.mark.parametrize("source", ALL, ids=name_of)
def test_no_configuration_repeats_its_base(source):
    assert repeated_keys(source) == set()


def test_every_distinct_model_builds_at_a_small_size():
    specs = set()
    for source in ALL:
        spec = replace(model_spec(load_config(str(source))), encoder="tiny", hidden_dim=16)
        specs.add(replace(spec, num_layers=min(spec.num_layers, 1)))
    for spec in specs:
        assert RSKT(spec).spec == spec


@pytest.mark.parametrize(
    ("name", "encoder", "layers", "dataset"),
    [
        ("vitb_dlrsd", "vitb16", 5, "DLRSD"),
        ("vitb_isaid", "vitb16", 3, "iSAID"),
        ("vitl_dlrsd", "vitl14", 5, "DLRSD"),
        ("vitl_isaid", "vitl14", 2, "iSAID"),
    ],
)
def test_the_main_files_are_the_published_experiments(name, encoder, layers, dataset):
    cfg = config(name)
    spec, data = model_spec(cfg), cfg.DATASETS
    assert (spec.encoder, spec.num_layers) == (encoder, layers)
    assert [*data.TRAIN, *data.TEST] == [f"{dataset}_{split}_sem_seg" for split in ("train", "val")]
    assert set(difference(name, "Base")) <= {"encoder", "num_layers"}
    solver, images = cfg.SOLVER, cfg.INPUT
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.CLIP_MULTIPLIER) == ("ADAMW", 2e-4, 0.01)
    assert (solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_EMBED) == (1e-4, 0, 0)
    assert (solver.MAX_ITER, solver.IMS_PER_BATCH, solver.CHECKPOINT_PERIOD) == (30000, 8, 5000)
    assert (solver.LR_SCHEDULER_NAME, solver.WARMUP_ITERS) == ("WarmupCosineLR", 0)
    clipping = solver.CLIP_GRADIENTS
    assert (clipping.ENABLED, clipping.CLIP_TYPE, clipping.CLIP_VALUE) == (True, "full_model", 0.01)
    assert (images.MIN_SIZE_TRAIN, images.SIZE_DIVISIBILITY) == ((384,), 384)
    assert (images.CROP.ENABLED, images.CROP.TYPE, tuple(images.CROP.SIZE)) == (True, "absolute", (384, 384))
    assert (images.MIN_SIZE_TEST, images.MAX_SIZE_TEST, images.FORMAT) == (640, 2560, "RGB")
    assert (images.COLOR_AUG_SSD, images.RANDOM_FLIP) == (True, "horizontal")
    assert (cfg.TEST.EVAL_PERIOD, cfg.TEST.SLIDING_WINDOW, cfg.TEST.AUG.ENABLED) == (5000, False, False)
    assert not solver.AMP.ENABLED


@pytest.mark.parametrize("table", ROWS)
def test_there_is_a_configuration_for_every_row_of_the_tables(table):
    assert len([source for source in ALL if source.row.startswith(f"table{table}_")]) == ROWS[table]


def test_the_first_row_of_table_2_has_no_component_and_the_last_has_all():
    bare = {"rotations": False, "dino": False, "remote_clip": False, "aggregator": "original"}
    for dataset in ("dlrsd", "isaid"):
        assert difference(f"table2_{dataset}_none", f"vitb_{dataset}") == bare
        assert difference(f"table2_{dataset}_ri_dino_rst_rsf", f"vitb_{dataset}") == {}
        without = {k: v for k, v in bare.items() if k != "rotations"}
        assert difference(f"table2_{dataset}_ri", f"vitb_{dataset}") == without


def test_table_3_changes_the_dino_file_and_nothing_else_for_natural_images():
    natural, remote = (config(f"table3_rotate_{kind}_rclip") for kind in ("ndino", "rsdino"))
    assert natural.MODEL.ENCODERS.DINO != remote.MODEL.ENCODERS.DINO
    assert natural.MODEL.RSKT == remote.MODEL.RSKT


def test_tables_4_5_and_6_vary_what_they_say():
    fusions = [spec_of(f"table4_{name}")["fusion"] for name in ("mean", "concat", "separate")]
    assert fusions == ["mean", "concat", "separate"]
    for dataset in ("dlrsd", "isaid"):
        layers = [spec_of(f"table5_{dataset}_n{n}")["num_layers"] for n in range(2, 7)]
        assert layers == [2, 3, 4, 5, 6]
    for clip in ("frozen", "attention"):
        for dino in ("frozen", "attention"):
            spec = spec_of(f"table6_clip_{clip}_dino_{dino}")
            assert (spec["clip_finetune"], spec["dino_finetune"]) == (clip, dino)
