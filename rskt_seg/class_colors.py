"""Colours of classes: those that are given, else the natural ones, else made up, all told apart.

A class without a colour of its own has the same one in every vocabulary, as long as no other class comes too
near to it: what its name stands for decides, or a digest of the name.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from rskt_seg.class_facts import Color
from rskt_seg.natural_colors import BACKGROUND, NATURAL, name_words, natural_color
from rskt_seg.palette import palette, to_lab

LEAST_DISTANCE = 16.0
"""Distance in CIELAB (CIE 1976) that colours keep as long as there are any; two is just visible."""
NO_CLASS: Color = (225, 225, 225)
"""Light grey: pixels without a class."""
_RESERVED: tuple[Color, ...] = (NO_CLASS, (255, 255, 255), (0, 0, 0))
"""Colours that stand for no class: pixels without one, no data, and what viewers show outside of a map."""
_MADE_UP, _FIRST_MADE_UP = 64, 24
"""How many made-up colours keep the distance from the natural ones and each other; the first are the best."""
_VARIANT_LEVELS = np.linspace(0, 255, 18)


def class_colors(
    names: Sequence[str], given: Sequence[Color | None] | None = None, background: int | None = None
) -> list[Color]:
    """Return a colour for each class.

    Classes whose natural colours are equal or near, such as "car" and "moving car", get variants of it, the
    first in the list the colour itself. Colours are at least `LEAST_DISTANCE` apart, up to 126 classes
    of the most favourable names; of more, each is as far from the others as there is room. Only given colours
    may be nearer to each other.

    Args:
        names: T names.
        given: T colours of their own, None for a class without one; None: no class has one.
        background: Position of a class that is shown in dark grey, whatever its name; None: names decide.

    Returns:
        T colours. Over thousands of classes they repeat.
    """
    own: list[Color | None] = [None] * len(names) if given is None else list(given)
    chosen = _Chosen([color for color in own if color is not None])
    wished = [BACKGROUND if k == background else natural_color(name) for k, name in enumerate(names)]
    places = [k for k, color in enumerate(own) if color is None]
    for k in places:  # before any variant, which would take the place of another's natural colour
        wish = wished[k]
        own[k] = None if wish is None else chosen.natural(wish)
    for k in places:
        wish = wished[k]
        if own[k] is None and wish is not None:
            own[k] = chosen.variant(wish)
    return [chosen.made_up(names[k]) if color is None else color for k, color in enumerate(own)]


def no_class_color(colors: Sequence[Color]) -> Color:
    """Return the colour of pixels without a class: light grey, or that grey which is far from all classes.

    Args:
        colors: Those of the classes.

    Returns:
        A grey that no class has.
    """
    greys = np.repeat(np.arange(NO_CLASS[0], 31, -1, dtype=np.uint8), 3).reshape(-1, 3)
    if not colors:
        return NO_CLASS
    lab = to_lab(np.array(colors, np.uint8))
    distance = np.linalg.norm(to_lab(greys)[:, None] - lab, axis=2).min(axis=1)
    far = np.flatnonzero(distance >= LEAST_DISTANCE)
    return _as_color(greys[far[0] if len(far) else distance.argmax()])


class _Chosen:
    """Candidates for colours, with their distance to the colours that are in use."""

    def __init__(self, colors: Sequence[Color]) -> None:
        grid = np.stack(np.meshgrid(*[_VARIANT_LEVELS] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        natural = np.array(list(NATURAL), np.uint8)
        made_up = palette(_MADE_UP, np.concatenate([np.array(_RESERVED, np.uint8), natural]))
        self._candidates = np.concatenate([made_up, natural, grid.astype(np.uint8)])
        self._lab = to_lab(self._candidates)
        self._places = {color: len(made_up) + k for k, color in enumerate(NATURAL)}
        self._free = np.full(len(self._candidates), np.inf)
        self._number = 0
        for color in (*_RESERVED, *colors):
            self._use(to_lab(np.array([color], np.uint8))[0])

    def natural(self, color: Color) -> Color | None:
        """Take a colour of `NATURAL`; return None if it is too near to others."""
        place = self._places[color]
        return self._take(place) if self._free[place] >= LEAST_DISTANCE else None

    def variant(self, color: Color) -> Color:
        """Take the nearest candidate that keeps the distance; if none does, the one farthest from all."""
        far = self._free >= LEAST_DISTANCE
        if not far.any():
            return self._farthest()
        away = np.linalg.norm(self._lab - self._lab[self._places[color]], axis=1)
        return self._take(int(np.where(far, away, np.inf).argmin()))

    def made_up(self, name: str) -> Color:
        """Take the colour that a name has by its digest, or the next that keeps the distance."""
        start = zlib.crc32(" ".join(name_words(name)).encode()) % _FIRST_MADE_UP
        order = np.arange(_MADE_UP)
        order[:_FIRST_MADE_UP] = np.roll(order[:_FIRST_MADE_UP], -start)
        far = order[self._free[order] >= LEAST_DISTANCE]
        return self._take(int(far[0])) if len(far) else self._farthest()

    def _farthest(self) -> Color:
        place = int(self._free.argmax())
        if self._free[place] == 0:  # every candidate is in use
            place = self._number = (self._number + 1) % len(self._candidates)
            return _as_color(self._candidates[place])
        return self._take(place)

    def _take(self, place: int) -> Color:
        self._use(self._lab[place])
        return _as_color(self._candidates[place])

    def _use(self, lab: np.ndarray) -> None:
        self._free = np.minimum(self._free, np.linalg.norm(self._lab - lab, axis=1))


def _as_color(color: np.ndarray) -> Color:
    red, green, blue = (int(value) for value in color)
    return red, green, blue
