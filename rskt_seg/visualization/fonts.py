"""Fonts for the scripts in which people write class names. matplotlib is imported on use."""

import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontEntry
    from matplotlib.text import Text

_PLACEHOLDERS = "Last Resort"
"""Beginning of the names of fonts that have a box for every character."""
_MOST_LISTED = 5


def undrawable_notice(names: Sequence[str]) -> str | None:
    """Return a line about class names that pictures cannot show, because no font here has their characters.

    Args:
        names: Class names.

    Returns:
        The line, which says where the names are whole; None if every name can be drawn.
    """
    if all(name.isascii() for name in names):
        return None
    _, missing = find_families("".join(names))
    found = [name for name in names if missing & set(name)]
    if not found:
        return None
    more = f" and {len(found) - _MOST_LISTED} more" if len(found) > _MOST_LISTED else ""
    listed = ", ".join(map(repr, found[:_MOST_LISTED])) + more
    return (
        f"no font of this machine has all characters of {listed}: boxes stand for them in the legends of "
        "pictures, and tables, tags of rasters and styles have the names whole; install a font for them, "
        "such as the package fonts-noto-core, or fonts-noto-cjk for Chinese, Japanese and Korean"
    )


def use_fonts_for(figure: "Figure") -> None:
    """Let the texts of a figure fall back to fonts that have their characters.

    Args:
        figure: A complete figure.
    """
    texts = list(_texts(figure))
    content = "".join(text.get_text() for text in texts)
    if content.isascii():
        return
    families, _ = find_families(content)
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *families])


def _texts(artist: "Artist") -> "Iterator[Text]":
    """Yield the texts of an artist that are drawn: not those of axes that are off, which had to be made."""
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.text import Text

    if isinstance(artist, Text):
        yield artist
    hides_axes = isinstance(artist, Axes) and not artist.axison
    for child in artist.get_children():
        if not (hides_axes and isinstance(child, Axis)):
            yield from _texts(child)


def find_families(text: str) -> tuple[list[str], set[str]]:
    """Find installed fonts for the characters that the default font lacks.

    Args:
        text: What is to be drawn.

    Returns:
        Names of families that together have as many of these characters as possible; and the characters that
        none has.
    """
    from matplotlib.font_manager import FontProperties, findfont

    missing = _lacking(findfont(FontProperties()), {each for each in text if _has_a_picture(each)})
    families: list[str] = []
    for fonts in (_known_fonts, _new_fonts):
        entries = sorted(fonts(), key=_preference) if missing else []
        while entries and missing:
            left = [_lacking(entry.fname, missing) for entry in entries]
            best = min(range(len(entries)), key=lambda place: len(left[place]))
            if len(left[best]) == len(missing):
                break
            families.append(entries[best].name)
            missing = left[best]
    return families, missing


@contextmanager
def without_word_of_glyphs() -> Iterator[None]:
    """Keep matplotlib from warning of each missing glyph in a block; see `undrawable_notice`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


def _has_a_picture(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Zs", "Mn")


def _lacking(file: str, characters: Iterable[str]) -> set[str]:
    """Return the characters that a font does not have; all of them if it cannot be read."""
    from matplotlib.font_manager import get_font

    try:
        font = get_font(file)
    except (OSError, RuntimeError):
        return set(characters)
    return {each for each in characters if not font.get_char_index(ord(each))}


def _known_fonts() -> "list[FontEntry]":
    """Return the upright fonts of normal weight in matplotlib's list."""
    from matplotlib.font_manager import fontManager

    return [
        entry
        for entry in fontManager.ttflist
        if not entry.name.startswith(_PLACEHOLDERS)
        and entry.style == "normal"
        and entry.weight in (400, "normal", "regular", "book")
    ]


def _new_fonts() -> "list[FontEntry]":
    """Add fonts to matplotlib's list that were installed after it was made, and return the whole list."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    for file in findSystemFonts():
        if file not in known:
            try:
                fontManager.addfont(file)
            except (OSError, RuntimeError):  # no font that FreeType reads
                continue
    return _known_fonts()


def _preference(entry: "FontEntry") -> tuple[bool, bool, bool, str]:
    """Order fonts: the plain ones of Noto first, of those for Chinese the simplified ones."""
    name = entry.name
    return not name.startswith("Noto Sans"), "Sans" not in name, not name.endswith(" SC"), name
