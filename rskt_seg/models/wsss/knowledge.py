"""Description files: sentences that say what the classes of a dataset look like from above.

The weakly supervised method reads them as its knowledge base. A file is JSON, UTF-8, with the keys
`dataset`, `version` (1), `language`, `template` with one `{name}`, `generator` (who wrote the sentences,
when, with which instruction) and `classes`, a list of objects with `name` (as the prompt calls the class),
`id`, `descriptions`, and `class` if the dataset calls the class differently. Every description begins with
the filled template and " It exhibits ", or with the file's own `opening`. The order of the file is kept
everywhere, because K-means starts from it.
"""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import NoReturn, TypeVar

from rskt_seg.errors import ConfigError, UnreadableError
from rskt_seg.models.wsss.located_json import LocatedStr, parse_located
from rskt_seg.reading import read_bytes

TINY = ("tiny", "tiny_land")
"""Packaged files in the few words that the tiny CLIP knows, for the classes of iSAID and of LoveDA. Too plain
for another text tower, so they are used only if requested by name."""
PACKAGED = ("isaid", "potsdam", *TINY)
"""Names of the description files in the package."""
MIN_DESCRIPTIONS, MAX_DESCRIPTIONS = 10, 40
"""Limits of the number of descriptions of a class; all classes of a file have the same number."""
_VERSION = 1
_FIELD = "{name}"
_KEYS = {"dataset", "version", "language", "template", "opening", "generator", "classes"}
_CLASS_KEYS = {"name", "id", "descriptions", "class"}
_TYPE_NAMES: Mapping[type, str] = {LocatedStr: "a non-empty string", int: "an integer", list: "a list"}
_T = TypeVar("_T", LocatedStr, int, list[object])


@dataclass(frozen=True)
class KnowledgeClass:
    """One class of a description file.

    Attributes:
        name: Name of the class in prompts.
        id: Class id in the dataset.
        descriptions: Whole sentences, including the opening, in the order of the file.
        dataset_name: Name of the class in the dataset, None if it is `name`.
    """

    name: str
    id: int
    descriptions: tuple[str, ...]
    dataset_name: str | None = None


@dataclass(frozen=True)
class Knowledge:
    """A description file.

    Attributes:
        dataset: Dataset whose classes are described.
        template: Prompt with one `{name}`.
        classes: The classes, in the order of their ids.
        digest: sha256 of the bytes of the file.
        notices: Oddities that do not prevent the use of the file, one line each.
        source: Path or packaged name of the file.
        opening: Text that every description begins with, with one `{name}`.
    """

    dataset: str
    template: str
    classes: tuple[KnowledgeClass, ...]
    digest: str
    notices: tuple[str, ...] = ()
    source: str = ""
    opening: str = ""

    def for_classes(self, names: Sequence[str]) -> tuple[KnowledgeClass, ...]:
        """Return the classes with the given names, in this order.

        Args:
            names: Names in prompts or in the dataset; upper and lower case are not distinguished.

        Returns:
            One class for each name.

        Raises:
            ConfigError: If a class has no descriptions (the message suggests similar names), or if two of
                the names are the same class.
        """
        known = _by_name(self.classes)
        if missing := [name for name in names if _fold(name) not in known]:
            matches = [difflib.get_close_matches(_fold(name), known, n=1) for name in missing]
            similar = ", ".join(repr(known[match[0]].name) for match in matches if match)
            described = ", ".join(each.name for each in self.classes)
            remedy = (
                "pass a file of your own (MODEL.WSSS.DESCRIPTIONS)"
                if self.source in PACKAGED
                else 'describe every class; add a name that only the dataset uses as "class"'
            )
            raise ConfigError(
                f"{self.source}: no descriptions of {', '.join(map(repr, missing))} "
                f"({f'similar: {similar}' if similar else f'described are {described}'}): {remedy}"
            )
        found = tuple(known[_fold(name)] for name in names)
        for position, each in enumerate(found):
            if each in found[:position]:
                first = names[found.index(each)]
                raise ConfigError(f"{self.source}: {first!r} and {names[position]!r} are the same class")
        return found


