"""Tables of classes: `.csv` as spreadsheets write it, and `.json`, with names and facts about them."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from rskt_seg.class_facts import ClassFacts, Color, is_color, parse_color
from rskt_seg.class_lists import ClassList
from rskt_seg.errors import VocabularyError
from rskt_seg.reading import brief

COLUMNS = ("name", "synonyms", "color", "id", "threshold")
"""Columns of a `.csv`, and keys of the objects of a `.json`."""
_SPELLINGS = {"colour": "color", "synonym": "synonyms"}
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SEP_LINE = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
_JSON_FORMS = (
    'expected a JSON list of strings, such as ["building", "road"], or of objects with the keys '
    f'{", ".join(COLUMNS)}, or a mapping of names to colours ("#RRGGBB") or to lists of synonyms'
)


def read_csv_table(text: str) -> ClassList:
    """Read classes from the text of a `.csv` file: a header, and one class a row.

    Args:
        text: The header names the columns: `name`, and any of `synonyms` (separated by | or ;), `color`
            (#RRGGBB or r,g,b), `id` and `threshold`, in any order; others are not used, and a remark says so.
            Columns are separated by commas, semicolons or tabs; cells that hold such a mark are quoted. A
            line `sep=;` may stand before the header.

    Returns:
        The classes with their facts. Empty rows are skipped; empty cells are not given.

    Raises:
        VocabularyError: There is no such header, or a row cannot be read; the message states the line.
    """
    stated = _SEP_LINE.match(text)
    body = text[stated.end() :] if stated else text
    delimiter = stated[1] if stated else _delimiter(body)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)
    columns, remarks, width = dict[str, int](), tuple[str, ...](), 0
    groups, facts, before = [], [], 1 if stated else 0
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            line = reader.line_num + before
            if not columns:
                (columns, remarks), width = _columns(row), len(row)
                continue
            cells = {name: row[place].strip() if place < len(row) else "" for name, place in columns.items()}
            try:
                if any(cell.strip() for cell in row[width:]):
                    raise VocabularyError(
                        f"expected {width} cells; found {len(row)}: put quotation marks around a cell that "
                        f"holds {_DELIMITERS.get(delimiter, repr(delimiter))}"
                    )
                groups.append(_csv_names(cells))
                facts.append(_csv_facts(cells))
            except VocabularyError as error:
                raise VocabularyError(f"line {line}: {error}") from error
    except csv.Error as error:
        raise VocabularyError(f"line {reader.line_num + before}: not valid CSV: {error}") from error
    return ClassList(groups, remarks, tuple(facts))


def _delimiter(text: str) -> str:
    header = next((line for line in text.splitlines() if line.strip()), "")
    found = [mark for mark in _DELIMITERS if mark in header]
    if len(found) > 1:
        kinds = " and ".join(_DELIMITERS[mark] for mark in found)
        raise VocabularyError(f"expected one separator of columns; found {kinds} in {header[:60]!r}")
    return found[0] if found else ","


def _columns(header: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the place of each known column, and a remark on others."""
    titles = [cell.strip().casefold() for cell in header]
    titles = [_SPELLINGS.get(title, title) for title in titles]
    if "name" not in titles:
        raise VocabularyError(
            f"expected a first row with the names of the columns, name and any of {', '.join(COLUMNS[1:])}; "
            f"found {brief(', '.join(header))}"
        )
    for title in titles:
        if title in COLUMNS and titles.count(title) > 1:
            raise VocabularyError(f"expected one column {title!r}; found {titles.count(title)}")
        near = get_close_matches(title, COLUMNS, n=1)
        if title and title not in COLUMNS and near:
            raise VocabularyError(
                f"no column is called {title!r}; did you mean {near[0]!r}? Columns: {', '.join(COLUMNS)}"
            )
    unused = [cell.strip() for cell, title in zip(header, titles, strict=True) if title not in COLUMNS]
    unused = [brief(title) for title in unused if title]
    remarks = (f"columns of the vocabulary that are not used: {', '.join(unused)}",) if unused else ()
    return {title: titles.index(title) for title in COLUMNS if title in titles}, remarks


def _csv_names(cells: Mapping[str, str]) -> list[str]:
    if not cells["name"]:
        raise VocabularyError("the class has no name")
    listed = cells.get("synonyms", "")
    if "," in listed or ("|" in listed and ";" in listed):
        raise VocabularyError(f"expected synonyms separated by | or by ;; found {listed!r}")
    return _with_synonyms(cells["name"], re.split(r"[|;]", listed) if listed else [])


def _with_synonyms(name: str, synonyms: Sequence[str]) -> list[str]:
    """Return all names of a class, of which a list of synonyms may contain the first."""
    return [name, *(each for each in synonyms if each.strip().casefold() != name.strip().casefold())]


def _csv_facts(cells: Mapping[str, str]) -> ClassFacts:
    color, number, threshold = (cells.get(title) for title in ("color", "id", "threshold"))
    if number and not re.fullmatch(r"\d{1,9}", number):
        raise VocabularyError(f"expected a whole number as id; found {number!r}")
    if threshold and not re.fullmatch(r"\d*[.,]?\d+|\d+[.,]", threshold):
        raise VocabularyError(f"expected a threshold in 0..1, such as 0.5; found {threshold!r}")
    return ClassFacts(
        parse_color(color) if color else None,
        int(number) if number else None,
        float(threshold.replace(",", ".")) if threshold else None,  # as spreadsheets of many countries write
    )


def read_json(text: str) -> ClassList:
    """Read classes from the text of a `.json` file.

    Args:
        text: A list of strings, in which comma and blank separate synonyms; a list of objects with `name` and
            any of `synonyms` (a list), `color` ("#RRGGBB", "r,g,b" or [r, g, b]), `id` and `threshold`; or a
            mapping of names to colours or to lists of synonyms.

    Returns:
        The classes with their facts, whose names are not interpreted further. Entries may be empty or equal.

    Raises:
        VocabularyError: Not JSON, or something else.
    """
    try:
        found = json.loads(text, object_pairs_hook=_unique)
    except VocabularyError:
        raise
    except json.JSONDecodeError as error:
        raise VocabularyError(f"not valid JSON: {error}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of thousands of digits
        raise VocabularyError(_JSON_FORMS) from error
    if isinstance(found, dict):
        return read_mapping(found)
    if isinstance(found, list):
        pairs = [_entry(position, entry) for position, entry in enumerate(found, start=1)]
    else:
        raise VocabularyError(_JSON_FORMS)
    return ClassList([names for names, _ in pairs], (), tuple(facts for _, facts in pairs))


def read_mapping(classes: Mapping[str, object]) -> ClassList:
    """Read classes from a mapping of names to colours or to lists of synonyms, as in a `.json` file.

    Args:
        classes: Name -> "#RRGGBB", "r,g,b", [r, g, b], or synonyms.

    Returns:
        The classes with their facts, whose names are not interpreted further.

    Raises:
        VocabularyError: A value is something else.
    """
    pairs = [_mapped(name, value) for name, value in classes.items()]
    return ClassList([names for names, _ in pairs], (), tuple(facts for _, facts in pairs))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, and refuse a key that it has twice, of which JSON would keep the last."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise VocabularyError(
            f"{next(brief(key) for key in keys if keys.count(key) > 1)} appears twice in it"
        )
    return found


def _mapped(name: str, value: object) -> tuple[list[str], ClassFacts]:
    """Read one entry of a mapping: a colour, or synonyms."""
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return _with_synonyms(name, value), ClassFacts()
    if isinstance(value, str | list) and value:
        try:
            return [name], ClassFacts(_json_color(value))
        except VocabularyError as error:
            raise VocabularyError(f"class {brief(name)}: {error}") from error
    raise VocabularyError(f"{_JSON_FORMS}; found {brief(value)} for {brief(name)}")


def _entry(position: int, entry: object) -> tuple[list[str], ClassFacts]:
    """Read one entry of a list: a string, or an object."""
    if isinstance(entry, str):
        return entry.split(", "), ClassFacts()
    if not isinstance(entry, dict):
        raise VocabularyError(_JSON_FORMS)
    values = {_SPELLINGS.get(key, key): value for key, value in entry.items()}
    where = f"entry {position}"
    if unknown := [key for key in entry if key not in (*COLUMNS, *_SPELLINGS)]:
        raise VocabularyError(
            f"{where}: expected an object with the keys {', '.join(COLUMNS)}; found {brief(unknown[0])}"
        )
    if len(values) < len(entry):
        raise VocabularyError(f"{where}: expected each key once; found {brief(', '.join(entry))}")
    name, synonyms = values.get("name"), values.get("synonyms") or []
    if not isinstance(name, str):
        raise VocabularyError(f"{where}: expected a string as name; found {brief(name)}")
    if not isinstance(synonyms, list) or not all(isinstance(each, str) for each in synonyms):
        raise VocabularyError(f"{where}: expected a list of strings as synonyms; found {brief(synonyms)}")
    try:
        color = None if values.get("color") is None else _json_color(values["color"])
    except VocabularyError as error:
        raise VocabularyError(f"{where}: {error}") from error
    return _with_synonyms(name, synonyms), ClassFacts(color, values.get("id"), values.get("threshold"))


def _json_color(value: object) -> Color:
    if isinstance(value, str):
        return parse_color(value)
    if not isinstance(value, list) or not is_color(color := tuple(value)):
        raise VocabularyError(f'expected a colour as "#RRGGBB", "r,g,b" or [r, g, b]; found {brief(value)}')
    return color
