"""Vocabularies: class names as users write them, as an inline list or a .txt, .csv or .json file.

A class may have synonyms. Published rule (RSKT-Seg): of a class written `a, b` only the first name is
used. SegEarth-OV's text files have the same line layout, and there the scores of all names are merged.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from rskt_seg.class_facts import Color, check_colors, check_ids, check_thresholds
from rskt_seg.class_lists import ClassList, read_inline_list, read_text, read_text_list
from rskt_seg.class_tables import read_csv_table, read_json, read_mapping
from rskt_seg.errors import VocabularyError
from rskt_seg.labels import MOST_CLASSES
from rskt_seg.quoting import hidden_characters

SYNONYM_RULES = ("first", "mean", "max")
"""How a class with several names is scored: by its first name alone, or by merging the scores of all."""
_EMPTY = "the vocabulary is empty; give at least one class name"
_SEVERAL = re.compile(
    r"[,;|\uff0c\u3001\u060c\u061b\uff0e\uff1b\uff5c\u30fb\u2022]|\s[./&+>\u00b7-]\s|\w/\w+/\w|\w\s{2,}\w|\\n"
    r"|\d\s+\d+\s+\d|#[0-9a-fA-F]{6}\b|^[\d\s.]+$"
)


@dataclass(frozen=True)
class Vocabulary:
    """Names of T classes, with synonyms, and what is given about them.

    Attributes:
        names: T display names.
        synonyms: T groups; `synonyms[t]` holds all names of class t, `names[t]` first.
        remarks: How the names were read where they were written in the habit of another tool, one line each.
        colors: T colours, RGB in 0..255, None for a class without one; None if no class has one.
        ids: T ids in 0..65534, the values of the pixels of a map; None: ids follow the order, from 0.
        thresholds: T scores in 0..1 below which a pixel that the class wins has no class, None for a class
            without one; None if no class has one.

    Raises:
        VocabularyError: `check_names` refuses `names` or a group of synonyms, or the two do not match; or the
            checks of `rskt_seg.class_facts` refuse colours, ids or thresholds.
    """

    names: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = field(default=(), compare=False)
    colors: tuple[Color | None, ...] | None = None
    ids: tuple[int, ...] | None = None
    thresholds: tuple[float | None, ...] | None = None

    def __post_init__(self) -> None:
        check_names(self.names)
        if self.colors is not None:
            check_colors(self.names, self.colors)
        if self.ids is not None:
            check_ids(self.names, self.ids)
        if self.thresholds is not None:
            check_thresholds(self.names, self.thresholds)
        if len(self.synonyms) != len(self.names):
            raise VocabularyError(
                f"expected one group of synonyms per class; found {len(self.synonyms)} groups "
                f"for {len(self.names)} classes"
            )
        for name, group in zip(self.names, self.synonyms, strict=True):
            check_names(group)
            if group[0] != name:
                raise VocabularyError(
                    f"the synonyms of class {name!r} must start with {name!r}; found {group!r}"
                )

    @property
    def notices(self) -> tuple[str, ...]:
        """One line per class whose further names are unused with synonyms="first"."""
        return tuple(
            f"class {', '.join(group)!r}: only its first name {group[0]!r} is used; "
            "synonyms mean or max merge the scores of all its names"
            for group in self.synonyms
            if len(group) > 1
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """One line per name that looks like several, and one if there is a single class."""
        lines = [
            f"class {name!r} is asked for as one name, with the marks and numbers in it; if it stands for "
            "several classes, list each by itself"
            for name in self.names
            if _SEVERAL.search(name)
        ]
        if len(self.names) == 1 and not any(self.thresholds or ()):
            (name,), (group,) = self.names, self.synonyms
            rest = "other" if name.casefold() == "background" else "background"
            others = "" if len(group) == 1 else f" ({', '.join(group)!r} are synonyms: one class a line)"
            lines.append(
                f"{name!r} is the only class, so every pixel will be it{others}; add a class for everything "
                f'else, such as "{name}, {rest}", or, where the scores are sigmoids as published, compare '
                "Segmentation.scores[0] to a threshold of your own in Python"
            )
        return tuple(lines)

    def prompts(self, rule: str) -> tuple[str, ...]:
        """Return the names to encode as text: T with rule "first", else all names of all classes.

        Args:
            rule: One of `SYNONYM_RULES`.

        Returns:
            The names, class after class.

        Raises:
            VocabularyError: An unknown rule, or a name that two classes share and that would be merged
                into both.
        """
        if rule not in SYNONYM_RULES:
            raise VocabularyError(f"synonyms must be one of {', '.join(SYNONYM_RULES)}; found {rule!r}")
        if rule == "first":
            return self.names
        return check_names(tuple(name for group in self.synonyms for name in group))


VocabularySource = Sequence[str] | Mapping[str, object] | Vocabulary
"""Class names, names with their synonyms or colours, or both with all that is known of them."""


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return class names in the same order, without leading and trailing blanks.

    Args:
        names: Class names.

    Returns:
        The names, T of them.

    Raises:
        VocabularyError: A plain string, a set or a mapping instead of a list, an empty list, over 65,535
            entries, an entry that is empty or not a string or has `rskt_seg.quoting.hidden_characters`, or
            two names that are equal up to case.
    """
    if isinstance(names, str):
        raise VocabularyError(
            f"class names must be a list; found the plain string {names!r} "
            f"(a tuple of one name needs a comma: ({names!r},))"
        )
    if not isinstance(names, Iterable) or isinstance(names, Mapping | Set):
        raise VocabularyError(
            f"class names must be a list of strings, in the order of their ids; found {type(names).__name__}"
        )
    names = list(names)
    if len(names) > MOST_CLASSES:
        raise VocabularyError(
            f"expected at most {MOST_CLASSES:,} class names, as label maps have 16 bits; found {len(names):,}"
        )
    stripped: list[str] = []
    for position, name in enumerate(names, start=1):
        if not isinstance(name, str):
            raise VocabularyError(f"class names must be strings; entry {position} is {name!r}")
        if not name.strip():
            raise VocabularyError(f"entry {position} of the vocabulary is empty; remove it or name the class")
        stripped.append(name.strip())
        if hidden := hidden_characters(stripped[-1]):
            found = ", ".join(f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip() for c in hidden)
            raise VocabularyError(
                f"expected class names of visible characters; entry {position} is {name!r}, with {found}; "
                "remove it, and list each class by itself"
            )
    if not stripped:
        raise VocabularyError(_EMPTY)
    seen: dict[str, int] = {}
    for position, name in enumerate(stripped, start=1):
        first = seen.setdefault(name.casefold(), position)
        if first != position:
            raise VocabularyError(
                f"class name {name!r} appears twice (entries {first} and {position}); keep one of them"
            )
    return tuple(stripped)


