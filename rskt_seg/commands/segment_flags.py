"""What the flags of `rskt-seg segment` state of the methods, without importing their models.

The records of the methods say the same, and a test holds this table to them; but to ask them takes the
seconds in which torch is imported, for which `--help` and a mistyped flag should not wait.
"""

import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import NamedTuple

_REGISTRY = "rskt_seg.methods.registry"
_GROUP = "rskt_seg.methods"
_COST_VOLUMES = ("RSKT-Seg", "CAT-Seg", "OVRS", "GSNet")


class Drawing(NamedTuple):
    """A flag that draws an explanation.

    Attributes:
        help: One line for the command line.
        takes: Optional fields of a request that it reads.
    """

    help: str
    takes: frozenset[str] = frozenset()


class FlagFacts(NamedTuple):
    """What flags state of the methods.

    Attributes:
        readers: Option of `Segmenter` -> titles of the methods whose models read it.
        drawings: Name of an explanation -> its flag.
        precisions: Names of the precisions.
    """

    readers: Mapping[str, tuple[str, ...]]
    drawings: Mapping[str, Drawing]
    precisions: tuple[str, ...]


BUILTIN = FlagFacts(
    {
        "sliding": _COST_VOLUMES,
        "views": ("BiCoR-Seg", "FCtL", "prior WSSS"),
        "crf": ("prior WSSS",),
        "synonyms": _COST_VOLUMES,
        "padding": ("RSKT-Seg", "BiCoR-Seg", "CAT-Seg", "OVRS", "GSNet"),
    },
    {
        "cost_maps": Drawing("models of cost volumes: draw the cost maps (figure 5 of the RSKT-Seg paper)"),
        "heatmaps": Drawing("BiCoR-Seg: draw the class heatmaps (figure 5 of its paper)"),
        "context_maps": Drawing(
            "FCtL: draw what the contexts did for one patch (figures 7, 10 and 11 of its paper)",
            frozenset({"at"}),
        ),
        "cams": Drawing(
            "weakly supervised: draw the class activation maps of one tile, from CLIP's to the pseudo label",
            frozenset({"at", "present", "truth"}),
        ),
    },
    ("fp32", "bf16", "fp16"),
)
"""Those of the methods of this package."""


def flag_facts() -> FlagFacts:
    """Return what flags state of all methods; if others may be registered, their records are asked."""
    if _REGISTRY in sys.modules or entry_points(group=_GROUP):
        return registered_facts()
    return BUILTIN


def registered_facts() -> FlagFacts:
    """Return what flags state of the registered methods, as their records say; torch is imported for it."""
    from rskt_seg.methods.optimize import PRECISIONS
    from rskt_seg.methods.registry import registered_methods
    from rskt_seg.methods.use import known_explanations, strategy_options

    options = {each.title: strategy_options(each) for each in registered_methods()}
    readers = {
        name: tuple(title for title, known in options.items() if name in known) for name in BUILTIN.readers
    }
    drawings = {name: Drawing(each.help, each.takes) for name, each in known_explanations().items()}
    return FlagFacts(readers, drawings, tuple(PRECISIONS))
