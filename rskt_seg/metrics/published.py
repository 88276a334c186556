"""Tables of papers as printed, read from CSV files: reference beside own results.

The tables are the files `tables/<paper>_<table>.csv`. The lines above the header of a file are comments:

    # source: FCtL, table 2          the paper and the table, as a report names them
    # labels: model, backbone        the columns that tell the rows apart; all others hold figures
    # ...                            what was measured, and which cells contradict each other

A figure is written as printed: percent, unless its column names another unit. An empty cell is not printed.
Which table belongs to a method, and which row to a model, is known where the method is, not here.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from itertools import takewhile

from rskt_seg.errors import DatasetError

_FIGURE = re.compile(r"[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class PublishedRow:
    """One row of a table.

    Attributes:
        labels: Name of each label column -> its word, "" if none is printed.
        figures: Name of each other column -> its figure, None if none is printed.
    """

    labels: Mapping[str, str]
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Attributes:
        source: Paper and table, such as "FCtL, table 2".
        labels: Names of the columns that tell the rows apart.
        columns: Names of the columns that hold figures.
        rows: The rows in printed order; no two have the same labels.
    """

    source: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]

    def find(self, **labels: str) -> PublishedRow | None:
        """Return the only row with these labels.

        Args:
            **labels: Words of label columns; a column that is not given matches every row.

        Returns:
            The row, or None if there is none.

        Raises:
            DatasetError: If the table has no such label column, or several rows match.
        """
        if unknown := [name for name in labels if name not in self.labels]:
            raise DatasetError(
                f"{self.source} has no label {', '.join(unknown)}; its labels: {', '.join(self.labels)}"
            )
        found = [row for row in self.rows if all(row.labels[name] == word for name, word in labels.items())]
        if len(found) > 1:
            raise DatasetError(
                f"{self.source}: {len(found)} rows match {labels}; give more of {', '.join(self.labels)}"
            )
        return found[0] if found else None


@dataclass(frozen=True)
class ComparableRow:
    """A row of mIoU of a `ComparableTable`.

    Attributes:
        miou: Registered test set -> mIoU in percent, where it is printed.
        in_domain: Registered test set -> whether the method was trained on images of it; empty if the table
            does not say.
    """

    miou: Mapping[str, float]
    in_domain: Mapping[str, bool | None]


@dataclass(frozen=True)
class ComparableTable:
    """How a table of methods by test sets is read beside own results.

    Attributes:
        name: Name of the table, for `read_table`.
        columns: Registered test set -> column, for registrations whose scores compare.
        choice: Words of label columns that choose the rows of mIoU, such as `{"measure": "mIoU"}`.
        trained_on: The label that names the column of the training set; "" if there is none.
    """

    name: str
    columns: Mapping[str, str]
    choice: Mapping[str, str]
    trained_on: str = ""

    def rows(self, words: Sequence[str] = ()) -> dict[str, ComparableRow]:
        """Return the rows of mIoU whose labels contain all of the given words, in any case.

        Args:
            words: Words of labels, such as "ViT-B"; none for all rows.

        Returns:
            The labels of a row, joined -> the row.

        Raises:
            DatasetError: No row has these labels; the message lists the words that there are.
        """
        table = read_table(self.name)
        free = [label for label in table.labels if label not in self.choice]
        wanted = {word.strip().casefold() for word in words}
        found = {}
        for row in table.rows:
            labels = [row.labels[label] for label in free if row.labels[label]]
            chosen = all(row.labels[label] == word for label, word in self.choice.items())
            if chosen and wanted <= {label.casefold() for label in labels}:
                printed = {name: row.figures[column] for name, column in self.columns.items()}
                miou = {name: value for name, value in printed.items() if value is not None}
                trained = row.labels[self.trained_on] if self.trained_on else ""
                in_domain = {name: self.columns[name] == trained for name in miou} if trained else {}
                found[", ".join(labels)] = ComparableRow(miou, in_domain)
        if not found:
            known = sorted({row.labels[label] for row in table.rows for label in free})
            raise DatasetError(
                f"{table.source} has no row with {' and '.join(words)}; its labels: {', '.join(known)}"
            )
        return found