def fixed_names(names: Sequence[str] | None, num_classes: int) -> tuple[str, ...] | None:
    """Return the class names of a closed-set model after a check, or None if they are unknown.

    Args:
        names: The class names in the order of ids, or None.
        num_classes: How many classes the model has.

    Returns:
        The names without surrounding blanks, or None.

    Raises:
        VocabularyError: Another number of names, or names that `check_names` refuses.
    """
    if names is None:
        return None
    checked = check_names(names)
    if len(checked) != num_classes:
        raise VocabularyError(
            f"a model of {num_classes} classes needs {num_classes} class names; found {len(checked)}: "
            f"{', '.join(checked)}"
        )
    return checked


def fixed_vocabulary(
    names: Sequence[str] | None, num_classes: int, given: "Sequence[str] | Vocabulary | None" = None
) -> Vocabulary:
    """Return the vocabulary of a closed-set model, whose class names may be unknown.

    Colours, ids and thresholds that are given with the names are kept.

    Args:
        names: The class names of the model, or None.
        num_classes: How many classes the model has.
        given: None, or the class names that a user passes. If the model knows its names, they must be the
            same up to case and surrounding blanks. Entries are not split at commas, because a closed-set
            model has no use for synonyms.

    Returns:
        The vocabulary, each class with a single name.

    Raises:
        VocabularyError: Other names than those of the model, another number of names, or no names at all.
    """
    stated = given if isinstance(given, Vocabulary) else None
    if isinstance(given, Vocabulary):
        given = [", ".join(group) for group in given.synonyms]
    requested = None if given is None else check_names(given)
    chosen = requested if names is None else tuple(names)
    if chosen is None:
        raise VocabularyError(
            f"the names of the {num_classes} classes of this model are unknown; pass them in the order of ids"
        )
    if len(chosen) != num_classes:
        raise VocabularyError(
            f"this model has {num_classes} classes; found {len(chosen)} names: {_quoted(chosen)}"
        )
    if requested is not None and [n.casefold() for n in requested] != [n.casefold() for n in chosen]:
        raise VocabularyError(
            "the classes of this model are fixed; leave the vocabulary out. "
            f"Its classes are {_quoted(chosen)}; found {_quoted(requested)}"
        )
    groups = tuple((name,) for name in chosen)
    return Vocabulary(chosen, groups) if stated is None else replace(stated, names=chosen, synonyms=groups)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def make_vocabulary(names: VocabularySource) -> Vocabulary:
    """Return the vocabulary of a list of names, in which an entry `"a, b"` has the synonyms a and b.

    Synonyms are separated by a comma and a blank, as in the published JSON lists; a comma alone does not
    split a name.

    Args:
        names: Class names; a mapping of names to lists of synonyms, which may be empty, or to colours (see
            `rskt_seg.class_tables.read_mapping`); or a vocabulary, which is returned as it is.

    Returns:
        The vocabulary.

    Raises:
        VocabularyError: `check_names` refuses the names.
    """
    if isinstance(names, Vocabulary):
        return names
    if isinstance(names, Mapping):
        check_names(list(names))
        lists = {
            name: (list(value) or [name]) if isinstance(value, list | tuple) else value
            for name, value in names.items()
        }
        return _vocabulary(read_mapping(lists))
    return _vocabulary(ClassList([entry.split(", ") for entry in check_names(names)]))


