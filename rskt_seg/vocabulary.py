"""Class names as users write them: an inline list, a text file or a JSON file.

A class may have synonyms. Published rule (RSKT-Seg): of a class written `a, b` only the first name is
used. SegEarth-OV's text files keep the same line layout and merge the scores of all names.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rskt_seg.errors import VocabularyError

SYNONYM_RULES = ("first", "mean", "max")
"""What the scores of a class with several names are: those of its first name, or merged over all."""


@dataclass(frozen=True)
class Vocabulary:
    """T classes: `names[t]` is shown and `synonyms[t]` holds all its names, `names[t]` first.

    Raises `VocabularyError` for what `check_names` refuses, in the names or in one class's synonyms.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        check_names(self.names)
        if len(self.synonyms) != len(self.names):
            raise VocabularyError(
                f"one group of synonyms for each class expected, found {len(self.synonyms)} groups "
                f"for {len(self.names)} classes"
            )
        for name, group in zip(self.names, self.synonyms, strict=True):
            check_names(group)
            if group[0] != name:
                raise VocabularyError(f"the synonyms of class {name!r} must begin with it; found {group!r}")

    @property
    def notices(self) -> tuple[str, ...]:
        """One line for each class of which synonyms="first" leaves names unused."""
        return tuple(
            f"class {', '.join(group)!r}: only its first name {group[0]!r} is used; "
            "synonyms mean or max merge the scores of all its names"
            for group in self.synonyms
            if len(group) > 1
        )

    def prompts(self, rule: str) -> tuple[str, ...]:
        """The names to ask a model for: T of them with rule "first", else every name of every class.

        Raises `VocabularyError` for an unknown rule, or when two classes share a name that would be
        merged into both.
        """
        if rule not in SYNONYM_RULES:
            raise VocabularyError(f"synonyms must be one of {', '.join(SYNONYM_RULES)}; found {rule!r}")
        if rule == "first":
            return self.names
        return check_names(tuple(name for group in self.synonyms for name in group))


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Class names without the blanks around them, in their order.

    Raises `VocabularyError` for a plain string in place of a list, an empty list, an entry that is
    empty or no string, and names that differ in nothing but case.
    """
    if isinstance(names, str):
        raise VocabularyError(
            f"class names must be a list; found the plain string {names!r} "
            f"(a tuple of one name needs a comma: ({names!r},))"
        )
    if not isinstance(names, Iterable):
        raise VocabularyError(f"class names must be a list of strings; found {type(names).__name__}")
    stripped = tuple(_stripped(name, position) for position, name in enumerate(names, start=1))
    if not stripped:
        raise VocabularyError("the vocabulary is empty; give at least one class name")
    seen: dict[str, int] = {}
    for position, name in enumerate(stripped, start=1):
        first = seen.setdefault(name.casefold(), position)
        if first != position:
            raise VocabularyError(
                f"class name {name!r} appears twice (entries {first} and {position}); keep one of them"
            )
    return stripped


def fixed_names(names: Sequence[str] | None, num_classes: int) -> tuple[str, ...] | None:
    """The class names of a closed-set model of `num_classes`, or None where they are not known.

    Raises `VocabularyError` for another number of names, and as `check_names`.
    """
    if names is None:
        return None
    checked = check_names(names)
    if len(checked) != num_classes:
        raise VocabularyError(
            f"a model of {num_classes} classes needs as many names; found {len(checked)}: "
            f"{', '.join(checked)}"
        )
    return checked


def fixed_vocabulary(
    names: Sequence[str] | None, num_classes: int, given: "Sequence[str] | Vocabulary | None" = None
) -> Vocabulary:
    """The vocabulary of a closed-set model, whose class `names` may not be known.

    `given`: None, or what a user names the classes. It may only repeat names that are known, blanks and
    case aside. No entry is split: nothing reads synonyms. Raises `VocabularyError` for other names, for
    another number of them, and where there are none at all.
    """
    listed = None if given is None else _unsplit(given)
    chosen = listed if names is None else tuple(names)
    if chosen is None:
        raise VocabularyError(
            f"this model does not know what its {num_classes} classes are called: give their names, in order"
        )
    if len(chosen) != num_classes:
        raise VocabularyError(
            f"this model has {num_classes} classes; found {len(chosen)} names: {_quoted(chosen)}"
        )
    if listed is not None and [n.casefold() for n in listed] != [n.casefold() for n in chosen]:
        raise VocabularyError(
            "the classes of this model are fixed, it cannot be asked for others: leave the vocabulary out. "
            f"Its classes are {_quoted(chosen)}; found {_quoted(listed)}"
        )
    return Vocabulary(chosen, tuple((name,) for name in chosen))


def _unsplit(given: "Sequence[str] | Vocabulary") -> tuple[str, ...]:
    if isinstance(given, Vocabulary):
        return tuple(", ".join(group) for group in given.synonyms)
    return check_names(given)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def make_vocabulary(names: "Sequence[str] | Vocabulary") -> Vocabulary:
    """The vocabulary of a list in which an entry `"a, b"` has the synonyms a and b.

    Only comma and blank separate synonyms here, as in the published JSON lists. Raises
    `VocabularyError` for what `check_names` refuses.
    """
    if isinstance(names, Vocabulary):
        return names
    return _grouped([entry.split(", ") for entry in check_names(names)])


def seen_names(names: Sequence[str], trained: Iterable[str]) -> tuple[bool, ...]:
    """Which of `names` are among the `trained` class names, case and plural aside.

    The rule behind "seen" and "unseen" classes in reports: `Building` is seen where `buildings` was
    trained; other words for the same thing (`plane`, `airplane`) are not.
    """
    known = {_singular(name) for name in trained}
    return tuple(_singular(name) in known for name in names)


def _singular(name: str) -> str:
    word = name.strip().casefold()
    for ending, instead in (
        ("ies", "y"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("xes", "x"),
        ("ss", "ss"),
        ("s", ""),
    ):
        if word.endswith(ending):
            return word.removesuffix(ending) + instead
    return word


def parse_vocabulary(text_or_path: str | os.PathLike) -> Vocabulary:
    """A vocabulary from what a user typed.

    A name that ends in `.txt` is a file with one class a line, synonyms after commas, blank lines and
    lines that begin with `#` left out; one that ends in `.json` is a file with a list of strings.
    Anything else is an inline list, one class between commas. Raises `VocabularyError` for a file that
    is missing, cannot be read or has another ending, and for what `check_names` refuses.
    """
    text = os.fspath(text_or_path)
    suffix = Path(text).suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix](Path(text))
    if not isinstance(text_or_path, str) or Path(text).is_file() or suffix in _OTHER_FILES:
        raise VocabularyError(f"a vocabulary file must end in .txt or .json; found {text}")
    if not text.strip():
        raise VocabularyError("the vocabulary is empty; give at least one class name")
    return _grouped([[entry] for entry in text.split(",")])


def _read_lines(path: Path) -> Vocabulary:
    lines = [line.strip() for line in _read_text(path).splitlines()]
    groups = [line.split(",") for line in lines if line and not line.startswith("#")]
    return _in_file(path, groups)


def _read_json(path: Path) -> Vocabulary:
    try:
        entries = json.loads(_read_text(path))
    except ValueError as error:
        raise VocabularyError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise VocabularyError(f'{path} must hold a JSON list of strings, such as ["building", "road"]')
    return _in_file(path, [entry.split(", ") for entry in entries])


_OTHER_FILES = {".csv", ".tsv", ".yaml", ".yml", ".xlsx", ".md"}
_READERS = {".txt": _read_lines, ".json": _read_json}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise VocabularyError(f"cannot read the vocabulary {path}: {cause}") from error


def _in_file(path: Path, groups: list[list[str]]) -> Vocabulary:
    try:
        return _grouped(groups)
    except VocabularyError as error:
        raise VocabularyError(f"{path}: {error}") from error


def _grouped(groups: list[list[str]]) -> Vocabulary:
    names = check_names([group[0] for group in groups])
    return Vocabulary(names, tuple(check_names(group) for group in groups))


def _stripped(name: object, position: int) -> str:
    if not isinstance(name, str):
        raise VocabularyError(f"class names must be strings; entry {position} is {name!r}")
    if not name.strip():
        raise VocabularyError(f"entry {position} of the vocabulary is empty; remove it or name the class")
    return name.strip()
