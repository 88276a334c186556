"""A checkpoint says what it was trained on, and evaluations believe it."""

import json

import pytest
import torch

import rskt_seg
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.d2 import load_config
from rskt_seg.d2.benchmark import Benchmark, evaluate
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.trained_sets import TrainedSet, sets_to_train, stated_sets, trained_sets
from rskt_seg.d2.trainer import Trainer
from rskt_seg.errors import CheckpointError
from rskt_seg.methods.export import export_model
from tests.d2.conftest import CONFIGS, tiny_config

TRAIN, TEST = "DLRSD_train_sem_seg", "UDD5_all_sem_seg"


def begun(folder, *opts: str, resume: bool = False):
    """The file that a run leaves which was stopped before its first step."""
    folder.mkdir(exist_ok=True)
    trainer = Trainer(tiny_config("OUTPUT_DIR", str(folder), "SOLVER.MAX_ITER", "1", *opts))
    trainer.resume_or_load(resume=resume)
    trainer.checkpointer.save("model_final", iteration=0)
    return str(folder / "model_final.pth")


def names(path: str) -> list[str]:
    return [each.name for each in stated_sets(path)]


def test_an_evaluation_goes_by_what_the_checkpoint_was_trained_on(data_root, tmp_path, caplog):
    path = begun(tmp_path / "run", "DATASETS.TRAIN", f"('{TRAIN}',)")
    out = ("OUTPUT_DIR", str(tmp_path / "out"), "DATASETS.TEST", f"('{TRAIN}', '{TEST}')")
    evaluate(tiny_config("MODEL.WEIGHTS", path, "DATASETS.TRAIN", f"('{TEST}',)", *out))
    report = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert report["trained_on"] == [TRAIN]
    inside = {name: row["contains_training_images"] for name, row in report["datasets"].items()}
    assert inside == {TRAIN: True, TEST: False}
    assert report["datasets"][TRAIN]["unseen"]["classes"] == 0
    assert f"{path} states that it was trained on {TRAIN}: that, not DATASETS.TRAIN ({TEST})" in caplog.text


def test_who_agrees_hears_nothing_and_files_that_state_nothing_are_those_of_the_configuration(
    data_root, tmp_path, caplog
):
    path = begun(tmp_path / "run", "DATASETS.TRAIN", f"('{TRAIN}',)")
    cfg = tiny_config("DATASETS.TRAIN", f"('{TRAIN}',)")
    assert trained_sets(cfg, path) == sets_to_train(cfg) == stated_sets(path)
    bare = tmp_path / "bare.pth"
    torch.save(read_weights(path).state, bare)
    assert stated_sets(str(bare)) == () and trained_sets(cfg, str(bare)) == sets_to_train(cfg)
    assert "trained on" not in caplog.text


def test_what_came_before_a_run_is_stated_too_also_when_it_is_resumed(data_root, tmp_path):
    first = begun(tmp_path / "a", "DATASETS.TRAIN", f"('{TRAIN}',)")
    more = ("DATASETS.TRAIN", f"('{TEST}',)")
    assert names(begun(tmp_path / "b", *more, "MODEL.WEIGHTS", first)) == [TRAIN, TEST]
    assert names(begun(tmp_path / "b", *more, resume=True)) == [TRAIN, TEST]


def test_an_exported_model_states_the_same(data_root, tmp_path):
    path = begun(tmp_path / "run", "DATASETS.TRAIN", f"('{TRAIN}',)")
    model = plain_model(Trainer.build_model(tiny_config()))
    target = tmp_path / "model.safetensors"
    export_model(model, path, target)
    assert stated_sets(str(target)) == stated_sets(path) != ()
    rskt_seg.load_checkpoint(model, target)


@pytest.mark.parametrize(
    "entry", [{"name": "a"}, "a", {"name": "a", "dataset": "a", "split": "", "classes": 3}]
)
def test_a_damaged_statement_is_named(tmp_path, entry):
    path = tmp_path / "damaged.pth"
    torch.save({"model": {"weight": torch.zeros(1)}, "trained_on": [entry]}, path)
    with pytest.raises(CheckpointError, match=r"damaged\.pth: .*trained on must have name, .*damaged"):
        stated_sets(str(path))


def test_a_set_that_is_not_registered_here_keeps_its_classes():
    entry = TrainedSet("farm_train_sem_seg", "farm", "train", ("road", "tree"))._asdict()
    found = TrainedSet.stated(json.loads(json.dumps(entry)), "model.pth")
    assert found.classes == ("road", "tree") and not found.holds_images_of(TEST)


def test_a_run_from_weights_that_state_nothing_states_nothing(data_root, tmp_path, caplog):
    first = begun(tmp_path / "a", "DATASETS.TRAIN", f"('{TRAIN}',)")
    bare = tmp_path / "bare.pth"
    torch.save(read_weights(first).state, bare)
    more = ("DATASETS.TRAIN", f"('{TEST}',)", "MODEL.WEIGHTS", str(bare))
    path = begun(tmp_path / "b", *more)
    assert "bare.pth does not state what it was trained on" in caplog.text
    assert names(path) == names(begun(tmp_path / "b", *more, resume=True)) == []


def test_the_row_of_the_paper_is_that_of_what_was_trained_on(data_root, tmp_path):
    path = begun(tmp_path / "run", "DATASETS.TRAIN", f"('{TRAIN}',)")
    sets = stated_sets(path)
    cfg = load_config(
        str(CONFIGS / "vitb_dlrsd.yaml"), ("DATASETS.TRAIN", f"('{TEST}',)", "MODEL.DEVICE", "cpu")
    )
    main, *_ = Benchmark(cfg, path, sets).about.published.rows
    assert main.labels["trained_on"] == "DLRSD"
    assert Benchmark(cfg, path, sets_to_train(cfg)).about.published.rows == ()


def test_a_stage_counts_for_the_next(data_root, tmp_path, monkeypatch):
    first = begun(tmp_path / "a", "DATASETS.TRAIN", f"('{TRAIN}',)")
    monkeypatch.setattr("rskt_seg.d2.trainer.start_training", lambda *_: {})  # only FCtL has stages
    trainer = Trainer(tiny_config("OUTPUT_DIR", str(tmp_path), "DATASETS.TRAIN", f"('{TEST}',)"))
    trainer.cfg = trainer.cfg.clone()
    trainer.cfg.defrost()
    trainer.cfg.MODEL.START_FROM = first
    trainer.resume_or_load(resume=False)
    assert [each["name"] for each in trainer.checkpointer.stated["trained_on"]] == [TRAIN, TEST]
