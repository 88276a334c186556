"""Names of bands, which say what colours they are where nothing else does."""

import re
from collections.abc import Sequence

_COLORS = ("red", "green", "blue")
_SENTINEL = ("b04", "b03", "b02")
"""Codes that mean red, green and blue in every product that has them, those of Sentinel-2."""
_LETTERS = ("r", "g", "b")
_NO_COLOR = {"edge", "infra", "near", "far", "short", "mid", "rededge", "std", "stddev"}
"""Words beside which red is another band, such as red edge, or no colour at all."""
_OTHER_BANDS = {"nir", "swir", "mir", "tir", "infrared", "coastal", "yellow", "pan", "vv", "vh", "hh", "hv"}
_TOKEN = re.compile(r"[a-z]+\d*[a-z]?|\d+[a-z]*")
_CODE = re.compile(r"b\d{1,2}a?")


def find_named_colors(names: Sequence[str | None]) -> tuple[int, ...] | None:
    """Find the bands whose names say red, green and blue, once each.

    Args:
        names: The names of all bands, such as "Red", "blue (reflectance)", "B04", "T32_B03_10m" or "R".

    Returns:
        Three numbers of bands, from 1; None if the names do not say.
    """
    tokens = [_tokens(name) for name in names]
    for colors in (_COLORS, _SENTINEL):
        found = [
            [i for i, words in enumerate(tokens) if set(colors) & words == {color} and not words & _NO_COLOR]
            for color in colors
        ]
        if all(len(bands) == 1 for bands in found):
            return tuple(bands[0] + 1 for bands in found)
    letters = [str(name or "").strip().casefold() for name in names]
    if all(letters.count(letter) == 1 for letter in _LETTERS):
        return tuple(letters.index(letter) + 1 for letter in _LETTERS)
    return None


def doubt_names(names: Sequence[str | None]) -> str:
    """Return in what way the names of the bands that are used as red, green and blue do not say so.

    Args:
        names: Their three names.

    Returns:
        Such as "named nir, red, green"; "" if the names say nothing of colours, or just these.
    """
    tokens = [_tokens(name) for name in names]
    if find_named_colors(names) == (1, 2, 3) or not any(map(_speaks_of_light, tokens)):
        return ""
    shown = f"named {', '.join(str(name or '?').strip() for name in names)}"
    coded = all(any(map(_CODE.fullmatch, words)) for words in tokens)
    return f"{shown}, of which sensors mean different colours" if coded else shown


def _tokens(name: str | None) -> set[str]:
    return set(_TOKEN.findall(str(name or "").casefold()))


def _speaks_of_light(words: set[str]) -> bool:
    return bool(words & {*_COLORS, *_OTHER_BANDS}) or any(map(_CODE.fullmatch, words))
