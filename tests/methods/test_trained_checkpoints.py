"""Checkpoints that were trained before keep loading: key names, shapes, dtypes and options never change.

`trained_checkpoints.json` lists the state dicts of small models as they were written at commit fc61440.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

import rskt_seg
from rskt_seg.errors import CheckpointError

STORED = json.loads(Path(__file__).with_name("trained_checkpoints.json").read_text())
each_model = pytest.mark.parametrize("name", STORED)


def build(name):
    torch.manual_seed(0)
    names = STORED[name]["class_names"]
    return rskt_seg.create_model(name, class_names=names)


def trained(name):
    """A checkpoint as a training run wrote it, with values that differ from those of a new model."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for key, (dtype, *shape) in STORED[name]["tensors"].items():
        values = torch.randint(0, 2, (math.prod(shape),), generator=generator).reshape(shape)
        state[f"sem_seg_head.model.{key}"] = values.to(getattr(torch, dtype))
    stated = {key: STORED[name][key] for key in ("options", "class_names") if STORED[name][key]}
    return {"model": state, "iteration": 9, **stated}


@each_model
def test_the_names_shapes_and_dtypes_of_a_model_are_those_of_trained_checkpoints(name):
    found = {
        key: [str(tensor.dtype).removeprefix("torch."), *tensor.shape]
        for key, tensor in build(name).state_dict().items()
    }
    assert found == STORED[name]["tensors"]


@each_model
def test_the_options_that_a_trained_checkpoint_states_are_those_of_the_model(name):
    """Options that came later have defaults, so a checkpoint that does not state them loads (below)."""
    found = json.loads(json.dumps(asdict(build(name).spec)))
    assert {key: found.get(key) for key in STORED[name]["options"]} == STORED[name]["options"]


@each_model
@pytest.mark.parametrize("source", ["memory", "file"])
def test_a_trained_checkpoint_loads(name, source, tmp_path):
    checkpoint, model = trained(name), build(name)
    if source == "file":
        torch.save(checkpoint, tmp_path / "model_final.pth")
    report = rskt_seg.load_checkpoint(
        model, checkpoint if source == "memory" else tmp_path / "model_final.pth"
    )
    own = model.state_dict()
    assert len(report.converted) == len(own) and not report.dropped
    for key, tensor in own.items():
        assert torch.equal(tensor, checkpoint["model"][f"sem_seg_head.model.{key}"]), key


@each_model
def test_a_trained_checkpoint_with_a_key_less_or_more_is_refused(name):
    for change in (lambda state: state.popitem(), lambda state: state.update(more=torch.ones(1))):
        checkpoint = trained(name)
        change(checkpoint["model"])
        with pytest.raises(CheckpointError, match=r"1 (missing|unexpected)"):
            rskt_seg.load_checkpoint(build(name), checkpoint)
