"""Options that follow from classes that no configuration foresaw."""

import pytest

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss import PriorWSSSSpec
from rskt_seg.models.wsss.classes import find_channels
from rskt_seg.models.wsss.fit import changed_options, fit_to_classes
from rskt_seg.models.wsss.text import describe_classes

TINY = {"encoder": "tiny", "dino": "tiny", "clip_levels": (1, 2, 3), "first_layer": 3}


def fitted(names, **options):
    asked = PriorWSSSSpec(num_classes=len(names), **TINY, **options)
    spec = fit_to_classes(asked, names)
    describe_classes(spec, find_channels(names, spec.background).foreground)  # it can be trained
    return asked, spec


def test_classes_that_are_foreseen_change_nothing():
    asked, spec = fitted(("background", "ship", "harbor"), descriptions="tiny", background_power=0.5)
    assert spec is asked


@pytest.mark.parametrize("names", [("silo", "canal"), ("ship", "background"), ("ship",)])
def test_without_a_background_in_its_place_there_is_none(names):
    _, spec = fitted(names, descriptions="tiny", background_power=0.5)
    assert (spec.background, spec.background_power) == ("none", 1.0)


def test_a_class_without_descriptions_leaves_the_names_alone():
    asked, spec = fitted(("background", "ship", "silo"), descriptions="tiny", topk=2, clusters=6)
    assert changed_options(asked, spec) == {"descriptions": "", "tpe": False, "topk": 4, "clusters": 8}
    assert spec.background == "complement"


def test_what_the_user_chose_by_name_is_refused_and_never_replaced(tmp_path):
    with pytest.raises(ConfigError, match="needs exactly one class named 'clutter'"):
        fitted(("road", "tree"), background="class:clutter")
    own = str(tmp_path / "own.json")
    asked = PriorWSSSSpec(num_classes=2, descriptions=own, **TINY)
    assert fit_to_classes(asked, ("background", "tree")) is asked
