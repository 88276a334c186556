"""Who segments with random weights is told so; whoever loaded or trained a model is left alone."""

import copy
import logging
import pickle

import numpy as np
import pytest
import torch

import rskt_seg
from rskt_seg.errors import CheckpointError
from rskt_seg.methods.notices import model_notices
from rskt_seg.segmenter import Segmenter
from tests.stub_models import Colours, FixedColours

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
NAMES = ("water", "trees")
MODELS = [("rskt_tiny", None), ("bicor_tiny", NAMES), ("fctl_tiny", NAMES)]


def build(name="rskt_tiny", classes=None, seed=0):
    torch.manual_seed(seed)
    return rskt_seg.create_model(name, class_names=classes)


@pytest.mark.parametrize(("name", "classes"), MODELS)
def test_random_weights_are_warned_of_once_and_noticed_in_every_result(name, classes, caplog):
    model = build(name, classes)
    with caplog.at_level(logging.WARNING):
        segmenter = Segmenter(model, NAMES)
        results = [segmenter.predict(IMAGE) for _ in range(2)]
    assert sum("random weights" in record.getMessage() for record in caplog.records) == 1
    for result in results:
        (notice,) = [notice for notice in result.notices if "random weights" in notice]
        assert "load_checkpoint" in notice


@pytest.mark.parametrize(("name", "classes"), MODELS)
def test_a_loaded_model_is_not_warned_of_whichever_way_it_was_loaded(name, classes, caplog):
    state = build(name, classes, seed=1).state_dict()
    loaded, filled = build(name, classes), build(name, classes)
    rskt_seg.load_checkpoint(loaded, state)
    filled.load_state_dict(state)
    for model in (loaded, filled):
        assert not any("random" in notice for notice in Segmenter(model, NAMES).predict(IMAGE).notices)
    assert "random weights" not in caplog.text


def test_a_load_that_failed_and_was_caught_leaves_the_warning():
    model = build()
    state = {key: tensor[None] for key, tensor in build(seed=1).state_dict().items()}
    with pytest.raises(CheckpointError):
        rskt_seg.load_checkpoint(model, state)
    assert model_notices(model)


def test_encoders_alone_leave_the_warning():
    model = build()
    rskt_seg.load_encoder(model, "dino", build(seed=1).dino.state_dict())
    assert model_notices(model)


def test_a_step_of_an_optimizer_ends_it():
    model = build("bicor_tiny", NAMES).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, target = torch.rand(2, 3, 64, 64) * 255, torch.randint(0, 2, (2, 64, 64))
    sum(model.losses(model(images), target).values()).backward()
    assert model_notices(model)
    optimizer.step()
    assert not model_notices(model)


def test_it_follows_the_model_and_is_no_part_of_its_state_dict():
    model = build()
    keys = set(model.state_dict())
    for same in (model.to("cpu"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert model_notices(same) and set(same.state_dict()) == keys
    assert keys == set(type(model)(model.spec).state_dict())


def test_models_that_no_record_built_are_taken_for_trained():
    assert model_notices(Colours()) == model_notices(FixedColours()) == ()
