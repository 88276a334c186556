"""Registration: what is refused, what is undone, and what installed packages can and cannot break."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from torch import nn

import rskt_seg
from rskt_seg.errors import ConfigError
from rskt_seg.inference.strategies import TiledStrategy
from rskt_seg.methods import (
    CheckpointLayout,
    Method,
    create_model,
    find_preset,
    method_of,
    model_names,
    register_method,
    registered_methods,
    unregister_method,
)
from rskt_seg.typing import Spec


@dataclass(frozen=True)
class ToySpec(Spec):
    num_classes: int
    width: int = 4


class Toy(nn.Module):
    """The least that a closed-set model can be."""

    def __init__(self, spec, class_names=None):
        super().__init__()
        self.spec, self.class_names = spec, class_names
        self.head = nn.Conv2d(3, spec.num_classes, 1)


class OtherToy(Toy):
    pass


TOY = Method(
    name="toy",
    title="Toy",
    model=Toy,
    spec=ToySpec,
    presets={"toy_small": {}, "toy_wide": {"width": 8}},
    vocabulary="closed",
    strategy=TiledStrategy,
    checkpoint=CheckpointLayout(),
)


@pytest.fixture
def toy():
    """The toy method, registered until the end of the test."""
    register_method(TOY)
    yield TOY
    unregister_method("toy")


def test_a_registered_method_is_known_by_its_presets_and_its_models(toy):
    assert toy in registered_methods() and {"toy_small", "toy_wide"} <= set(model_names())
    model = create_model("toy_wide", ["road", "tree"])
    assert method_of(model) is toy and find_preset("toy_wide") == (toy, {"width": 8})
    assert model.spec == ToySpec(2, width=8) and tuple(model.class_names) == ("road", "tree")


def test_registering_returns_the_record():
    assert register_method(TOY) is TOY
    unregister_method("toy")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "method 'toy': Toy has the name 'toy' already; choose another"),
        (
            {"name": "other", "model": OtherToy, "presets": {"toy_wide": {}, "other": {}}},
            "method 'other': Toy has the preset toy_wide already; choose another",
        ),
        (
            {"name": "other", "model": OtherToy, "presets": {"other": {}}},
            "method 'other': Toy has the title 'Toy' already; choose another",
        ),
        (
            {"name": "other", "title": "Other", "presets": {"other": {}}},
            "method 'other': Toy has its model class already; choose another",
        ),
    ],
)
def test_a_name_preset_title_or_model_class_that_is_taken_is_refused_in_one_line(toy, changes, message):
    before = registered_methods()
    with pytest.raises(ConfigError) as error:
        register_method(replace(TOY, **changes))
    assert str(error.value) == message and registered_methods() == before


def test_what_built_in_methods_have_is_taken_too():
    for method in registered_methods():
        with pytest.raises(ConfigError, match=f"{method.title} has the name"):
            register_method(replace(TOY, name=method.name))
        with pytest.raises(ConfigError, match=f"{method.title} has the preset"):
            register_method(replace(TOY, presets={next(iter(method.presets)): {}}))


def test_the_same_record_may_be_registered_again(toy):
    before = registered_methods()
    assert register_method(TOY) is TOY and registered_methods() == before


def test_what_is_no_record_is_refused():
    with pytest.raises(ConfigError, match=r"expected a rskt_seg\.methods\.Method; found type"):
        register_method(Toy)


def test_a_model_belongs_to_the_method_of_its_nearest_class(toy):
    other = replace(TOY, name="other", title="Other", model=OtherToy, presets={"other": {}})
    register_method(other)
    try:
        assert method_of(create_model("other", 2)) is other
        assert method_of(create_model("toy_small", 2)) is toy
    finally:
        unregister_method("other")


def test_an_unregistered_method_is_forgotten():
    register_method(TOY)
    model = create_model("toy_small", 2)
    unregister_method("toy")
    assert TOY not in registered_methods() and "toy_small" not in model_names()
    with pytest.raises(ConfigError, match="unknown model 'toy_small'"):
        create_model("toy_small", 2)
    with pytest.raises(ConfigError, match="Toy is the model class of no registered method"):
        method_of(model)
    with pytest.raises(ConfigError, match="no method is called 'toy'; known are"):
        unregister_method("toy")


def test_a_model_of_no_method_is_refused_with_what_to_do():
    model = nn.Conv2d(3, 2, 1)
    for use in (
        lambda: rskt_seg.Segmenter(model),
        lambda: rskt_seg.load_checkpoint(model, model.state_dict()),
        lambda: rskt_seg.load_encoder(model, "clip", "tiny"),
    ):
        with pytest.raises(ConfigError, match=r"Conv2d is .*create_model, or register .*register_method"):
            use()


PACKAGE = """
from dataclasses import replace
from tests.methods.test_registry import TOY
good = replace(TOY, title="Installed Toy")
number = 7
taken = replace(good, title="Another Toy")
"""
ENTRY_POINTS = """[rskt_seg.methods]
absent = no_such_module:METHOD
good = installed_toy:good
number = installed_toy:number
again = installed_toy:good
taken = installed_toy:taken
"""
SCRIPT = """
from rskt_seg.methods import registered_methods
print(*(method.title for method in registered_methods()), sep="\\n")
"""


def test_entry_points_of_installed_packages_add_methods_and_a_broken_one_is_a_warning(tmp_path):
    (tmp_path / "installed_toy.py").write_text(PACKAGE)
    folder = tmp_path / "installed_toy-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-toy\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    known = result.stdout.splitlines()
    assert known == [*(method.title for method in registered_methods()), "Installed Toy"]
    warnings = result.stderr.splitlines()
    assert len(warnings) == 3 and all("rskt_seg.methods" in line for line in warnings)
    assert "absent = no_such_module:METHOD" in warnings[0] and "No module named" in warnings[0]
    assert "number = installed_toy:number" in warnings[1] and "found int" in warnings[1]
    assert "taken = installed_toy:taken" in warnings[2] and "already" in warnings[2]
