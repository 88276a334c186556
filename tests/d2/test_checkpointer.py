"""Checkpoints are whole or absent, and are read without running what is inside."""

import os
import pickle

import pytest
import torch
from torch import nn

from rskt_seg.d2.checkpointer import AtomicCheckpointer, last_checkpoint
from rskt_seg.errors import CheckpointError, WeightsNotFoundError


def linear(value: float) -> nn.Linear:
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, value)
    return layer


class Counter:
    """A checkpointable of one number."""

    def __init__(self, value: int) -> None:
        self.value = value

    def state_dict(self) -> dict:
        return {"value": self.value}

    def load_state_dict(self, state: dict) -> None:
        self.value = state["value"]


def test_a_saved_state_comes_back(tmp_path):
    AtomicCheckpointer(linear(3), str(tmp_path), counter=Counter(5)).save("model_0000001", iteration=1)
    model, counter = linear(0), Counter(0)
    extra = AtomicCheckpointer(model, str(tmp_path), counter=counter).load(str(last_checkpoint(tmp_path)))
    assert (model.weight == 3).all()
    assert (counter.value, extra["iteration"]) == (5, 1)


def test_before_the_first_checkpoint_there_is_none(tmp_path):
    assert last_checkpoint(tmp_path) is None
    assert last_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("moment", ["write", "fsync", "replace", "tag"])
@pytest.mark.parametrize("name", ["model_0000002", "model_0000001"])
def test_a_save_that_ends_at_any_moment_leaves_the_last_complete_checkpoint(
    tmp_path, monkeypatch, moment, name
):
    AtomicCheckpointer(linear(1), str(tmp_path)).save("model_0000001")
    checkpointer = AtomicCheckpointer(linear(2), str(tmp_path))

    def killed(*_):
        raise KeyboardInterrupt

    def half_written(_, file):
        file.write(b"PK")
        killed()

    with monkeypatch.context() as patch:
        if moment == "write":
            patch.setattr(torch, "save", half_written)
        elif moment == "tag":
            patch.setattr(checkpointer, "tag_last_checkpoint", killed)
        else:
            patch.setattr(f"rskt_seg.d2.checkpointer.os.{moment}", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save(name)

    model = linear(0)
    AtomicCheckpointer(model, str(tmp_path)).load(str(last_checkpoint(tmp_path)))
    whole = 2 if moment == "tag" and name == "model_0000001" else 1
    assert (model.weight == whole).all()
    checkpointer.save(name)
    AtomicCheckpointer(model, str(tmp_path)).load(str(last_checkpoint(tmp_path)))
    assert (model.weight == 2).all()


@pytest.mark.parametrize("name", ["../model.pth", "", "x" * 300, "x" * 5000])
def test_a_tag_that_names_no_checkpoint_is_told_in_few_words(tmp_path, name):
    (tmp_path / "last_checkpoint").write_text(name)
    with pytest.raises(WeightsNotFoundError, match="must hold the name of a checkpoint beside it") as caught:
        last_checkpoint(tmp_path)
    assert len(str(caught.value)) < 200 + len(str(tmp_path))


def test_a_tag_that_names_a_missing_file_is_told(tmp_path):
    (tmp_path / "last_checkpoint").write_text("model_0000009.pth")
    with pytest.raises(WeightsNotFoundError, match=r"model_0000009\.pth, which does not exist"):
        last_checkpoint(tmp_path)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda tag: os.symlink("/dev/zero", tag)])
def test_a_tag_that_is_no_file_is_told_before_a_run_begins_anew_over_the_checkpoints(tmp_path, make):
    make(tmp_path / "last_checkpoint")
    with pytest.raises(
        WeightsNotFoundError, match="last_checkpoint must name a checkpoint beside it, but it"
    ):
        last_checkpoint(tmp_path)


def test_a_flipped_bit_is_told_and_not_trained_on(tmp_path):
    AtomicCheckpointer(linear(1), str(tmp_path)).save("model_0000001")
    path = last_checkpoint(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\0\0\x80?" * 4, b"\0\0\x80?" * 3 + b"\0\0\x81?"))
    with pytest.raises(CheckpointError, match="damaged: the checksum"):
        AtomicCheckpointer(linear(0), str(tmp_path)).load(str(path))


@pytest.mark.parametrize("suffix", [".pkl", ".pyth"])
def test_files_that_can_run_code_are_refused(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps({"model": {}}))
    with pytest.raises(CheckpointError, match="run code"):
        AtomicCheckpointer(linear(0), str(tmp_path)).load(str(path))


class Touch:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_code_inside_a_checkpoint_does_not_run(tmp_path):
    torch.save({"model": linear(1).state_dict(), "extra": Touch(tmp_path / "ran")}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        AtomicCheckpointer(linear(0), str(tmp_path)).load(str(tmp_path / "model.pth"))
    assert not (tmp_path / "ran").exists()


def test_a_truncated_checkpoint_and_one_without_a_model_are_told(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"model": linear(1).state_dict()}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.pth: cannot be read"):
        AtomicCheckpointer(linear(0), str(tmp_path)).load(str(path))
    torch.save({"weights": torch.zeros(1), "model": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="must have an entry 'model'"):
        AtomicCheckpointer(linear(0), str(tmp_path)).load(str(path))
