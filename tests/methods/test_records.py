"""Every registered record is complete, and generic code finds in it what it asks for."""

import inspect
import re
from dataclasses import MISSING, FrozenInstanceError, fields
from pathlib import Path

import pytest
import torch

import rskt_seg
from rskt_seg.d2 import DetectronMethod, add_rskt_seg_config
from rskt_seg.d2.methods.registry import detectron_methods
from rskt_seg.methods import create_model, method_of, registered_methods
from rskt_seg.methods.record import NUM_CLASSES, Method
from rskt_seg.methods.use import strategy_options
from rskt_seg.metrics import Evaluation, PaperRows
from rskt_seg.typing import Spec

NAMES = ("road", "tree", "water")
METHODS = registered_methods()
PRESETS = [(method, preset) for method in METHODS for preset in method.presets]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
each_preset = pytest.mark.parametrize(("method", "preset"), PRESETS, ids=[preset for _, preset in PRESETS])


def spec_of(method, preset):
    return method.spec(*([5] if method.is_closed else []), **method.presets[preset])


def small(method):
    """A model of the method that is built quickly."""
    name = next(preset for preset in method.presets if preset.endswith("_tiny"))
    torch.manual_seed(0)
    return create_model(name, class_names=NAMES if method.is_closed else None)


def segmenter(method, **options):
    vocabulary = None if method.is_closed else NAMES
    return rskt_seg.Segmenter(small(method), vocabulary, **options)


@each_preset
def test_a_preset_is_a_frozen_specification_whose_encoders_are_known(method, preset):
    spec = spec_of(method, preset)
    assert isinstance(spec, Spec)
    with pytest.raises(FrozenInstanceError):
        setattr(spec, method.options[-1], None)
    used = [role for role, encoder in method.encoders.items() if encoder.used(spec)]
    assert used, "every model of this package starts from a pretrained encoder"
    assert all(isinstance(encoder.used(spec), bool) for encoder in method.encoders.values())


@each_method
def test_closed_sets_begin_with_the_number_of_classes_and_open_vocabularies_have_none(method):
    assert (method.options[0] == NUM_CLASSES) == method.is_closed
    assert (NUM_CLASSES in method.options) == method.is_closed


@each_method
def test_roles_and_explanations_say_what_they_are(method):
    for role, encoder in method.encoders.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", role) and len(encoder.where) > 20
    for name, explanation in method.explanations.items():
        assert re.fullmatch(r"[a-z_]+", name) and explanation.label and explanation.help
        assert explanation.takes <= set(rskt_seg.methods.ExplanationRequest._fields)


@each_method
def test_training_only_options_and_key_names_are_those_of_the_model(method):
    training, evaluation = method.checkpoint.training_only, method.checkpoint.evaluation_only
    assert {*training, *evaluation} <= set(method.options) and not set(training) & set(evaluation)
    state = small(method).state_dict()
    assert method.checkpoint.output_key in state
    assert method.is_closed == bool(method.checkpoint.class_axes)
    assert not method.is_closed or next(iter(method.checkpoint.class_axes)) in state
    assert not method.checkpoint.is_published(state.keys())


@each_method
def test_what_has_no_figures_in_a_paper_has_no_reference(method):
    spec = spec_of(method, next(iter(method.presets)))
    assert method.reference(spec, "no_such_set") is None
    encoders = dict.fromkeys(method.encoders, "")
    found = method.published_rows(Evaluation(spec, ("no_such_set",), encoders, {}))
    defaults = {each.name: each.default for each in fields(Method)}
    if method.published_rows is defaults["published_rows"]:
        assert found == PaperRows()
    else:  # a paper prints rows for whole benchmarks: the report says why none of them stands there
        assert found.rows == () and "trained on no_such_set, there on" in found.why_none


@each_method
def test_the_model_is_built_by_the_record_and_found_again(method):
    model = small(method)
    assert method_of(model) is method and isinstance(model.spec, method.spec) and not model.training


@each_method
def test_the_detectron2_side_names_its_record_and_its_keys(method):
    from detectron2.config import get_cfg

    record = next(each for each in detectron_methods().values() if each.method is method)
    assert isinstance(record, DetectronMethod)
    cfg = get_cfg()
    add_rskt_seg_config(cfg)
    section = cfg.MODEL[record.section]
    assert set(section) == {option.upper() for option in method.options if option != NUM_CLASSES}
    assert all(role.upper() in cfg.MODEL.ENCODERS for role in method.encoders)


@each_method
def test_the_segmenter_of_a_method_lists_the_options_that_it_takes(method):
    defaults = strategy_options(method)
    assert MISSING not in defaults.values() and not {"model", "vocabulary"} & set(defaults)
    options = segmenter(method).options
    assert list(options) == list(defaults)
    # What is listed can be given back, and then changes nothing.
    assert segmenter(method, **options).options == options


def test_the_help_of_the_segmenter_names_every_option_of_every_strategy():
    text = inspect.getdoc(rskt_seg.Segmenter)
    for method in METHODS:
        for option in strategy_options(method):
            assert re.search(rf"^ +[a-z_, ]*\b{option}\b[a-z_, ]* \(", text, re.MULTILINE), option
    documented = re.findall(r"^    ([a-z_]+(?:, [a-z_]+)*) \(", text, re.MULTILINE)
    options = {option for method in METHODS for option in strategy_options(method)}
    assert {name for names in documented for name in names.split(", ")} == options


def test_the_typed_options_of_the_segmenter_are_those_of_the_strategies():
    from rskt_seg.segmenter import SegmenterOptions

    strategies = {method.strategy for method in METHODS}
    own = {option.name for strategy in strategies for option in fields(strategy)[2:]}
    assert set(SegmenterOptions.__annotations__) == own


PACKAGE = Path(rskt_seg.__file__).parent
GENERIC = sorted(
    path
    for pattern in (
        "segmenter.py",
        "typing.py",
        "checkpoints/*.py",
        "methods/*.py",
        "inference/strategies/*.py",
    )
    for path in PACKAGE.glob(pattern)
    if path.name not in ("builtin.py", "ovrsis.py")  # the list of methods, and a table with rows of several
)


@pytest.mark.parametrize("path", GENERIC, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_generic_files_name_no_method(path):
    words = {word for m in METHODS for word in (m.name, m.title, m.model.__name__, *m.presets)}
    # The package and its console command have the name of one of them, the address of a file that of another.
    text = re.sub(r"rskt[_-]seg\b|yecy749/GSNet\b", "", path.read_text())
    found = [word for word in sorted(words) if re.search(rf"\b{re.escape(word)}\b", text)]
    assert not found, f"{path.name} names {', '.join(found)}: put it into the record of the method"