def read_knowledge(path_or_name: str | PathLike[str]) -> Knowledge:
    """Read and validate a description file.

    Args:
        path_or_name: A name in `PACKAGED`, which always means the packaged file, or a path.

    Returns:
        The classes with their descriptions, and the opening that all of these share.

    Raises:
        ConfigError: If the file is missing, not UTF-8 or not JSON; if a key is missing, repeated or of
            another type; if a class or an id occurs twice; if classes have different numbers of descriptions,
            fewer than 10 or more than 40; or if a description is empty, does not begin with the opening, ends
            after it, or repeats another of its class (case, whitespace and a final full stop are ignored).
            The message names file, class and line.
    """
    source = str(path_or_name)
    packaged = files("rskt_seg.models.wsss").joinpath("descriptions", f"{source}.json")
    try:
        content = packaged.read_bytes() if source in PACKAGED else read_bytes(Path(source))
    except (FileNotFoundError, UnreadableError) as error:
        reason = error.strerror if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError(
            f"cannot read the description file {source}: {reason}; packaged are {', '.join(PACKAGED)}"
        ) from error
    return _Validator(source, parse_located(source, content)).validate(hashlib.sha256(content).hexdigest())


def find_packaged(names: Sequence[str]) -> Knowledge | None:
    """Find the packaged file that describes a set of classes.

    Files of `TINY` are skipped: users of the tiny CLIP request them by name.

    Args:
        names: Class names; upper and lower case are not distinguished.

    Returns:
        The first file of `PACKAGED` that describes all of them; None if there is none, or no name.
    """
    if not names:
        return None
    for packaged in PACKAGED:
        if packaged not in TINY:
            knowledge = read_knowledge(packaged)
            if {_fold(name) for name in names} <= _by_name(knowledge.classes).keys():
                return knowledge
    return None


