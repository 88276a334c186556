"""A resumed training is the uninterrupted one, bit by bit, however its data are loaded."""

import multiprocessing
import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from rskt_seg.d2.checkpointer import last_checkpoint
from rskt_seg.d2.loaders import training_loader
from tests.d2.resuming import ALONE, METHODS, differences, left, run, write_data

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "/trainer/run/settings/"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    write_data(tmp_path / "data")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(method: str, out, *opts: str):
    return METHODS[method](*ALONE, "SOLVER.MAX_ITER", "5", "OUTPUT_DIR", str(out), *opts)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_stopped_and_resumed_is_the_uninterrupted_one(method, tmp_path):
    run(config(method, tmp_path / "straight"))
    run(config(method, tmp_path / "parts"), stop=2)
    torch.rand(3)
    run(config(method, tmp_path / "parts", "DATALOADER.NUM_WORKERS", "1"), resume=True)
    straight, parts = left(tmp_path / "straight"), left(tmp_path / "parts")
    assert straight["iteration"] == 4
    assert differences(straight, parts) == [f"{SETTINGS}DATALOADER.NUM_WORKERS"]


def test_the_headers_of_the_files_keep_wide_and_high_images_in_batches_of_their_own(tmp_path):
    def mixed(*opts: str) -> list[bool]:
        batches = islice(training_loader(config("rskt", tmp_path, *opts)), 10)
        return [len({entry["width"] > entry["height"] for entry in batch}) > 1 for batch in batches]

    assert not any(mixed())
    assert any(mixed("DATALOADER.ASPECT_RATIO_GROUPING", "False"))


def test_the_comparison_sees_one_step_more_and_one_bit():
    one = {"a": [torch.zeros(2)], "b": {"c": 1}}
    assert differences(one, {"a": [torch.zeros(2)], "b": {"c": 1}}) == []
    assert differences(one, {"a": [torch.tensor([0.0, 1e-45])], "b": {"c": 1}}) == ["/a/0"]
    assert differences(one, {"a": [torch.zeros(2)], "b": {}}) == ["/b/c"]


def test_neither_worker_processes_nor_evaluations_in_between_change_the_weights(tmp_path):
    run(config("bicor", tmp_path / "plain", "DATALOADER.NUM_WORKERS", "0"))
    evaluated = ("DATASETS.TEST", "('DLRSD_val_sem_seg',)", "TEST.EVAL_PERIOD", "2")
    run(config("bicor", tmp_path / "other", "DATALOADER.NUM_WORKERS", "2", *evaluated))
    keys = ("DATALOADER.NUM_WORKERS", "DATASETS.TEST", "TEST.EVAL_PERIOD")
    found = differences(left(tmp_path / "plain"), left(tmp_path / "other"))
    assert sorted(found) == [f"{SETTINGS}{key}" for key in keys]


KILLED = """
import os, signal, sys
from rskt_seg.d2.trainer import Trainer
from tests.d2.test_resume import config, run

class Killed(Trainer):
    def after_step(self):
        super().after_step()
        if self.iter == 3:
            os.kill(os.getpid(), signal.SIGKILL)

import tests.d2.resuming
tests.d2.resuming.Trainer = Killed
run(config("wsss", sys.argv[1], "SOLVER.CHECKPOINT_PERIOD", "3"))
"""


def test_a_run_that_is_killed_between_checkpoints_goes_on_from_the_last(tmp_path):
    out, straight = tmp_path / "killed", tmp_path / "straight"
    paths = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, "-c", KILLED, str(out)], cwd=ROOT, env=os.environ | paths)
    assert process.returncode == -signal.SIGKILL
    assert last_checkpoint(out).name == "model_0000002.pth"
    every = ("SOLVER.CHECKPOINT_PERIOD", "3")
    run(config("wsss", straight, *every))
    assert run(config("wsss", out, *every), resume=True).start_iter == 3
    assert differences(left(straight), left(out)) == []


def test_a_seed_that_is_drawn_is_stated_used_by_resume_and_repeats_the_run(tmp_path):
    any_seed = ("SEED", "-1")
    first = run(config("fctl", tmp_path / "parts", *any_seed), stop=2)
    assert left(tmp_path / "parts")["trainer"]["run"]["seed"] == first.seed >= 0
    resumed = run(config("fctl", tmp_path / "parts", *any_seed), resume=True)
    assert resumed.seed == first.seed
    run(config("fctl", tmp_path / "straight", "SEED", str(first.seed)))
    assert differences(left(tmp_path / "straight"), left(tmp_path / "parts")) == []
    another = run(config("fctl", tmp_path / "another", *any_seed), stop=1)
    assert another.seed != first.seed


def train_in_parts(out: str) -> None:
    """What each of two processes does below, with loader workers that are started as those of a run are."""
    multiprocessing.set_start_method(None, force=True)
    torch.set_num_threads(1)
    for method in ("wsss", "fctl"):
        folder = Path(out, method)
        run(config(method, folder / "straight"))
        run(config(method, folder / "parts"), stop=2)
        run(config(method, folder / "parts"), resume=True)


def test_two_processes_resume_bit_by_bit_too(tmp_path):
    from rskt_seg.d2.compat import launch

    launch(train_in_parts, 2, 1, 0, "auto", (str(tmp_path),), on_cpu=True)
    for method in ("wsss", "fctl"):
        straight, parts = (left(tmp_path / method / name) for name in ("straight", "parts"))
        assert straight["trainer"]["run"]["processes"] == 2
        assert differences(straight, parts) == []
