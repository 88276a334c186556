"""What a synthetic aerial scene can contain, and the class names of each concept.

Eleven land covers and twenty objects. Colours overlap between concepts on purpose (grass and field,
soil, sand and chaparral, water and sea, pavement, road and roofs, ships, tanks and mobile homes):
texture, shape and context tell them apart, colour alone does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from rskt_seg.errors import DatasetError


@dataclass(frozen=True)
class Concept:
    """A land cover or a kind of object.

    Attributes:
        name: Its name.
        kind: "land" (a texture of `rskt_seg.synthetic.land`) or "object" (a drawing of
            `rskt_seg.synthetic.objects`).
        colors: RGB of 0..255; each instance has one of them.
        accents: The same for a second colour.
        hosts: Land covers that an object may lie on.
        height: Length of its shadow in px at scale 1.
    """

    name: str
    kind: str
    colors: tuple[tuple[int, int, int], ...]
    accents: tuple[tuple[int, int, int], ...]
    hosts: tuple[str, ...] = ()
    height: float = 0.0


def _rgb(words: str) -> tuple[tuple[int, int, int], ...]:
    return tuple((int(w[:2], 16), int(w[2:4], 16), int(w[4:], 16)) for w in words.split())


def _land(name: str, colors: str, accents: str) -> Concept:
    return Concept(name, "land", _rgb(colors), _rgb(accents))


def _object(name: str, colors: str, accents: str, hosts: tuple[str, ...], height: float) -> Concept:
    return Concept(name, "object", _rgb(colors), _rgb(accents), hosts, height)


_DRY = ("grass", "bare soil", "pavement", "sand", "field")
_PAVED = ("pavement", "road")
_WET = ("water", "sea")

_TABLE = (
    _land("grass", "6f8f4a 87995a 4f6d3c 9a9a62 a8996a 5a7a48", "93905c 5d7a40 a39c6a"),
    _land("field", "7c944e 9a9a60 a58f5e 5d7d44 b59a68 8a7a5a", "8a7350 6d5b40 a08a5c 55703a"),
    _land("bare soil", "9c7e5a b8a07a 8a6f52 a6896a 9a9286 c2a888", "c0a47c 7d6448 937a5e"),
    _land("sand", "c9b48c b89f78 bfae90 a8987e d0c8b4 b49a72", "dccdaa c4ae86"),
    _land("chaparral", "b0986e a08a62 c0ab80 8f8a5e 9a9080", "5b6a40 6b6d45 4f5f3a"),
    _land("trees", "4d6b3a 5f7d45 466340 6b8046 7c8a50", "26351f 2d3a26 35452a"),
    _land("forest", "4a6838 3a5636 587446 456048", "1c2a1b 22301f"),
    _land("water", "4a6672 3f5a58 5a7068 34505e 56735f 6a6f5a 5f7a88", "4f6f66 3d5a52"),
    _land("sea", "4a6672 5a7f80 34586e 4a6c68 5f7a88 56735f", "d5dfdd c4d3d2"),
    _land("pavement", "8f8c88 a3a09a 78787a b3aea4 6a6a6c a89a88 c0b8a8 958678", "6c6a68 84817c"),
    _land("road", "84837f 6f6f72 999590 5c5d60 a39a8e", "ecebe2 e6dfae"),
    _object("airplane", "e8e8e6 d4d6d8 c2c6ca b4b6b4", "a8382f 2f4f86 3a3f45 c08a2e", ("pavement",), 2.5),
    _object(
        "buildings",
        "a0523f 8a6a55 b9b4aa 6f6f73 d2cec4 7b4a3a 9a8f7c 5e6a74",
        "d9d6cf 8c8c8c",
        _DRY,
        5.0,
    ),
    _object("cars", "dededa 2f3236 a32f2b 35507d 8d8f92 c9c2a8 f0efe9 58604e", "1e242b 2c353d", _PAVED, 1.2),
    _object(
        "court", "4f7d5a 5a7fa0 a8674a 6f9a66", "3f6648 7d8f6a 8a5a45 48688a", ("grass", "pavement"), 0.0
    ),
    _object("dock", "9a8a72 b5ab9a 8a7a68 c2bdb2", "6d604f 857a6a", _WET, 1.0),
    _object(
        "mobile home",
        "dcd8cc c4beb0 b0a894 e6e4dc a9b3b5",
        "8f8a80 a59f92",
        ("grass", "bare soil", "pavement"),
        2.0,
    ),
    _object("ship", "e4e4e0 c9c7c0 7a3b34 3f4f63 a7a199", "f2f2ee 7c6a55 49535c", _WET, 1.2),
    _object(
        "tanks",
        "e4e3dc c8c4b8 b5b2a8 d8d0b8 a5846a",
        "8f8d86 77756f",
        ("bare soil", "pavement", "grass"),
        3.5,
    ),
    _object("baseball diamond", "a87a52 b58a62 96683f", "6f8f4a 7d9655 5f7d45", ("grass", "field"), 0.0),
    _object(
        "basketball court", "b0764a 8a5a45 5f7f9c 7c8a6a", "96523e 48688a 6a4a3a", _PAVED + ("grass",), 0.0
    ),
    _object(
        "ground track field", "a8553f b5674f 8f5a4a", "6f8f4a 5f7d45 7c944e", ("grass", "bare soil"), 0.0
    ),
    _object("bridge", "a8a49c 8f8c88 b8b2a6", "d8d5cc 6f6f72", _WET, 2.5),
    _object("large vehicle", "e6e4de c8bfa8 8f4038 3f5a80 b0b2b4 d0b050", "33383e 50565c", _PAVED, 2.2),
    _object("helicopter", "d8d8d4 4a5a48 a8382f 3a4654 c8b060", "24282c 3a3f44", _PAVED + ("grass",), 1.8),
    _object("swimming pool", "58b0be 6cc0cc 4a9cb4 74b8b0", "e2ddd0 d0c8b8", ("grass", "pavement"), 0.0),
    _object("roundabout", "84837f 6f6f72 999590", "6f8f4a 87995a 5f7d45", ("grass", "pavement", "road"), 0.0),
    _object("soccer ball field", "6f9a50 5f8a48 7fa05a", "5d8642 6b9450 528040", ("grass", "bare soil"), 0.0),
    _object("wall", "b8a894 a89888 c8c0b4 9a7060", "5a5450 6f655c", ("grass", "bare soil", "pavement"), 3.0),
    _object("human", "b03a34 34508a e0ddd4 3a3a3c c8a040", "3a2c24 6a4a38", _DRY + ("road",), 1.6),
    _object("clutter", "8a7a68 9a948c 6d625a 7d8a94", "b0643a d0ccc0 4a6a8a 5a4a3e", _DRY, 1.5),
)

CONCEPTS: MappingProxyType[str, Concept] = MappingProxyType({concept.name: concept for concept in _TABLE})
"""Name -> concept; the position in this table is the value in `Scene.concept_map`."""
INDEX: MappingProxyType[str, int] = MappingProxyType({name: i for i, name in enumerate(CONCEPTS)})
"""Name of a concept -> its value in `Scene.concept_map`."""

_SYNONYMS = {
    "grass": "grass, lawn, meadow",
    "field": "field, farmland, crops, agriculture",
    "bare soil": "bare soil, soil, dirt",
    "sand": "sand, beach",
    "chaparral": "chaparral, shrubs",
    "trees": "trees, tree",
    "forest": "forest, woodland",
    "water": "water, lake, river, pond",
    "sea": "sea, ocean",
    "pavement": "pavement, parking lot",
    "road": "road, street, highway",
    "airplane": "airplane, plane, aircraft",
    "buildings": "buildings, building, house, roof",
    "cars": "cars, car, small vehicle, moving car, static car",
    "court": "court, tennis court",
    "dock": "dock, harbor, pier",
    "mobile home": "mobile home, trailer",
    "ship": "ship, boat",
    "tanks": "tanks, storage tank",
    "baseball diamond": "baseball diamond, baseball field",
    "basketball court": "basketball court",
    "ground track field": "ground track field, running track",
    "bridge": "bridge",
    "large vehicle": "large vehicle, truck, bus",
    "helicopter": "helicopter",
    "swimming pool": "swimming pool, pool",
    "roundabout": "roundabout",
    "soccer ball field": "soccer ball field, football pitch",
    "wall": "wall",
    "human": "human, person",
    "clutter": "clutter, clutter/background, background clutter, background, other",
}
_CATCH_ALL = {
    "vegetation": ("grass", "field", "chaparral", "trees", "forest"),
    "low vegetation": ("grass", "field", "chaparral"),
    "rangeland": ("grass", "chaparral"),
    "barren": ("bare soil", "sand"),
    "impervious surfaces": ("pavement", "road"),
    "urban": ("buildings", "pavement", "road"),
    "vehicle": ("cars", "large vehicle"),
}


NAMES: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {name: (concept,) for concept, names in _SYNONYMS.items() for name in names.split(", ")} | _CATCH_ALL
)
"""Lower-case name -> the concepts it is true of."""

UNSEEN: frozenset[str] = frozenset(
    {"road", "forest", "bridge", "roundabout", "wall", "swimming pool", "clutter", "human"}
    | {"large vehicle", "helicopter", "ground track field", "soccer ball field"}
    | {"baseball diamond", "basketball court"}
)
"""Concepts that no scene of the miniature DLRSD contains."""


def concept_names(concepts: Iterable[str] | None) -> frozenset[str]:
    """Check the names of requested concepts.

    Args:
        concepts: Names; None for all concepts.

    Returns:
        The set of names.

    Raises:
        DatasetError: If a concept is unknown.
    """
    if concepts is None:
        return frozenset(CONCEPTS)
    asked = frozenset(concepts)
    if unknown := sorted(asked - set(CONCEPTS)):
        raise DatasetError(f"unknown scene concepts: {unknown}; known are {', '.join(CONCEPTS)}")
    return asked
