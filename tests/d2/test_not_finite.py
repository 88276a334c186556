"""A training that diverges ends with one line, and leaves whole checkpoints alone."""

import logging

import pytest
import torch
from torch import nn

from rskt_seg.commands.train import main
from rskt_seg.d2.checkpointer import AtomicCheckpointer, last_checkpoint
from rskt_seg.d2.partwise import PartwiseTrainer
from rskt_seg.d2.segmentor import RSSegmentor
from rskt_seg.d2.steps import CheckedAMPTrainer
from rskt_seg.d2.trainer import Trainer
from rskt_seg.errors import NotFiniteError
from tests.d2.conftest import CONFIGS, TINY, tiny_config


def trainer(out, *opts):
    run = Trainer(tiny_config("OUTPUT_DIR", str(out), "SOLVER.CHECKPOINT_PERIOD", "1", *opts))
    run.resume_or_load(resume=False)
    return run


@pytest.fixture
def diverging(monkeypatch):
    """Return a function that makes the losses of one iteration what it is given."""

    def diverge(iteration, value):
        forward, calls = RSSegmentor.forward, []

        def broken(self, entries):
            losses = forward(self, entries)
            calls.append(self.training)
            if self.training and sum(calls) == iteration + 1:
                losses = {name: loss * value for name, loss in losses.items()}
            return losses

        monkeypatch.setattr(RSSegmentor, "forward", broken)

    return diverge


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(data_root, tmp_path, diverging, value):
    diverging(2, value)
    run = trainer(tmp_path, "SOLVER.MAX_ITER", "5", "SOLVER.CLIP_GRADIENTS.ENABLED", "False")
    with pytest.raises(NotFiniteError) as caught:
        run.train()
    text = str(caught.value)
    assert "in iteration 2, at a learning rate of " in text and f"loss_sem_seg {value:g}" in text
    assert "lower SOLVER.BASE_LR" in text and "SOLVER.CLIP_GRADIENTS.ENABLED True" in text
    assert "SOLVER.AMP" not in text and "\n" not in text
    last = last_checkpoint(tmp_path)
    assert last.name == "model_0000001.pth"
    saved = torch.load(last, weights_only=True)["model"]
    assert all(torch.equal(tensor, saved[name]) for name, tensor in run.model.state_dict().items())


def test_in_the_last_iteration_nothing_is_evaluated(data_root, tmp_path, diverging):
    diverging(1, float("nan"))
    with pytest.raises(NotFiniteError, match="in iteration 1"):
        trainer(tmp_path, "SOLVER.MAX_ITER", "2").train()
    assert not (tmp_path / "inference").exists()


def test_the_command_prints_one_line_and_ends_as_for_other_errors(
    data_root, tmp_path, diverging, capsys, caplog
):
    diverging(1, float("nan"))
    config = ["--config-file", str(CONFIGS / "tiny_dlrsd.yaml"), *TINY]
    with caplog.at_level(logging.ERROR):
        assert main([*config, "SOLVER.MAX_ITER", "3", "OUTPUT_DIR", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and "Traceback" not in caplog.text
    (line,) = [line for line in error.splitlines() if "error:" in line]
    assert "SOLVER.CLIP_GRADIENTS.CLIP_VALUE" in line


@pytest.mark.parametrize("step", [CheckedAMPTrainer, PartwiseTrainer])
def test_every_kind_of_step_is_checked_and_all_terms_are_told(step):
    run = object.__new__(step)
    run.iter, run.optimizer = 7, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(NotFiniteError, match=r"in iteration 7, .* 0\.1: loss_a nan, loss_b 1"):
        run._write_metrics({"loss_a": torch.tensor(float("nan")), "loss_b": torch.tensor(1.0)}, 0.0)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_broken_weights_are_never_saved(tmp_path, value):
    model = nn.Linear(2, 2)
    checkpointer = AtomicCheckpointer(model, str(tmp_path))
    checkpointer.save("model_0000001")
    before = (tmp_path / "model_0000001.pth").read_bytes()
    nn.init.constant_(model.bias, value)
    for name in ("model_0000001", "model_0000002"):
        with pytest.raises(NotFiniteError, match=r"is not written.*1 tensor \(bias\)"):
            checkpointer.save(name)
    assert (tmp_path / "model_0000001.pth").read_bytes() == before
    assert last_checkpoint(tmp_path).name == "model_0000001.pth"
    assert not (tmp_path / "model_0000002.pth").exists()


def test_a_run_does_not_resume_from_broken_weights_and_names_the_file(data_root, tmp_path):
    run = trainer(tmp_path, "SOLVER.MAX_ITER", "1")
    run.train()
    path = last_checkpoint(tmp_path)
    content = torch.load(path, weights_only=True)
    name = next(name for name in content["model"] if name.endswith("decoder.head.bias"))
    content["model"][name].fill_(float("nan"))
    torch.save(content, path)
    again = Trainer(tiny_config("OUTPUT_DIR", str(tmp_path)))
    with pytest.raises(RuntimeError, match=rf"{path.name}: .*not finite .*decoder\.head\.bias"):
        again.resume_or_load()