def table_names() -> tuple[str, ...]:
    """Return the names of the packaged tables, sorted."""
    folder = files("rskt_seg.metrics").joinpath("tables")
    return tuple(sorted(file.name[:-4] for file in folder.iterdir() if file.name.endswith(".csv")))


def read_table(name: str) -> PublishedTable:
    """Read a packaged table; the file is small, so it is read anew with every call.

    Args:
        name: Name of the file without its ending, such as "fctl_table2".

    Returns:
        The table.

    Raises:
        DatasetError: If there is no such table, or its file is malformed.
    """
    if name not in (known := table_names()):
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise DatasetError(f"unknown published table {name!r}; {hint}")
    file = files("rskt_seg.metrics").joinpath("tables", f"{name}.csv")
    return parse_table(file.read_text(encoding="utf-8"), file.name)


def parse_table(text: str, where: str) -> PublishedTable:
    """Parse the content of a table's file.

    Args:
        text: The content, as the module's docstring describes it.
        where: Name of the file, for error messages.

    Returns:
        The table.

    Raises:
        DatasetError: If the text is malformed: a `source` or `labels` line is missing or repeated, a label
            is no column, a column is unnamed or repeated, a row has too few or too many cells or the labels
            of an earlier one, a figure is no plain number, or there is no row.
    """
    lines = text.splitlines()
    comments = list(takewhile(lambda line: line.startswith("#"), lines))
    source = _statement(comments, "source", where)
    labels = tuple(word.strip() for word in _statement(comments, "labels", where).split(","))
    reader = csv.reader(lines[len(comments) :], strict=True)
    rows: dict[tuple[str, ...], PublishedRow] = {}
    try:
        header = next(reader, [])
        _check_header(header, labels, where)
        columns = tuple(name for name in header if name not in labels)
        for cells in reader:
            place = f"{where}, line {len(comments) + reader.line_num}"
            row = _parse_row(header, cells, labels, place)
            key = tuple(row.labels.values())
            if key in rows:
                raise DatasetError(f"{place}: labels must tell the rows apart; repeated: {', '.join(key)}")
            rows[key] = row
    except csv.Error as error:
        raise DatasetError(f"{where}, line {len(comments) + reader.line_num}: not CSV: {error}") from error
    if not rows:
        raise DatasetError(f"{where}: expected at least one row below the header, found none")
    return PublishedTable(source, labels, columns, tuple(rows.values()))


def _statement(comments: Sequence[str], key: str, where: str) -> str:
    """Return the text of the one comment line `# key: text`."""
    found = [line.removeprefix(f"# {key}:").strip() for line in comments if line.startswith(f"# {key}:")]
    if len(found) != 1 or not found[0]:
        raise DatasetError(f"{where}: expected one line '# {key}: ...' above the header, found {len(found)}")
    return found[0]


def _check_header(header: Sequence[str], labels: Sequence[str], where: str) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated or "" in header:
        raise DatasetError(
            f"{where}: columns must have different names; repeated or empty: {repeated or ['']}"
        )
    if missing := [name for name in labels if name not in header]:
        raise DatasetError(f"{where}: labels {', '.join(missing)} are no columns; found {', '.join(header)}")
    if len(set(labels)) != len(labels) or len(labels) == len(header):
        raise DatasetError(f"{where}: expected different labels and at least one column of figures")


def _parse_row(
    header: Sequence[str], cells: Sequence[str], labels: Sequence[str], place: str
) -> PublishedRow:
    if len(cells) != len(header):
        raise DatasetError(f"{place}: expected {len(header)} cells, found {len(cells)}")
    words = dict(zip(header, cells, strict=True))
    figures: dict[str, float | None] = {}
    for column in header:
        if column in labels:
            continue
        word = words[column]
        if word and not _FIGURE.fullmatch(word):
            raise DatasetError(
                f"{place}, column {column!r}: expected a number such as 85.38 or nothing, found {word!r}"
            )
        figures[column] = float(word) if word else None
    return PublishedRow({label: words[label] for label in labels}, figures)
