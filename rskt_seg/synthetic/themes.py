"""Themes: kinds of places, each with its land covers and the objects found there."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from rskt_seg.errors import DatasetError


@dataclass(frozen=True)
class Group:
    """Objects of one concept.

    Attributes:
        concept: Name of the concept.
        count: Range of how many.
        arrangement: "scatter", "rows" (a grid, all with the same heading up to half turns), "shore" (from the
            shore of the host outwards) or "crossing" (across the host).
        pitch: (along, across) of the grid in px at scale 1.
        turn: Heading of the objects relative to their row, in degrees.
        chance: Probability that the group occurs.
    """

    concept: str
    count: tuple[int, int]
    arrangement: str = "scatter"
    pitch: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    chance: float = 1.0


@dataclass(frozen=True)
class Theme:
    """A kind of place.

    Attributes:
        name: Its name.
        layout: Kind of layout of `rskt_seg.synthetic.land.layout`.
        regions: For each region of the layout the land covers that it may have.
        focus: Concepts without which the theme makes no sense.
        groups: Objects that may occur.
        street: Land covers of a strip that may cross the scene.
        weight: How often it is drawn relative to the others.
    """

    name: str
    layout: str
    regions: tuple[tuple[str, ...], ...]
    focus: tuple[str, ...]
    groups: tuple[Group, ...] = ()
    street: tuple[str, ...] = ()
    weight: float = 1.0


def _choices(words: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(word.strip() for word in part.split("|")) for part in words.split(","))


_CARS = Group("cars", (4, 10), "rows", (6.2, 14.5), 90)
_STRAY_CARS = Group("cars", (2, 5))
_HOUSES = Group("buildings", (3, 7), "rows", (34, 30))
_HOUSE = Group("buildings", (1, 3), chance=0.7)
_TREES = Group("trees", (3, 9), chance=0.8)
_SHIPS = Group("ship", (1, 4), chance=0.8)
_HUMANS = Group("human", (4, 14), chance=0.5)
_TRUCKS = Group("large vehicle", (2, 6), chance=0.6)
_POOLS = Group("swimming pool", (1, 4), chance=0.6)
_WALLS = Group("wall", (1, 2), chance=0.4)
_HEAPS = Group("clutter", (1, 3), chance=0.4)

THEMES: tuple[Theme, ...] = (
    Theme(
        "airport",
        "voronoi",
        _choices("pavement, pavement, pavement, grass|bare soil"),
        ("airplane",),
        (
            Group("buildings", (1, 2), chance=0.4),
            Group("airplane", (2, 6), "rows", (42, 44)),
            Group("airplane", (1, 3)),
            Group("helicopter", (1, 2), chance=0.4),
            _STRAY_CARS,
            _TRUCKS,
        ),
        weight=2.3,
    ),
    Theme(
        "beach",
        "bands",
        _choices("sea, sand, grass|chaparral|trees|bare soil"),
        ("sea", "sand"),
        (_SHIPS, _HUMANS),
    ),
    Theme("open sea", "voronoi", _choices("sea"), ("sea", "ship"), (Group("ship", (2, 6)),), weight=0.5),
    Theme(
        "harbour",
        "bands",
        _choices("water|sea, pavement|grass|bare soil"),
        ("dock", "ship"),
        (Group("dock", (2, 4), "shore"), Group("ship", (1, 3)), _HOUSE, _STRAY_CARS, _HEAPS),
        weight=2.2,
    ),
    Theme(
        "farmland",
        "parcels",
        _choices("field, field, field, bare soil|grass|field, field, grass|trees"),
        ("field",),
        (Group("buildings", (1, 2), chance=0.3), Group("trees", (2, 6), chance=0.5)),
        ("bare soil", "road"),
        weight=1.5,
    ),
    Theme(
        "chaparral",
        "voronoi",
        _choices("chaparral, chaparral, chaparral, bare soil|sand|grass"),
        ("chaparral",),
        weight=1.5,
    ),
    Theme(
        "dunes",
        "voronoi",
        _choices("sand, sand, chaparral|grass, bare soil"),
        ("sand",),
        (_HUMANS,),
        weight=0.8,
    ),
    Theme(
        "quarry",
        "voronoi",
        _choices("bare soil, bare soil, bare soil, grass|sand"),
        ("bare soil",),
        (Group("buildings", (1, 2), chance=0.3), _TRUCKS, _HEAPS),
        ("pavement", "road"),
        weight=0.5,
    ),
    Theme(
        "suburb",
        "voronoi",
        _choices("grass, grass, grass|trees, bare soil|grass"),
        ("buildings",),
        (_HOUSES, _POOLS, _WALLS, _STRAY_CARS, _TREES),
        ("pavement", "road"),
        weight=1.0,
    ),
    Theme(
        "mobile home park",
        "voronoi",
        _choices("grass|bare soil, pavement, grass|pavement|bare soil"),
        ("mobile home",),
        (Group("mobile home", (8, 20), "rows", (12.5, 28), 90), _STRAY_CARS, Group("trees", (2, 6))),
        ("pavement", "road"),
        weight=2.3,
    ),
    Theme(
        "car park",
        "voronoi",
        _choices("pavement, pavement, pavement, grass|bare soil"),
        ("cars", "pavement"),
        (
            Group("buildings", (1, 2), chance=0.5),
            replace(_CARS, count=(8, 20)),
            replace(_CARS, count=(8, 20)),
            Group("trees", (1, 4), chance=0.5),
            _HUMANS,
        ),
        weight=1.6,
    ),
    Theme(
        "tank farm",
        "voronoi",
        _choices("bare soil|pavement, bare soil|pavement|grass, grass"),
        ("tanks",),
        (Group("tanks", (4, 9), "rows", (28, 28)), Group("tanks", (1, 3)), _HOUSE, _HEAPS),
        weight=1.5,
    ),
    Theme(
        "tennis club",
        "voronoi",
        _choices("grass, grass|pavement, grass|pavement"),
        ("court",),
        (
            Group("court", (2, 6), "rows", (41, 23)),
            Group("basketball court", (1, 2), chance=0.4),
            _HOUSE,
            _CARS,
            _TREES,
        ),
        ("pavement", "road"),
        weight=2.0,
    ),
    Theme(
        "river",
        "river",
        _choices("grass|trees|field|bare soil, water, grass|trees|chaparral|sand"),
        ("water",),
        (Group("bridge", (1, 1), "crossing", chance=0.5), _SHIPS, _HOUSE),
        weight=1.2,
    ),
    Theme(
        "lake",
        "voronoi",
        _choices("water, water, grass|trees, trees|sand|bare soil"),
        ("water",),
        (Group("dock", (1, 1), "shore"), _SHIPS, _TREES),
        weight=0.9,
    ),
    Theme(
        "woods",
        "voronoi",
        _choices("trees, trees, trees, grass|field|bare soil"),
        ("trees",),
        (_HOUSE,),
        weight=0.9,
    ),
    Theme(
        "meadow",
        "voronoi",
        _choices("grass, grass, grass, trees|field|bare soil"),
        ("grass",),
        (_TREES, _HOUSE),
        ("bare soil",),
        0.7,
    ),
    Theme(
        "industry",
        "voronoi",
        _choices("pavement, pavement, pavement|bare soil, grass"),
        ("buildings", "pavement"),
        (
            Group("buildings", (2, 5), "rows", (40, 34)),
            Group("tanks", (1, 3), chance=0.5),
            _CARS,
            _TRUCKS,
            _WALLS,
            _HEAPS,
        ),
        weight=0.6,
    ),
    Theme(
        "pine forest",
        "voronoi",
        _choices("forest, forest, forest|trees, grass|water|bare soil"),
        ("forest",),
        (),
        ("road", "bare soil"),
        1.2,
    ),
    Theme(
        "highway",
        "voronoi",
        _choices("grass|bare soil|field, grass|forest|trees, grass"),
        ("road",),
        (Group("roundabout", (1, 1), chance=0.4), Group("large vehicle", (3, 8)), _STRAY_CARS, _TREES),
        ("road",),
        1.5,
    ),
    Theme(
        "crossroads",
        "voronoi",
        _choices("grass, grass|pavement"),
        ("roundabout",),
        (Group("roundabout", (1, 2)), _HOUSE, _STRAY_CARS),
        ("road",),
        0.8,
    ),
    Theme(
        "depot",
        "voronoi",
        _choices("pavement|road, pavement"),
        ("large vehicle",),
        (Group("large vehicle", (6, 14), "rows", (9.5, 29), 90), _HOUSE),
    ),
    Theme(
        "heliport",
        "voronoi",
        _choices("pavement, pavement|grass"),
        ("helicopter",),
        (Group("helicopter", (2, 5)), _HOUSE),
        weight=0.9,
    ),
    Theme(
        "stadium",
        "voronoi",
        _choices("grass, grass"),
        ("ground track field",),
        (Group("ground track field", (1, 2)), _TREES),
        weight=0.9,
    ),
    Theme(
        "football club",
        "voronoi",
        _choices("grass, grass|bare soil"),
        ("soccer ball field",),
        (Group("soccer ball field", (1, 3)), _TREES),
    ),
    Theme(
        "ball park",
        "voronoi",
        _choices("grass, grass"),
        ("baseball diamond",),
        (Group("baseball diamond", (2, 4)), _TREES),
    ),
    Theme(
        "school yard",
        "voronoi",
        _choices("pavement, grass|pavement"),
        ("basketball court",),
        (Group("basketball court", (2, 5), "rows", (32, 20)), _HUMANS, _HOUSE),
    ),
    Theme(
        "villas",
        "voronoi",
        _choices("grass, grass, pavement"),
        ("swimming pool",),
        (_HOUSES, Group("swimming pool", (3, 6)), _TREES),
        ("road", "pavement"),
    ),
    Theme(
        "crossing",
        "river",
        _choices("grass|trees|forest, water, grass|field|bare soil"),
        ("bridge",),
        (Group("bridge", (1, 2), "crossing"), _SHIPS),
        weight=1.3,
    ),
    Theme(
        "square",
        "voronoi",
        _choices("pavement, pavement|grass, sand|grass"),
        ("human",),
        (Group("wall", (1, 2), chance=0.5), Group("human", (14, 36)), _HEAPS),
        weight=1.2,
    ),
    Theme(
        "facades",
        "voronoi",
        _choices("grass|pavement, pavement|bare soil"),
        ("wall",),
        (Group("wall", (2, 4)), _STRAY_CARS, _HUMANS),
        weight=0.9,
    ),
    Theme(
        "scrapyard",
        "voronoi",
        _choices("bare soil, pavement|bare soil|grass"),
        ("clutter",),
        (Group("clutter", (4, 9)), _TRUCKS),
    ),
)
"""Every kind of place; those that a set of concepts allows are drawn in proportion to their weight."""


def allowed_themes(concepts: Collection[str]) -> tuple[Theme, ...]:
    """Return the themes that can be drawn with these concepts only, without objects of other concepts.

    Args:
        concepts: Names of concepts.

    Returns:
        The themes, without regions, streets and groups of other concepts.

    Raises:
        DatasetError: If there is none.
    """
    usable = []
    for theme in THEMES:
        regions = tuple(tuple(c for c in choices if c in concepts) for choices in theme.regions)
        if all(regions) and all(c in concepts for c in theme.focus):
            groups = tuple(g for g in theme.groups if g.concept in concepts)
            street = tuple(c for c in theme.street if c in concepts)
            usable.append(replace(theme, regions=regions, groups=groups, street=street))
    if not usable:
        raise DatasetError(f"no scene can be drawn with {sorted(concepts)} only; add land covers")
    return tuple(usable)
