"""Description files: what the classes of a data set look like from above, in sentences, for the weakly
supervised method.

A file is JSON, UTF-8: `dataset`, `version` (1), `language`, `template` with one `{name}`, `generator` (who
wrote the sentences, when, from which instruction) and `classes`, a list of `name` (as the prompt calls the
class), `id`, `descriptions`, and `class` where the data set calls the class otherwise. Every description
begins with the filled template and " It exhibits ", or with the file's own `opening`. The order in the file
is kept everywhere: K-means starts from it.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import NoReturn

from rskt_seg.errors import ConfigError

TINY = ("tiny", "tiny_land")
"""Packaged files in the few words that the tiny CLIP knows, for the classes of iSAID and of LoveDA. Too plain
for another text tower, so they are only taken by name."""
PACKAGED = ("isaid", "potsdam", *TINY)
"""Names of the files that come with the package."""
FEWEST, MOST = 10, 40
"""Descriptions that a class may have; all classes of a file have as many."""
_VERSION = 1
_FIELD = "{name}"
_KEYS = {"dataset", "version", "language", "template", "opening", "generator", "classes"}
_CLASS_KEYS = {"name", "id", "descriptions", "class"}
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')
_KINDS = {str: "a string that is not empty", int: "a whole number", list: "a list"}


@dataclass(frozen=True)
class KnowledgeClass:
    """A class as the prompt calls it (`name`) and as the data set does (`dataset_name`; None: the same).

    `descriptions` are whole sentences, opening included, in the order of the file.
    """

    name: str
    id: int
    descriptions: tuple[str, ...]
    dataset_name: str | None = None


@dataclass(frozen=True)
class Knowledge:
    """A description file. `digest` is the sha256 of its bytes, `notices` say what is odd about it, one line
    each; `source` is its path or packaged name, `opening` what every description begins with."""

    dataset: str
    template: str
    classes: tuple[KnowledgeClass, ...]
    digest: str
    notices: tuple[str, ...] = ()
    source: str = ""
    opening: str = ""

    def for_classes(self, names: Sequence[str]) -> tuple[KnowledgeClass, ...]:
        """The classes of these names, in this order; a name is the prompt's or the data set's, case aside.

        Raises `ConfigError` with the missing names and those that are near, and where two of `names` are the
        same class.
        """
        known = _by_name(self.classes)
        if missing := [name for name in names if _folded(name) not in known]:
            near = [difflib.get_close_matches(_folded(name), known, n=1) for name in missing]
            advice = ", ".join(repr(known[found[0]].name) for found in near if found)
            own = 'describe every class; a name that the data set uses instead goes under "class"'
            if self.source in PACKAGED:
                own = "give a file of your own (MODEL.WSSS.DESCRIPTIONS)"
            hint = (
                f"near are {advice}" if advice else f"it describes {', '.join(c.name for c in self.classes)}"
            )
            raise ConfigError(
                f"{self.source}: no descriptions of {', '.join(map(repr, missing))}; {hint}: {own}"
            )
        found = tuple(known[_folded(name)] for name in names)
        for position, each in enumerate(found):
            if each in found[:position]:
                first = names[found.index(each)]
                raise ConfigError(f"{self.source}: {first!r} and {names[position]!r} are the same class")
        return found


def read_knowledge(path_or_name: str | PathLike) -> Knowledge:
    """The packaged file of a name in `PACKAGED`, else the file of a path.

    Raises `ConfigError`, with file, class and line, for a file that is missing, no UTF-8 text or no JSON; for
    a key that is missing, given twice or of another type; for a class or an id that occurs twice; for classes
    with different numbers of descriptions, under 10 or over 40; and for a description that is empty, begins
    otherwise, ends with the opening, or repeats another of its class (case, blanks and full stop aside).
    """
    source = str(path_or_name)
    packaged = source in PACKAGED
    path = (
        files("rskt_seg.models.wsss").joinpath("descriptions", f"{source}.json") if packaged else Path(source)
    )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the description file {path}: {error.strerror}; packaged are {', '.join(PACKAGED)}"
        ) from error
    return _File(source, _parse(source, content)).knowledge(hashlib.sha256(content).hexdigest())


def packaged_for(names: Sequence[str]) -> Knowledge | None:
    """The first file of `PACKAGED` that describes all of `names`, if there is one.

    Never one of `TINY`: who uses the tiny CLIP asks for it by name.
    """
    if not names:
        return None
    for packaged in PACKAGED:
        if packaged in TINY:
            continue
        knowledge = read_knowledge(packaged)
        if {_folded(name) for name in names} <= _by_name(knowledge.classes).keys():
            return knowledge
    return None


class _Text(str):
    """A string of the file, which knows its line."""

    line: int


class _File:
    """From the parsed JSON of a file to `Knowledge`: one check after the other."""

    def __init__(self, source: str, document: object) -> None:
        self.source = source
        if not isinstance(document, dict):
            self.fail("a JSON object with the keys " + ", ".join(sorted(_KEYS)) + " expected")
        self.document = document
        self.template = self._with_name("template", None)
        self.opening = self._with_name("opening", f"{self.template} It exhibits ")
        self.notices: list[str] = self._unknown(document, _KEYS, "")

    def knowledge(self, digest: str) -> Knowledge:
        """The whole file, checked; `digest` as in `Knowledge`. Raises `ConfigError` at the first fault."""
        if (version := self._value(self.document, "version", int)) != _VERSION:
            self.fail(f"version {_VERSION} expected, found {version}")
        entries = self._value(self.document, "classes", list)
        if not entries:
            self.fail("no class is described")
        classes = tuple(self._class(entry, position) for position, entry in enumerate(entries, start=1))
        names = [entry["name"] for entry in entries]
        self._check_distinct(classes, names)
        self._check_counts(classes, names)
        if not self.document.get("generator"):
            self.notices.append(f"{self.source}: generator does not say who wrote the sentences and when")
        dataset = self._value(self.document, "dataset", str)
        return Knowledge(
            str(dataset), self.template, classes, digest, tuple(self.notices), self.source, self.opening
        )

    def fail(self, what: str, name: str = "", line: int | None = None) -> NoReturn:
        line = line or getattr(name, "line", None)
        where = [self.source, f"class {str(name)!r}" if name else "", f"line {line}" if line else ""]
        raise ConfigError(f"{', '.join(filter(None, where))}: {what}")

    def _class(self, entry: object, position: int) -> KnowledgeClass:
        if not isinstance(entry, dict):
            self.fail(f"entry {position} of classes must be an object with name, id and descriptions")
        name = self._value(entry, "name", str, f"number {position}")
        number = self._value(entry, "id", int, name)
        if not 0 <= number <= 255:
            self.fail(f"id must be 0..255, found {number}", name)
        alias = self._value(entry, "class", str, name) if "class" in entry else None
        lines = self._value(entry, "descriptions", list, name)
        self.notices += self._unknown(entry, _CLASS_KEYS, name)
        descriptions = tuple(self._description(text, name) for text in lines)
        self._check_repeated(name, descriptions)
        stripped = alias if alias is None else str(alias).strip()
        return KnowledgeClass(
            str(name).strip(), number, tuple(str(d).strip() for d in descriptions), stripped
        )

    def _description(self, text: object, name: _Text) -> _Text:
        if not isinstance(text, _Text):
            self.fail(f"a description must be a string, found {text!r}", name)
        content = text.strip()
        if not content:
            self.fail("an empty description", name, text.line)
        opening = self.opening.replace(_FIELD, name.strip())
        if not content.startswith(opening):
            self.fail(f"must begin with {opening!r}, found {content!r}", name, text.line)
        if not content.removeprefix(opening).strip(" ."):
            self.fail(f"nothing follows the opening {opening!r}", name, text.line)
        return text

    def _check_repeated(self, name: _Text, descriptions: Sequence[_Text]) -> None:
        first: dict[str, int] = {}
        for text in descriptions:
            key = _folded(text).rstrip(" .")
            if key in first:
                self.fail(f"repeats the description of line {first[key]}", name, text.line)
            first[key] = text.line

    def _check_distinct(self, classes: Sequence[KnowledgeClass], names: Sequence[_Text]) -> None:
        seen: dict[str | int, str] = {}
        last = -1
        for each, name in zip(classes, names, strict=True):
            for key in {each.id, _folded(each.name), _folded(each.dataset_name or each.name)}:
                if key in seen:
                    self.fail(f"{key!r} is also that of class {seen[key]!r}", name)
                seen[key] = each.name
            if each.id < last:
                self.fail(f"classes in the order of their ids expected, found {each.id} after {last}", name)
            last = each.id

    def _check_counts(self, classes: Sequence[KnowledgeClass], names: Sequence[_Text]) -> None:
        wanted = len(classes[0].descriptions)
        for each, name in zip(classes, names, strict=True):
            count = len(each.descriptions)
            if not FEWEST <= count <= MOST:
                self.fail(f"{FEWEST}..{MOST} descriptions expected, found {count}", name)
            if count != wanted:
                self.fail(
                    f"{count} descriptions, but class {classes[0].name!r} has {wanted}: give all as many",
                    name,
                )

    def _value(self, entry: dict, key: str, kind: type, name: str = "") -> object:
        if key not in entry:
            self.fail(f"the key {key!r} is missing", name)
        value = entry[key]
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits or (kind is str and not value.strip()):
            self.fail(f"{key} must be {_KINDS[kind]}, found {value!r}", name, getattr(value, "line", None))
        return value

    def _with_name(self, key: str, default: str | None) -> str:
        if default is not None and key not in self.document:
            return default
        text = self._value(self.document, key, str)
        if text.count(_FIELD) != 1:
            self.fail(f"{key} needs exactly one {_FIELD}, found {text!r}", line=text.line)
        return str(text)

    def _unknown(self, entry: dict, known: set[str], name: str) -> list[str]:
        where = f"{self.source}, class {str(name)!r}" if name else self.source
        return [f"{where}: nothing reads the key {str(key)!r}" for key in entry if key not in known]


def _parse(source: str, content: bytes) -> object:
    """The JSON document, its strings as `_Text`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{source}, line {line}: no UTF-8 text ({error.reason})") from error
    try:
        document = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}, line {error.lineno}: no JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number or a nesting that Python refuses
        raise ConfigError(f"{source}: no description file: {error}") from error
    # In valid JSON every quote outside a string begins one, so the literals come in the order of a walk.
    lines = (text.count("\n", 0, match.start()) + 1 for match in _LITERAL.finditer(text))
    return _located(document, lines, source)


class _Pairs(list):
    """The members of a JSON object, repeated keys included."""


def _located(value: object, lines: Iterator[int], source: str) -> object:
    if isinstance(value, str):
        text = _Text(value)
        text.line = next(lines)
        return text
    if isinstance(value, _Pairs):
        members: dict[str, object] = {}
        for key, member in value:
            key = _located(key, lines, source)
            if key in members:
                raise ConfigError(f"{source}, line {key.line}: the key {str(key)!r} is given twice")
            members[key] = _located(member, lines, source)
        return members
    if isinstance(value, list):
        return [_located(member, lines, source) for member in value]
    return value


def _by_name(classes: Sequence[KnowledgeClass]) -> dict[str, KnowledgeClass]:
    """Every name a class has, folded."""
    return {_folded(name): each for each in classes for name in (each.name, each.dataset_name) if name}


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
