"""What a list of classes may say about each besides its names: a colour, an id, a threshold."""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

from rskt_seg.errors import VocabularyError
from rskt_seg.labels import MOST_CLASSES
from rskt_seg.reading import brief

Color = tuple[int, int, int]
"""RGB, 0..255 each."""
_HEX = re.compile(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})")
_RGB = re.compile(r"(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})")
_COLOR_FORM = '"#RRGGBB" or "r,g,b" with numbers of 0..255'


class ClassFacts(NamedTuple):
    """Facts about one class; None: not given.

    Attributes:
        color: In which colour it is shown.
        id: Value of its pixels in a map, 0..65534.
        threshold: Score in 0..1 below which a pixel that it wins has no class.
    """

    color: Color | None = None
    id: int | None = None
    threshold: float | None = None


def parse_color(text: str) -> Color:
    """Read a colour.

    Args:
        text: "#RRGGBB" or "r,g,b".

    Returns:
        RGB.

    Raises:
        VocabularyError: It is neither.
    """
    found = _HEX.fullmatch(text.strip())
    if found:
        red, green, blue = (int(part, 16) for part in found.groups())
        return red, green, blue
    found = _RGB.fullmatch(text.strip())
    if found is None:
        raise VocabularyError(f"expected a colour as {_COLOR_FORM}; found {brief(text)}")
    red, green, blue = map(int, found.groups())
    if max(red, green, blue) > 255:
        raise VocabularyError(f"expected a colour as {_COLOR_FORM}; found {brief(text)}")
    return red, green, blue


def check_colors(names: Sequence[str], colors: Sequence[Color | None]) -> None:
    """Check the colours of classes.

    Args:
        names: T names.
        colors: T colours; None: not given.

    Raises:
        VocabularyError: A colour is no RGB, or two classes have the same.
    """
    _check_number("colour", names, colors)
    first: dict[Color, str] = {}
    for name, color in zip(names, colors, strict=True):
        if color is None:
            continue
        if not is_color(color):
            raise VocabularyError(
                f"expected for class {name!r} a colour (r, g, b) of 0..255 each; found {brief(color)}"
            )
        if first.setdefault(color, name) != name:
            raise VocabularyError(
                f"classes {first[color]!r} and {name!r} have the same colour {','.join(map(str, color))}; "
                "give one of them another, or none"
            )


def check_ids(names: Sequence[str], ids: Sequence[int | None]) -> None:
    """Check the ids of classes.

    Args:
        names: T names.
        ids: T ids.

    Raises:
        VocabularyError: A class has none, an id is outside 0..65534, or two classes have the same.
    """
    _check_number("id", names, ids)
    if None in ids:
        raise VocabularyError(
            f"class {names[list(ids).index(None)]!r} has no id, and others have one; give every class an id, "
            "or none (they are then numbered from 0)"
        )
    first: dict[int | None, str] = {}
    for name, each in zip(names, ids, strict=True):
        if not _is_whole(each) or not 0 <= each < MOST_CLASSES:
            raise VocabularyError(
                f"expected for class {name!r} an id in 0..{MOST_CLASSES - 1}; found {brief(each)} "
                "(255 or 65535 stands for pixels without data)"
            )
        if first.setdefault(each, name) != name:
            raise VocabularyError(f"classes {first[each]!r} and {name!r} have the same id {each}")


def check_thresholds(names: Sequence[str], thresholds: Sequence[float | None]) -> None:
    """Check the thresholds of classes.

    Args:
        names: T names.
        thresholds: T scores; None: not given.

    Raises:
        VocabularyError: A threshold is outside 0..1.
    """
    _check_number("threshold", names, thresholds)
    for name, value in zip(names, thresholds, strict=True):
        if value is not None and not is_threshold(value):
            raise VocabularyError(f"expected for class {name!r} a threshold in 0..1; found {brief(value)}")


def is_color(value: object) -> TypeGuard[Color]:
    """Return whether a value is a tuple of three whole numbers in 0..255."""
    return isinstance(value, tuple) and len(value) == 3 and all(_is_whole(v) and 0 <= v <= 255 for v in value)


def is_threshold(value: object) -> bool:
    """Return whether a value is a number in 0..1."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_number(what: str, names: Sequence[str], values: Sequence[object]) -> None:
    if len(values) != len(names):
        raise VocabularyError(
            f"expected one {what} or None per class; found {len(values)} for {len(names)} classes"
        )
