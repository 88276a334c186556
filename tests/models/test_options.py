"""One checker for the options of every model: types, choices, ranges."""

from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass

import pytest

from rskt_seg.errors import ConfigError
from rskt_seg.models.bicor import BiCoRSpec
from rskt_seg.models.fctl import FCtLSpec
from rskt_seg.models.options import check_options, refuse_unread
from rskt_seg.models.rskt import RSKTSpec
from rskt_seg.models.wsss import PriorWSSSSpec
from rskt_seg.typing import Spec


@dataclass(frozen=True)
class ToySpec(Spec):
    """A field of every type that an option may have."""

    count: int
    flag: bool = False
    weight: float = 0.5
    mode: str = "slow"
    note: str = ""
    sides: tuple[int, ...] = (1, 2)
    factors: tuple[float, ...] = ()

    def __post_init__(self):
        check_options(
            self,
            {"mode": ("slow", "fast")},
            {"count": (2, None), "weight": (0.0, 1.0), "sides": (1, 9), "factors": (0.0, None)},
        )


def test_ints_stand_for_floats_and_lists_for_tuples():
    spec = ToySpec(3, weight=1, sides=[4, 5], factors=[1, 2.5])
    assert spec == ToySpec(3, weight=1.0, sides=(4, 5), factors=(1.0, 2.5))
    assert [type(value) for value in (spec.weight, spec.sides, *spec.factors)] == [float, tuple, float, float]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 1}, "count must be at least 2; found 1"),
        ({"count": True}, "count must be of type int; found True"),
        ({"count": 2.0}, "count must be of type int; found 2.0"),
        ({"flag": 1}, "flag must be of type bool; found 1"),
        ({"flag": "False"}, "flag must be of type bool; found 'False'"),
        ({"weight": 1.5}, r"weight must be between 0.0 and 1.0; found 1.5"),
        ({"weight": float("nan")}, "weight must be between 0.0 and 1.0; found nan"),
        ({"weight": "1"}, "weight must be of type float; found '1'"),
        ({"weight": None}, "weight must be of type float; found None"),
        ({"mode": "medium"}, "mode must be one of slow, fast; found 'medium'"),
        ({"mode": ["slow"]}, r"mode must be one of slow, fast; found \['slow'\]"),
        ({"note": 3}, "note must be of type str; found 3"),
        ({"sides": 3}, "sides must be a tuple of int; found 3"),
        ({"sides": "34"}, "sides must be a tuple of int; found '34'"),
        ({"sides": (3, 4.0)}, r"sides must be a tuple of int; found \(3, 4.0\)"),
        ({"sides": (3, True)}, r"sides must be a tuple of int; found \(3, True\)"),
        ({"sides": (3, 10)}, r"sides must be between 1 and 9; found \(3, 10\)"),
        ({"factors": ("1",)}, r"factors must be a tuple of float; found \('1',\)"),
        ({"factors": (-1,)}, r"factors must be at least 0.0; found \(-1.0,\)"),
    ],
)
def test_values_of_another_type_or_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        ToySpec(**{"count": 2, **options})


def test_an_option_that_nothing_reads_must_keep_its_default():
    refuse_unread(ToySpec(2, flag=True), ("weight", "mode"), "flag=True")
    message = "weight=0.75 has no effect with flag=True; leave it at 0.5 or choose otherwise"
    with pytest.raises(ConfigError, match=message):
        refuse_unread(ToySpec(2, flag=True, weight=0.75), ("mode", "weight"), "flag=True")


@pytest.mark.parametrize("spec", [RSKTSpec, BiCoRSpec, FCtLSpec, PriorWSSSSpec])
def test_every_specification_refuses_a_value_of_another_type_in_every_field(spec):
    assert issubclass(spec, Spec) and is_dataclass(spec)
    needed = {} if spec is RSKTSpec else {"num_classes": 3}
    for field in fields(spec):
        with pytest.raises(ConfigError, match=f"^{field.name} must be "):
            spec(**{**needed, field.name: object()})
    with pytest.raises(FrozenInstanceError):
        spec(**needed).encoder = "tiny"
