"""Class lists as users write them: in the form of this project, or in the habits of other tools.

What has one meaning is read, with a remark on how; what has several is refused with the form to use.
"""

import codecs
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rskt_seg.class_facts import ClassFacts, parse_color
from rskt_seg.errors import UnreadableError, VocabularyError
from rskt_seg.mistaken import BEGINNING, recognise
from rskt_seg.quoting import hidden_characters
from rskt_seg.reading import read_bytes

_COMMA = re.compile(r"[,\uff0c\u3001\u060c]")  # also full-width, ideographic, Arabic
_SEPARATORS = {
    "commas": _COMMA,
    "semicolons": re.compile(r"[;\uff1b\u061b]"),
    "vertical bars": re.compile(r"[|\uff5c]"),
    "full stops": re.compile(r"\s\.(?=\s|$)|\u3002"),
}
_SENTENCE_END = re.compile(r"\.(?=\s|$)")
_QUOTES = "\"'`\u201c\u2018\u201e\u00ab"
_QUOTED = re.compile(
    "(?<!\\w)(?:\"[^\"]*\"|'[^']*'|`[^`]*`|\u201c[^\u201c\u201d]*\u201d|\u2018[^\u2018\u2019]*\u2019"
    "|\u201e[^\u201c-\u201e]*[\u201c\u201d]|\u00ab[^\u00ab\u00bb]*\u00bb)(?!\\w)"
)
_NUMBERED = re.compile(r"(\d{1,9})(\s*[:=),;]\s*|\.\s+|\s+(?:-\s+)?)(?=[^\d\s])(.+)")
_NUMBERED_BEHIND = re.compile(r"(.*[^\d\s:=])(\s*[:=]\s*|\s+)(\d{1,9})")
_BULLET = re.compile(r"[-*\u2022\u2013\u2014\u00b7]\s+(?=\S)")
_TITLE = re.compile(r"(?:names|classes|labels)\s*:", re.IGNORECASE)
_COLOR_BEHIND = re.compile(r"(.*[^\s,;:=])(?:\s*[,;:=]\s*|\s+)(#[0-9a-fA-F]{6})")
_COMMENTS = ("#", "//")
_NO_CLASS = "__ignore__"  # as labelme marks pixels without a class
_NUMBER = re.compile(r"[\d.]+")
_LABEL_MAP_TITLE = re.compile(r"#\s*label\s*:\s*color_rgb\s*:\s*parts\s*:\s*actions", re.IGNORECASE)
_LABEL_MAP = re.compile(r"(.+?):(\d{1,3},\d{1,3},\d{1,3})?:[^:]*:[^:]*")
_FORM = 'separate classes by commas ("building, road, tree")'
_LITERAL = "a .json list of strings keeps names as they are"
_SHOWN = 10


class ClassList(NamedTuple):
    """Classes as they were read.

    Attributes:
        groups: The names of each class, the one that it is called by first.
        remarks: One line for each decision or doubt that the user should know of.
        facts: What else is given of each class; () if nothing is.
    """

    groups: list[list[str]]
    remarks: tuple[str, ...] = ()
    facts: tuple[ClassFacts, ...] = ()


def read_inline_list(text: str) -> ClassList:
    """Read classes from one text: separated by commas, or in another habit that has one meaning.

    Args:
        text: Such as "building, road"; also "building . road", "building; road", "building|road", full-width
            commas, quoted names, numbers before the names, and a list in brackets such as ["a", "b"], in
            which, as in JSON files, a comma and a blank separate synonyms. Outside of brackets an entry may
            end with the colour of the class: "water #0000ff, road".

    Returns:
        The classes, with their colours. Entries may be empty or equal.

    Raises:
        VocabularyError: A text that could mean several lists.
    """
    if text.lstrip().startswith("["):
        return _read_brackets(text)
    entries, how = _split(text.strip())
    entries, facts, colored = _take_colors(entries)
    names, unquoted = _unquote(entries)
    names, unnumbered, doubts = _unnumber(names)
    notes = [*how, *colored, *unquoted, *unnumbered]
    return _read([[name] for name in names], notes, doubts)._replace(facts=facts)


