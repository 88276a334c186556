"""The colours in which people expect land cover and objects on a map: water blue, trees green, roads grey.

The colours of different entries are at least `rskt_seg.class_colors.LEAST_DISTANCE` apart, and as far from
white, black and the light grey of pixels without a class.
"""

import re

from rskt_seg.class_facts import Color
from rskt_seg.vocabulary import singular

BACKGROUND: Color = (96, 96, 96)
"""Dark grey: the background and whatever else is no object."""

NATURAL: dict[Color, str] = {
    (40, 110, 215): "water, waterbody",
    (0, 51, 142): "sea, ocean, bay",
    (95, 165, 240): "river, stream, canal, creek, waterway",
    (70, 75, 200): "lake, pond, reservoir",
    (0, 205, 225): "swimming pool, pool",
    (60, 140, 135): "wetland, marsh, swamp, mangrove, bog",
    (185, 222, 255): "snow, ice, glacier",
    (210, 196, 241): "cloud, haze, fog",
    (45, 45, 75): "shadow, shade",
    (20, 110, 40): "tree, deciduous, broadleaf, canopy",
    (0, 75, 45): "forest, woodland, wood, coniferous, conifer",
    (105, 125, 40): "shrub, chaparral, brushwood, scrub, bush, hedge",
    (130, 205, 80): "grass, grassland, lawn, meadow, herbaceous",
    (70, 165, 60): "vegetation, low vegetation, plant, greenery",
    (180, 205, 125): "rangeland, pasture",
    (225, 215, 80): "agriculture, agricultural, farmland, cropland, crop, cultivated, farm, field, paddy",
    (160, 170, 30): "orchard, vineyard, plantation, plantations",
    (95, 190, 130): "park, garden, playground",
    (170, 235, 140): "golf field, golf course",
    (145, 100, 54): "soil, bare, bareland, barren, unpaved, ground, dirt, earth, mud, plowed, ploughed",
    (233, 206, 152): "sand, beach, desert, dune, shore",
    (132, 116, 95): "rock, cliff, mountain, stone, gravel, pervious, quarry",
    (193, 129, 97): "construction, mine, mining, landfill",
    (137, 138, 143): "road, street, highway, expressway, lane, path",
    (
        183,
        178,
        172,
    ): "pavement, impervious, paved, sidewalk, concrete, asphalt, plaza, square",
    (157, 162, 193): "parking, parking lot, carpark",
    (82, 90, 118): "runway, apron, taxiway, airport, helipad",
    (78, 49, 61): "railway, railroad, rail, train station",
    (165, 135, 200): "bridge",
    (201, 159, 189): "overpass, viaduct",
    (105, 85, 150): "roundabout, intersection, crossroad",
    (215, 45, 40): "building, house, residential, home",
    (243, 123, 98): "roof, rooftop",
    (240, 125, 145): "mobile home, hut, shed, tent",
    (146, 60, 50): "wall, fence",
    (165, 25, 65): "urban, settlement, city, town, village, built",
    (125, 15, 95): "industrial, industry, factory, commercial, power plant",
    (185, 245, 225): "greenhouse",
    (39, 17, 108): "solar panel, solar, photovoltaic",
    (250, 150, 0): "tank, storage tank, silo",
    (99, 19, 25): "chimney, tower, pylon",
    (255, 175, 160): "stadium, arena",
    (245, 240, 150): "windmill, wind turbine, turbine",
    (91, 129, 165): "dam, weir, dike",
    (121, 65, 6): "harbor, harbour, dock, pier, port, wharf, quay, jetty",
    (200, 95, 0): "crane, container, container crane",
    (197, 77, 52): "court",
    (0, 160, 125): "tennis court",
    (230, 145, 80): "basketball court",
    (195, 156, 101): "baseball diamond, baseball field, diamond",
    (215, 70, 120): "ground track field, track field, running track, track, athletic field",
    (110, 235, 50): "soccer ball field, soccer field, football field, sports field, pitch",
    (255, 0, 200): "car, automobile",
    (185, 20, 185): "vehicle, small vehicle, motorcycle",
    (115, 0, 150): "large vehicle, truck, bus, buses, van, lorry",
    (255, 235, 0): "ship, boat, vessel, yacht, watercraft",
    (255, 125, 225): "plane, airplane, aeroplane, aircraft",
    (150, 90, 255): "helicopter, drone",
    (85, 35, 205): "train, tram, locomotive",
    (255, 194, 128): "human, person, people, pedestrian, man, woman",
    BACKGROUND: "background, clutter, other, else, miscellaneous, rest",
    (52, 56, 54): "no data, nodata, unknown, unlabelled, unlabeled, unclassified, undefined, ignore, void",
}
"""Colour -> what it stands for, in the singular and in lower case."""

_COLORS = {name: color for color, names in NATURAL.items() for name in names.split(", ")}
_WORD = re.compile(r"[^\W_]+")
_BETWEEN_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_HEAD_BEFORE = {"of", "with", "without", "in", "on", "for", "at", "by", "from", "near", "under", "along"}
_NOT = {"not", "no", "non"}
_SAY_NOTHING = {"area", "class", "cover", "land", "object", "region", "site", "surface", "zone"}


def natural_color(name: str) -> Color | None:
    """Return the colour that people expect of a class.

    Case, plural, hyphens and underscores do not matter. A name of several words that is not in the table
    counts as its head: "small red car" as a car, "field of wheat" as a field, "forest area" as a forest, and
    whatever is "not ..." as background.

    Args:
        name: The name.

    Returns:
        A colour of `NATURAL`; None if nothing is known of it.
    """
    words = name_words(name)
    if words and words[0] in _NOT and " ".join(words) not in _COLORS:
        return BACKGROUND
    head = next((place for place, word in enumerate(words) if word in _HEAD_BEFORE), 0)
    words = words[:head] if head else words
    while words:
        for start in range(len(words)):
            for last in (words[-1], singular(words[-1])):
                if color := _COLORS.get(" ".join([*words[start:-1], last])):
                    return color
        if singular(words.pop()) not in _SAY_NOTHING:
            return None
    return None


def name_words(name: str) -> list[str]:
    """Return the words of a class name in lower case, without marks between them."""
    return _WORD.findall(_BETWEEN_WORDS.sub(" ", name).casefold())
