"""JSON whose strings know their line, for messages that point into a file."""

import json
import re
from collections.abc import Iterator

from rskt_seg.errors import ConfigError

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')


class LocatedStr(str):
    """A string of a JSON document, with the line where it begins (from 1)."""

    line: int

    def __new__(cls, text: str, line: int) -> "LocatedStr":
        located = super().__new__(cls, text)
        located.line = line
        return located


class _Pairs(list[tuple[str, object]]):
    """The members of a JSON object, including repeated keys."""


def parse_located(source: str, content: bytes) -> object:
    """Parse a JSON document into dictionaries, lists, numbers and `LocatedStr`.

    Args:
        source: Name of the file, for messages.
        content: The bytes of the file, UTF-8 with or without a byte order mark.

    Returns:
        The document; every text in it is a `LocatedStr`.

    Raises:
        ConfigError: If the content is not UTF-8 or not JSON, or if an object repeats a key; the message names
            file and line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{source}, line {line}: not valid UTF-8 ({error.reason})") from error
    try:
        document = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}, line {error.lineno}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number or a nesting that Python refuses
        raise ConfigError(f"{source}: cannot be parsed as JSON: {error}") from error
    # In valid JSON every quote outside a string begins one, so the literals come in the order of a walk.
    lines = (text.count("\n", 0, match.start()) + 1 for match in _LITERAL.finditer(text))
    try:
        return _locate(document, lines, source)
    except RecursionError as error:
        raise ConfigError(f"{source}: cannot be parsed as JSON: it nests too deeply") from error


def _locate(value: object, lines: Iterator[int], source: str) -> object:
    """Replace every string of a parsed document by a `LocatedStr`; `lines` has one line for each."""
    if isinstance(value, str):
        return LocatedStr(value, next(lines))
    if isinstance(value, _Pairs):
        members: dict[str, object] = {}
        for text, member in value:
            key = LocatedStr(text, next(lines))
            if key in members:
                raise ConfigError(f"{source}, line {key.line}: duplicate key {str(key)!r}")
            members[key] = _locate(member, lines, source)
        return members
    if isinstance(value, list):
        return [_locate(member, lines, source) for member in value]
    return value
