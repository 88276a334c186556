"""Areas of the ISPRS datasets: the official parts, and the areas that closed-set methods hold or leave out.

Source: the pages of the owners for the parts; the papers that use GeoSeg's pipeline for the rest.
"""

from rskt_seg.windows import tile_stem, window_grid

POTSDAM_SIDE, TILE = 6000, 512
"""Sides (px) of every scene of Potsdam, and of the tiles into which scenes are cut."""

POTSDAM_TRAIN = (
    "2_10 2_11 2_12 3_10 3_11 3_12 4_10 4_11 4_12 5_10 5_11 5_12 "
    "6_7 6_8 6_9 6_10 6_11 6_12 7_7 7_8 7_9 7_10 7_11 7_12"
)
POTSDAM_TEST = "2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13"
POTSDAM_VAL = "2_10"
POTSDAM_FAULTY = "7_10"
"""The training area whose label is wrong."""

VAIHINGEN_TRAIN = "1 3 5 7 11 13 15 17 21 23 26 28 30 32 34 37"
VAIHINGEN_TEST = "2 4 6 8 10 12 14 16 20 22 24 27 29 31 33 35 38"
VAIHINGEN_VAL = "30"


def potsdam_tiles(areas: str) -> tuple[str, ...]:
    """Return the stems of all prepared tiles of the Potsdam scenes `areas` ("2_10 2_11"), 144 per scene."""
    windows = window_grid(POTSDAM_SIDE, POTSDAM_SIDE, TILE, TILE)
    return tuple(tile_stem(f"top_potsdam_{area}", window) for area in areas.split() for window in windows)