def read_text_list(text: str) -> ClassList:
    """Read classes from the text of a file: one a line, synonyms after commas.

    Args:
        text: The lines. Blank ones and those that start with # are skipped. A line may end with the colour
            of the class, #RRGGBB. Label maps of CVAT, lists in brackets, numbered, quoted and bulleted lines
            are read as well, and of a single line what `read_inline_list` reads, except that commas separate
            synonyms.

    Returns:
        The classes, with their colours. Entries may be empty or equal.

    Raises:
        VocabularyError: Lines that could mean several lists.
    """
    everything = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    lines = [line for line in everything if line and not line.startswith(_COMMENTS)]
    titled = any(map(_LABEL_MAP_TITLE.match, everything))
    if lines and (titled or all(map(_LABEL_MAP.fullmatch, lines))):
        return _read_label_map(lines)
    if lines and lines[0].startswith("["):
        return _read_brackets("\n".join(lines))
    if _NO_CLASS in lines:
        raise VocabularyError(f"the line {_NO_CLASS!r} marks pixels without a class; remove it")
    how: list[str] = []
    if len(lines) > 1 and _TITLE.fullmatch(lines[0]):
        lines, how = lines[1:], [f"without the title {lines[0]!r}"]
    if len(lines) == 1:
        parts, marks = _split(lines[0])
        if not _COMMA.search(_masked(lines[0])):  # else they separate synonyms
            lines, how = parts, [*how, *marks]
    if len(lines) > 1 and all(map(_BULLET.match, lines)):
        lines, how = [_BULLET.sub("", line, count=1) for line in lines], [*how, "without list marks"]
    lines, facts, colored = _take_colors(lines)
    lines, unnumbered, doubts = _unnumber(lines)
    groups, notes = [], [*how, *colored, *unnumbered]
    for line in lines:
        names, unquoted = _unquote(_cut(_COMMA, line))
        wide = {match[0] for match in _COMMA.finditer(_masked(line))} - {","}
        notes += [*unquoted, *(["with commas of other scripts before synonyms"] if wide else [])]
        if len(names) > 1 and (numbers := [name for name in names if _NUMBER.fullmatch(name)]):
            raise VocabularyError(
                f"line {line!r} has numbers ({', '.join(numbers)}) among the names of a class; write one "
                "class a line, synonyms after commas, and give ids and colours in a .csv (name, id, color)"
            )
        groups.append(names)
    return _read(groups, notes, doubts)._replace(facts=facts)


def _take_colors(lines: Sequence[str]) -> tuple[list[str], tuple[ClassFacts, ...], list[str]]:
    """Return lines without the colours at their ends, what these are, and what was done."""
    found = [_COLOR_BEHIND.fullmatch(line) for line in lines]
    if not any(found):
        return list(lines), (), []
    facts = tuple(ClassFacts(parse_color(match[2])) if match else ClassFacts() for match in found)
    names = [match[1] if match else line for match, line in zip(found, lines, strict=True)]
    return names, facts, ["with the colours behind the names"]


def read_text(path: str | os.PathLike[str]) -> tuple[str, tuple[str, ...]]:
    """Read a text file in UTF-8 or UTF-16, with or without a byte order mark.

    Args:
        path: The file.

    Returns:
        Its text, and a remark if the encoding was concluded from the positions of zero bytes.

    Raises:
        VocabularyError: The file cannot be read, or is neither.
    """
    try:
        content = read_bytes(Path(path))
    except FileNotFoundError as error:
        raise VocabularyError("the file does not exist") from error
    except UnreadableError as error:
        raise VocabularyError(f"cannot be read: {error}") from error
    if mistaken := recognise(content[:BEGINNING]):
        raise VocabularyError(f"it is {mistaken.what}, not a list of classes; {mistaken.remedy}")
    encoding, remarks = "utf-8-sig", tuple[str, ...]()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif len(content) % 2 == 0:
        # Most letters have a zero byte second (little-endian) or first, and no letter has one at both places.
        for first, order in ((0, "utf-16-le"), (1, "utf-16-be")):
            letters, zeros = content[first::2], content[1 - first :: 2].count(0)
            if 0 not in letters and 4 * zeros > 3 * len(letters):
                encoding = order
                remarks = (f"{path} is read as {order.upper()}: it has zero bytes and no byte order mark",)
    try:
        return content.decode(encoding), remarks
    except UnicodeDecodeError as error:
        known = "UTF-16 text" if encoding == "utf-16" else "UTF-8 text"
        raise VocabularyError(f"the file is not {known}; save it as UTF-8") from error


