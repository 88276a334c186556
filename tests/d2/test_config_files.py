"""The configurations under configs/ovrsis are the published experiments; each says only what it changes."""

import re
from dataclasses import asdict

import pytest

from rskt_seg.d2 import load_config
from rskt_seg.d2.specs import model_spec
from rskt_seg.data.catalog import find_split
from tests.d2.configurations import configurations, name_of, repeated_keys
from tests.d2.conftest import CONFIGS

ALL = configurations(CONFIGS)


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


def test_the_papers_own_forms_are_those_that_it_words_otherwise():
    forms = {
        "cost_projection": True,
        "dino_in_set": True,
        "guided_values": True,
        "text_in_pooling": True,
        "loss": "cross_entropy",
    }
    assert difference("paper", "vitb_dlrsd") == forms
    assert difference("paper_isaid", "vitb_isaid") == forms | {"num_layers": 2}
    for name, base in (("paper", "vitb_dlrsd"), ("paper_isaid", "vitb_isaid")):
        ours, theirs = config(name), config(base)
        assert (ours.SOLVER, ours.INPUT, ours.TEST, ours.DATASETS) == (
            theirs.SOLVER,
            theirs.INPUT,
            theirs.TEST,
            theirs.DATASETS,
        )


def test_the_page_names_every_configuration():
    page = (CONFIGS.parents[1] / "docs" / "open_vocabulary.md").read_text()
    named = set(re.findall(r"`([a-z0-9_]+)(?:\.yaml)?`", page))
    assert {source.path.stem for source in ALL if not source.row} - {"Base"} <= named
