"""The formulas of the work agree with PyTorch's counter wherever both mean the same computation."""

from dataclasses import asdict, replace

import pytest
import torch
from benchmarks.forms import STAGES, build_form, class_names, make_images, prompt_tokens
from benchmarks.work import check_spec, necessary_work, published_work
from hypothesis import given
from hypothesis import strategies as st

import rskt_seg
from rskt_seg.analysis import count_flops, counting
from rskt_seg.encoders.presets import ENCODER_SETS
from rskt_seg.errors import ConfigError
from rskt_seg.models import RSKTSpec


def counted(preset, name, classes, batch=1):
    """Stage -> FLOPs of a form of a model without values; and the model."""
    with torch.device("meta"):
        model = rskt_seg.create_model(preset).eval()
    with counting(model):
        stages = build_form(model, name, "fp32").stages(make_images(model, batch), class_names(classes))
        return {stage: count_flops(call) for stage, call in stages.items()}, model


@pytest.mark.parametrize(("preset", "classes"), [("rskt_tiny", 5), ("rskt_vitb16", 3), ("rskt_vitl14", 2)])
def test_the_plain_form_does_the_published_work_in_every_stage(preset, classes):
    found, model = counted(preset, "plain", classes)
    context = model.encoders.clip.text.context_length
    assert found == {name: asdict(published_work(model.spec, classes, context))[name] for name in STAGES}


@pytest.mark.parametrize(("preset", "classes"), [("rskt_tiny", 5), ("rskt_vitb16", 3)])
def test_the_model_does_the_necessary_work_where_nothing_can_be_reduced_further(preset, classes):
    found, model = counted(preset, "model", classes)
    needed = necessary_work(model.spec, classes, prompt_tokens(model, class_names(classes)))
    for stage in ("text", "remote", "dino", "guidance"):
        assert found[stage] == getattr(needed, stage), stage
    width = model.encoders.clip.vision.width
    folding = 2 * width**3 + 2 * width**2  # two projections of the last block, multiplied anew by each call
    assert needed.clip <= found["clip"] <= needed.clip + folding
    for stage in ("cost", "layers", "decoder"):
        assert found[stage] >= getattr(needed, stage), stage


def test_the_totals_are_those_that_were_counted_for_the_published_code():
    spec = RSKTSpec()
    totals = {classes: published_work(spec, classes, 77).image / 1e9 for classes in (5, 17, 40, 100, 150)}
    assert {classes: round(total) for classes, total in totals.items()} == {
        5: 1190, 17: 1258, 40: 1388, 100: 1730, 150: 2016,
    }  # fmt: skip
    needed = {classes: round(necessary_work(spec, classes, 12).image / 1e9) for classes in (17, 100)}
    assert needed == {17: 1158, 100: 1389}


@given(st.sampled_from(sorted(ENCODER_SETS)), st.integers(1, 300), st.integers(1, 8), st.integers(4, 77))
def test_no_stage_needs_more_than_the_published_code_does(encoder, classes, layers, tokens):
    spec = RSKTSpec(encoder=encoder, num_layers=layers)
    needed, published = necessary_work(spec, classes, tokens), published_work(spec, classes, 77)
    for stage, flops in asdict(needed).items():
        assert 0 < flops <= getattr(published, stage), stage


@pytest.mark.parametrize("changed", [{"fusion": "concat"}, {"dino": False}, {"aggregator": "original"}])
def test_other_models_than_the_published_one_are_refused(changed):
    check_spec(RSKTSpec())
    with pytest.raises(ConfigError, match=f"{next(iter(changed))}=.*found"):
        check_spec(replace(RSKTSpec(), **changed))