def _read(groups: list[list[str]], how: Sequence[str], doubts: Sequence[str] = ()) -> ClassList:
    """Return the classes with a remark on how they were read, if that was not in the form of this project."""
    if not how:
        return ClassList(groups, tuple(doubts))
    names = [group[0] for group in groups]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    shown = ", ".join(map(repr, names[:_SHOWN])) + more
    number = "one class" if len(groups) == 1 else f"{len(groups)} classes"
    remark = f"the vocabulary is read {', '.join(dict.fromkeys(how))}, as {number}: {shown}"
    return ClassList(groups, (remark, *doubts))


def _masked(text: str) -> str:
    """Replace what is between quotation marks by letters, so that no separator is found in it."""
    return _QUOTED.sub(lambda match: "x" * len(match[0]), text)


def _cut(separator: re.Pattern[str], text: str) -> list[str]:
    """Split a text at separators outside of quotation marks."""
    parts, end = [], 0
    for match in separator.finditer(_masked(text)):
        parts.append(text[end : match.start()].strip())
        end = match.end()
    return [*parts, text[end:].strip()]


def _split(text: str) -> tuple[list[str], list[str]]:
    """Return the entries of a text of one line, and how they were found if not by plain commas."""
    masked = _masked(text)
    found = [kind for kind, separator in _SEPARATORS.items() if separator.search(masked)]
    if len(found) > 1:
        raise VocabularyError(
            f"expected one separator; found {' and '.join(found)} in {text!r}; {_FORM}; {_LITERAL}"
        )
    if found == ["commas"]:
        other = {match[0] for match in _COMMA.finditer(masked)} - {","}
        return _cut(_COMMA, text), ["with commas of other scripts as separators"] if other else []
    if found:
        entries = _cut(_SEPARATORS[found[0]], text)
        while len(entries) > 1 and not entries[-1]:
            entries.pop()
        return entries[1:] if len(entries) > 1 and not entries[0] else entries, [
            f"with {found[0]} as separators"
        ]
    ends, entries = masked.endswith("."), _cut(_SENTENCE_END, text)
    if ends and len(entries) > 2:
        return entries[:-1], ["with full stops as separators"]
    if not ends and len(entries) > 1:
        raise VocabularyError(f"{text!r} may be one class or several; {_FORM}; {_LITERAL}")
    return [text], []


