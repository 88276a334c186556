"""A resumed training is the uninterrupted one, bit by bit, however its data are loaded."""

import pytest
import torch

from tests.d2.resuming import ALONE, METHODS, differences, left, run, write_data

STEPS = "5"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    write_data(tmp_path / "data")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(method: str, out, *opts: str):
    return METHODS[method]("SOLVER.MAX_ITER", STEPS, *ALONE, "OUTPUT_DIR", str(out), *opts)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_that_is_stopped_and_resumed_is_the_uninterrupted_one(method, tmp_path):
    run(config(method, tmp_path / "straight"))
    run(config(method, tmp_path / "parts"), stop=2)
    torch.rand(3)
    run(config(method, tmp_path / "parts", "DATALOADER.NUM_WORKERS", "1"), resume=True)
    straight, parts = left(tmp_path / "straight"), left(tmp_path / "parts")
    assert straight["iteration"] == 4
    settings = "/trainer/run/settings/DATALOADER.NUM_WORKERS"
    assert differences(straight, parts) == [settings]