class _Validator:
    """Turns the parsed JSON of a description file into `Knowledge`, one check after the other.

    Every method raises `ConfigError` at the first fault.
    """

    def __init__(self, source: str, document: object) -> None:
        self.source = source
        if not isinstance(document, dict):
            self._fail(f"expected a JSON object with the keys {', '.join(sorted(_KEYS))}")
        self.document: dict[str, object] = document
        self.template = self._string_with_name("template")
        self.opening = f"{self.template} It exhibits "
        if "opening" in document:
            self.opening = self._string_with_name("opening")
        self.notices = self._unknown_keys(self.document, _KEYS)

    def validate(self, digest: str) -> Knowledge:
        """Return the content of the whole file; `digest` as in `Knowledge`."""
        if (version := self._value(self.document, "version", int)) != _VERSION:
            self._fail(f"expected version {_VERSION}, found {version}")
        entries = self._value(self.document, "classes", list)
        if not entries:
            self._fail("classes is empty: describe at least one class")
        named = [self._class(entry, number) for number, entry in enumerate(entries, start=1)]
        names, classes = [name for name, _ in named], tuple(each for _, each in named)
        self._check_distinct(names, classes)
        self._check_counts(names, classes)
        if not self.document.get("generator"):
            self.notices.append(f"{self.source}: generator is missing: who wrote the descriptions, and when?")
        dataset = str(self._value(self.document, "dataset", LocatedStr))
        notices = tuple(self.notices)
        return Knowledge(dataset, self.template, classes, digest, notices, self.source, self.opening)

    def _class(self, entry: object, number: int) -> tuple[LocatedStr, KnowledgeClass]:
        """Return the name of a class as it stands in the file, and the class."""
        if not isinstance(entry, dict):
            self._fail(f"entry {number} of classes must be an object with name, id and descriptions")
        name = self._value(entry, "name", LocatedStr, f"number {number}")
        class_id = self._value(entry, "id", int, name)
        if not 0 <= class_id <= 255:
            self._fail(f"id must be between 0 and 255, found {class_id}", name)
        dataset_name = None
        if "class" in entry:
            dataset_name = self._value(entry, "class", LocatedStr, name).strip()
        lines = self._value(entry, "descriptions", list, name)
        self.notices += self._unknown_keys(entry, _CLASS_KEYS, name)
        descriptions = [self._description(text, name) for text in lines]
        first: dict[str, int] = {}
        for text in descriptions:
            key = _fold(text).rstrip(" .")
            if key in first:
                self._fail(f"repeats the description of line {first[key]}", name, text.line)
            first[key] = text.line
        stripped = tuple(text.strip() for text in descriptions)
        return name, KnowledgeClass(name.strip(), class_id, stripped, dataset_name)

    def _description(self, text: object, name: LocatedStr) -> LocatedStr:
        if not isinstance(text, LocatedStr):
            self._fail(f"a description must be a string, found {text!r}", name)
        content = text.strip()
        if not content:
            self._fail("description is empty", name, text.line)
        opening = self.opening.replace(_FIELD, name.strip())
        if not content.startswith(opening):
            self._fail(f"description must begin with {opening!r}, found {content!r}", name, text.line)
        if not content.removeprefix(opening).strip(" ."):
            self._fail(f"description ends after the opening {opening!r}", name, text.line)
        return text

    def _check_distinct(self, names: Sequence[LocatedStr], classes: Sequence[KnowledgeClass]) -> None:
        """Check that classes share neither name nor id, and are sorted by id."""
        used: dict[str | int, str] = {}
        last = -1
        for name, each in zip(names, classes, strict=True):
            keys: set[str | int] = {each.id, _fold(each.name), _fold(each.dataset_name or each.name)}
            for key in keys:
                if key in used:
                    what = f"name {key!r}" if isinstance(key, str) else f"id {key}"
                    self._fail(f"the {what} is already used by class {used[key]!r}", name)
                used[key] = each.name
            if each.id < last:
                self._fail(f"classes must be sorted by id, found id {each.id} after {last}", name)
            last = each.id

    def _check_counts(self, names: Sequence[LocatedStr], classes: Sequence[KnowledgeClass]) -> None:
        expected = len(classes[0].descriptions)
        for name, each in zip(names, classes, strict=True):
            count = len(each.descriptions)
            if not MIN_DESCRIPTIONS <= count <= MAX_DESCRIPTIONS:
                limits = f"{MIN_DESCRIPTIONS} to {MAX_DESCRIPTIONS}"
                self._fail(f"expected {limits} descriptions, found {count}", name)
            if count != expected:
                self._fail(
                    f"found {count} descriptions, but class {classes[0].name!r} has {expected}: give every "
                    "class the same number",
                    name,
                )

    def _value(self, entry: Mapping[str, object], key: str, kind: type[_T], name: str = "") -> _T:
        """Return the value of a required key, of the type `kind` and, if a string, not blank."""
        if key not in entry:
            self._fail(f"the key {key!r} is missing", name)
        value = entry[key]
        line = value.line if isinstance(value, LocatedStr) else None
        blank = isinstance(value, str) and not value.strip()
        if not isinstance(value, kind) or isinstance(value, bool) or blank:
            self._fail(f"{key} must be {_TYPE_NAMES[kind]}, found {value!r}", name, line)
        return value

    def _string_with_name(self, key: str) -> str:
        text = self._value(self.document, key, LocatedStr)
        if text.count(_FIELD) != 1:
            self._fail(f"{key} must contain {_FIELD} exactly once, found {text!r}", line=text.line)
        return str(text)

    def _unknown_keys(self, entry: Mapping[str, object], known: set[str], name: str = "") -> list[str]:
        return [f"{self._where(name)}: unknown key {str(key)!r}" for key in entry if key not in known]

    def _fail(self, what: str, name: str = "", line: int | None = None) -> NoReturn:
        """Raise `ConfigError` for a class, if `name` is given, and its line or a more precise one."""
        if line is None and isinstance(name, LocatedStr):
            line = name.line
        raise ConfigError(f"{self._where(name)}{f', line {line}' if line else ''}: {what}")

    def _where(self, name: str) -> str:
        return f"{self.source}, class {str(name)!r}" if name else self.source


def _by_name(classes: Sequence[KnowledgeClass]) -> dict[str, KnowledgeClass]:
    """Return the classes by all their names, folded."""
    return {_fold(name): each for each in classes for name in (each.name, each.dataset_name) if name}


def _fold(text: str) -> str:
    """Return a text in lower case with single spaces, for comparisons."""
    return " ".join(text.split()).casefold()