def _unquote(entries: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the entries without quotation marks around them, and what was done.

    Raises:
        VocabularyError: Quotation marks around several names, or marks or brackets without a partner.
    """
    names = []
    for entry in entries:
        quoted = _QUOTED.fullmatch(entry) is not None
        name = entry[1:-1].strip() if quoted else entry
        if quoted and _COMMA.search(name):
            raise VocabularyError(
                f"{entry!r} has several names between quotation marks; {_FORM}, each with its own marks "
                f"or none; {_LITERAL}"
            )
        open_pair = any(name.count(pair[0]) != name.count(pair[1]) for pair in ("()", "[]", "{}"))
        open_quote = not quoted and (entry.startswith(tuple(_QUOTES)) or entry.count('"') % 2 == 1)
        if (open_pair or open_quote) and not hidden_characters(entry):  # `check_names` names those
            raise VocabularyError(
                f"a quotation mark or bracket has no partner in {entry!r}; {_FORM}; {_LITERAL}"
            )
        names.append(name)
    return names, ["without quotation marks"] if names != list(entries) else []


def _unnumber(entries: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return entries without consecutive numbers before them, what was done, and doubts about other numbers.

    Raises:
        VocabularyError: Numbers from 1 that may belong to the names.
    """
    behind = [match for match in map(_NUMBERED_BEHIND.fullmatch, entries) if match]
    if len(behind) == len(entries) > 1:
        return _unnumber_behind(entries, behind)
    matches = [match for match in map(_NUMBERED.fullmatch, entries) if match]
    if len(matches) < len(entries) or len(entries) < 2:
        return list(entries), [], []
    numbers, names = [int(match[1]) for match in matches], [match[3] for match in matches]
    distinct = len({name.casefold() for name in names}) == len(names)
    if distinct and numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] in (0, 1):
        if numbers[0] == 1 and not all(match[2].strip() for match in matches):
            raise VocabularyError(
                f"every name begins with a number, from {entries[0]!r} on; if it is an id, leave "
                f"it out (ids follow the order, from 0); {_LITERAL}"
            )
        return (
            names,
            [f"without the numbers {numbers[0]} to {numbers[-1]} (ids follow the order, from 0)"],
            [],
        )
    doubt = (
        f"every name begins with a number, such as {entries[0]!r}, read as part of the name; if it is "
        "an id, give it in a .csv with the columns id and name"
    )
    return list(entries), [], [doubt]


def _unnumber_behind(
    entries: Sequence[str], matches: Sequence[re.Match[str]]
) -> tuple[list[str], list[str], list[str]]:
    """Return entries that end with numbers without them if these are ids, as `_unnumber` does.

    Raises:
        VocabularyError: Numbers behind a colon or an equals sign that are not the ids in this order.
    """
    names, numbers = [match[1] for match in matches], [int(match[3]) for match in matches]
    if len({name.casefold() for name in names}) == len(names) and numbers == list(range(len(numbers))):
        return names, [f"without the numbers 0 to {numbers[-1]} behind the names (ids follow the order)"], []
    if all(match[2].strip() for match in matches):
        raise VocabularyError(
            f"every name ends with a number, from {entries[0]!r} on; leave numbers out (ids follow the "
            f"order, from 0); {_LITERAL}"
        )
    return list(entries), [], []


def _read_brackets(text: str) -> ClassList:
    """Read a list in brackets: JSON, or as Python and YAML write it."""
    how = ["as a list in brackets"]
    try:
        return _read([entry.split(", ") for entry in _json_strings(text)], how)
    except json.JSONDecodeError:
        inner = text.strip()[1:-1]
        if not text.rstrip().endswith("]") or re.search(r"[\[\]]", inner):
            raise VocabularyError(
                f'expected a list such as ["building", "road"]; found {text.strip()[:60]!r}, whose brackets '
                f"do not match; {_FORM}"
            ) from None
    names, _ = _unquote(_cut(_COMMA, inner.strip().removesuffix(",")))
    return _read([[name] for name in names], how)


def _json_strings(text: str) -> list[str]:
    """Return a JSON list of strings.

    Raises:
        JSONDecodeError: The text is not JSON.
        VocabularyError: It is, but something else, or too deep or too long a number to be read.
    """
    try:
        entries = json.loads(text)
    except json.JSONDecodeError:
        raise
    except (RecursionError, ValueError):  # nested too deeply; a number of thousands of digits
        entries = None  # no list of strings either
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise VocabularyError('expected a JSON list of strings, such as ["building", "road"]')
    return entries


def _read_label_map(lines: Sequence[str]) -> ClassList:
    """Read lines `label:color_rgb:parts:actions`, of which labels and colours are used."""
    groups, facts = [], []
    for line in lines:
        match = _LABEL_MAP.fullmatch(line)
        if match is None:
            raise VocabularyError(
                f"expected lines label:color_rgb:parts:actions of a label map, such as road:128,64,128::; "
                f"found {line!r}"
            )
        groups.append([match[1].strip()])
        facts.append(ClassFacts(parse_color(match[2]) if match[2] else None))
    return _read(groups, ["as a label map, without its parts and actions"])._replace(facts=tuple(facts))