def seen_names(names: Sequence[str], trained: Iterable[str]) -> tuple[bool, ...]:
    """Return which of `names` are among the `trained` class names, up to case and plural.

    This rule decides between "seen" and "unseen" classes in reports: `Building` is seen if `buildings` was
    trained; another word for the same thing (`plane` for `airplane`) is unseen.

    Args:
        names: The names of the classes that are scored.
        trained: The names of the classes that were trained.

    Returns:
        One truth value for each of `names`.
    """
    known = {singular(name) for name in trained}
    return tuple(singular(name) in known for name in names)


def singular(name: str) -> str:
    """Return a class name in lower case, its last word in the singular by the common rules of English.

    Args:
        name: A name.

    Returns:
        Such as "tennis court" for "Tennis courts".
    """
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


def parse_vocabulary(text_or_path: str | os.PathLike[str]) -> Vocabulary:
    """Return the vocabulary that a user passed as a file or as an inline list.

    Args:
        text_or_path: A `.txt` file with one class per line and synonyms after commas (see
            `rskt_seg.class_lists.read_text_list`); a `.csv` or `.json` file, which may also give colours, ids
            and thresholds (see `rskt_seg.class_tables`); anything else is an inline list of classes,
            separated by commas (see `rskt_seg.class_lists.read_inline_list`).

    Returns:
        The vocabulary.

    Raises:
        VocabularyError: A file that is missing, unreadable or of another type, a text that could mean several
            lists, or names that `check_names` refuses.
    """
    text = os.fspath(text_or_path)
    suffix = Path(text).suffix.lower()
    if suffix in _READERS:
        try:
            content, remarks = read_text(text)
            found = _READERS[suffix](content)
            return _vocabulary(found._replace(remarks=(*remarks, *found.remarks)))
        except VocabularyError as error:
            raise VocabularyError(f"{text}: {error}") from error
    if not isinstance(text_or_path, str) or os.path.isfile(text) or suffix in _OTHER_FILES:
        raise VocabularyError(f"a vocabulary file must end in .txt, .csv or .json; found {text}")
    if not text.strip():
        raise VocabularyError(_EMPTY)
    return _vocabulary(read_inline_list(text))


def read_typed(text: str) -> Vocabulary:
    """Return the vocabulary of a text that a user typed, which is never taken for the name of a file.

    Args:
        text: One line of classes, see `rskt_seg.class_lists.read_inline_list`; or several with a class each,
            see `rskt_seg.class_lists.read_text_list`.

    Returns:
        The vocabulary.

    Raises:
        VocabularyError: A text that could mean several lists, or names that `check_names` refuses.
    """
    if not text.strip():
        raise VocabularyError(_EMPTY)
    several = len(text.strip().splitlines()) > 1
    return _vocabulary(read_text_list(text) if several else read_inline_list(text))


_OTHER_FILES = {".tsv", ".yaml", ".yml", ".xlsx", ".ods", ".md"}
_READERS = {".txt": read_text_list, ".csv": read_csv_table, ".json": read_json}


def _vocabulary(found: ClassList) -> Vocabulary:
    """Return the vocabulary of a class list; what no class has is None."""
    names = check_names([group[0] for group in found.groups])
    groups = tuple(check_names(group) for group in found.groups)
    colors, ids, thresholds = (
        (
            None if all(value is None for value in values) else values
            for values in zip(*found.facts, strict=True)
        )
        if found.facts
        else (None, None, None)
    )
    return Vocabulary(names, groups, found.remarks, colors, ids, thresholds)
