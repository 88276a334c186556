"""What a name says of a model is what the configuration that its record names says."""

from dataclasses import asdict

import pytest

import rskt_seg
from rskt_seg.d2 import load_config
from rskt_seg.d2.methods import method_of
from rskt_seg.d2.specs import built_spec
from rskt_seg.d2.weights import encoder_sources
from rskt_seg.methods import find_preset
from rskt_seg.methods.named import named_models
from rskt_seg.methods.use import strategy_options

each_model = pytest.mark.parametrize("named", named_models(), ids=lambda named: named.name)


@each_model
def test_a_name_builds_the_model_of_its_configuration(named):
    cfg = load_config(named.config)
    method, preset = find_preset(named.preset)
    expected = asdict(built_spec(cfg))
    classes = {"num_classes": expected["num_classes"]} if method.is_closed else {}
    found = asdict(method.spec(**{**classes, **preset, **named.options}))
    if named.weights.package:  # whose file states its model itself
        found = asdict(rskt_seg.load(named.name).model.spec)
    for option in (*method.checkpoint.training_only, *method.checkpoint.evaluation_only):
        found.pop(option), expected.pop(option)
    assert method is method_of(cfg).method and found == expected


@each_model
def test_it_sees_images_as_its_configuration_does(named):
    cfg = load_config(named.config)
    record = method_of(cfg)
    defaults = strategy_options(record.method)
    stated = {"short_side": 96} if named.weights.package else {}  # by the file itself
    assert {**defaults, **named.inference, **stated} == {**defaults, **record.segmenter_options(cfg)}


@each_model
def test_an_encoder_has_the_file_of_its_configuration(named):
    if named.weights.role != "model":
        sources = encoder_sources(load_config(named.config))
        assert list(sources.values()) == [f"pretrained/{named.weights.file}"]
        assert set(sources) <= set(named.weights.roles)
