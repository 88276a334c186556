"""The file of the tiny model follows from the checkpoint alone: rounded to half, the same bytes each time."""

import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

import rskt_seg
from rskt_seg.checkpoints.fetch import sha256_of
from rskt_seg.checkpoints.files import read_weights

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    import train_tiny_model

    return train_tiny_model


def test_a_checkpoint_becomes_the_same_file_each_time(tool, tmp_path):
    torch.manual_seed(0)
    model = rskt_seg.create_model("rskt_tiny")
    facts = {"options": asdict(model.spec), "inference": {"short_side": 96}, "trained_on": [{"name": "a"}]}
    digests = []
    for number in range(4):
        source = tmp_path / f"{number}.pth"
        torch.save({"model": model.state_dict(), **facts}, source)
        target = tmp_path / str(number) / "tiny.safetensors"
        target.parent.mkdir()
        digests.append(tool.write_half(source, target))
        assert target.with_suffix(".sha256").read_text() == f"{sha256_of(target)}  tiny.safetensors\n"
    assert len(set(digests)) == 1
    written = read_weights(target)
    assert written.options == {**facts["options"], "templates": list(model.spec.templates)}
    assert (written.inference, written.trained_on) == (facts["inference"], ({"name": "a"},))
    assert written.limits == tool.MODEL_LIMITS
    state = model.state_dict()
    assert all(torch.equal(written.state[key], state[key].half()) for key in state)
