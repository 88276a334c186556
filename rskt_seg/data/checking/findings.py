"""What a check of a dataset found, as text and as plain values for JSON."""

import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tabulate import tabulate

from rskt_seg.data.fingerprint import Fingerprint
from rskt_seg.wording import counted

ERROR, NOTE = "error", "note"
_SHOWN = 10
_WIDTH = 110
_INDENT = " " * 7


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        level: `ERROR` if training or scores would be wrong, else `NOTE`.
        what: What is wrong, without the file.
        cure: What to do.
    """

    level: str
    what: str
    cure: str


@dataclass(frozen=True)
class Fault:
    """A fault of one file.

    Attributes:
        kind: What is wrong.
        path: The file; empty if the whole dataset is meant.
        detail: What was found in this file.
    """

    kind: Kind
    path: str
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """All faults of one kind.

    Attributes:
        kind: What is wrong.
        files: (path, detail) of each file; empty if the whole dataset is meant.
    """

    kind: Kind
    files: tuple[tuple[str, str], ...] = ()

    @property
    def is_error(self) -> bool:
        """Whether this must be cured before the dataset is trained on or scored."""
        return self.kind.level == ERROR

    def line(self) -> str:
        """Return everything on one line, with at most ten files, for an exception or a log."""
        files = [f"{path} ({detail})" if detail else path for path, detail in self.files[:_SHOWN]]
        where = f": {', '.join(files)}{_more(self.files)}" if files else ""
        return f"{self.kind.what}{where} -> {self.kind.cure}"

    def render(self, folder: str = "") -> str:
        """Return the finding as indented lines: what, in which files, and the cure.

        Args:
            folder: The dataset root; paths below it are shown relative to it.

        Returns:
            Several lines of text without an end of line; at most ten files are named.
        """
        number = f": {_pluralize(len(self.files), 'file', 'files')}" if self.files else ""
        label = "ERROR" if self.is_error else "note "
        lines = _wrap(f"{self.kind.what}{number}", f"{label}  ")
        shown = [(_shorten(folder, path), detail) for path, detail in self.files[:_SHOWN]]
        if any(detail for _, detail in shown):
            width = max(len(path) for path, _ in shown)
            lines += [f"{_INDENT}  {path:<{width}}  {detail}" for path, detail in shown]
            lines += [f"{_INDENT}  {_more(self.files).strip()}"] if len(self.files) > _SHOWN else []
        elif shown:
            lines += _wrap(", ".join(path for path, _ in shown) + _more(self.files), _INDENT + "  ")
        return "\n".join([*lines, *_wrap(f"-> {self.kind.cure}", _INDENT)])

    def to_json(self) -> dict[str, Any]:
        """Return plain values with every file."""
        files = [{"path": path, "detail": detail} for path, detail in self.files]
        return {"level": self.kind.level, "what": self.kind.what, "cure": self.kind.cure, "files": files}


def collect(faults: Iterable[Fault]) -> list[Finding]:
    """Group faults by kind: errors first, kinds and files in the order of their first fault."""
    grouped: dict[Kind, list[tuple[str, str]]] = {}
    for fault in faults:
        files = grouped.setdefault(fault.kind, [])
        if fault.path:
            files.append((fault.path, fault.detail))
    return errors_first(Finding(kind, tuple(files)) for kind, files in grouped.items())


def errors_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort errors before notes; the order is kept otherwise."""
    return sorted(findings, key=lambda finding: not finding.is_error)


@dataclass(frozen=True)
class Report:
    """The result of checking one split of K classes.

    Attributes:
        name: The registered name of the split.
        folders: The folders of images and labels.
        classes: The K class names.
        ignore: The id that is neither trained nor scored.
        findings: What was found, errors first.
        count: Number of pairs, or of images if the split has no masks.
        histogram: Pixels of the ids 0..K-1 and, last, of the ignored id; empty without masks.
        files_per_class: Number of labels in which each of these ids occurs; without masks, number of images
            that show each of the K classes.
        strays: Number of pixels of other ids.
        fingerprint: The fingerprint of the split; None unless every file could be read.
        digests: Path of each readable image -> digest of its bytes.
    """

    name: str
    folders: tuple[str, str]
    classes: tuple[str, ...]
    ignore: int
    findings: tuple[Finding, ...]
    count: int = 0
    histogram: tuple[int, ...] = ()
    files_per_class: tuple[int, ...] = ()
    strays: int = 0
    fingerprint: Fingerprint | None = None
    digests: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def errors(self) -> int:
        """How many kinds of error were found."""
        return sum(finding.is_error for finding in self.findings)

    @property
    def ok(self) -> bool:
        """Whether no error was found; notes are allowed."""
        return not self.errors

    def render(self) -> str:
        """Return the report as text: errors, notes, the histogram and the fingerprint."""
        below = os.path.commonpath([os.path.abspath(folder) for folder in self.folders])
        shown = os.path.relpath(below)
        errors = _pluralize(self.errors, "kind of error", "kinds of error")
        notes = _pluralize(len(self.findings) - self.errors, "note", "notes")
        head = f"{self.name}: {self.count} {self._unit}, {len(self.classes)} classes, {errors}, {notes}"
        lines = [head, *_wrap(f"in {below if shown.startswith('..') else shown}", "")]
        lines += [finding.render(below) for finding in errors_first(self.findings)]
        if self.files_per_class:
            lines += [
                "",
                self._pixel_table() if self.histogram else self._image_table(),
                "",
                f"fingerprint  {self.fingerprint or 'none: not all is readable'}",
            ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON, with every file of every finding.

        `images_per_class` is empty for a split with masks, which has a histogram.
        """
        mark = self.fingerprint
        return {
            "name": self.name,
            "ok": self.ok,
            "folders": list(self.folders),
            "pairs": self.count,
            "fingerprint": mark and {"images": mark.images, "labels": mark.labels, "count": mark.count},
            "histogram": [
                {"id": k, "name": name, "pixels": pixels, "files": files}
                for k, name, pixels, files in self._rows()
            ],
            "images_per_class": self._images_per_class(),
            "other_pixels": self.strays,
            "findings": [finding.to_json() for finding in errors_first(self.findings)],
        }

    @property
    def _unit(self) -> str:
        return "images" if self.files_per_class and not self.histogram else "pairs"

    def _rows(self) -> Iterator[tuple[int, str, int, int]]:
        if self.histogram:
            ids = [*range(len(self.classes)), self.ignore]
            names = [*self.classes, "(ignored)"]
            yield from zip(ids, names, self.histogram, self.files_per_class, strict=True)

    def _images_per_class(self) -> dict[str, int]:
        return {} if self.histogram else dict(zip(self.classes, self.files_per_class, strict=False))

    def _image_table(self) -> str:
        rows = [
            [k, name, f"{images / max(1, self.count):.1%}", images]
            for k, (name, images) in enumerate(self._images_per_class().items())
        ]
        align = ("right", "left", "right", "right")
        return tabulate(rows, ("id", "class", "share", "images"), colalign=align, disable_numparse=True)

    def _pixel_table(self) -> str:
        total = max(1, sum(self.histogram) + self.strays)
        rows = [[k, name, f"{pixels / total:.3%}", pixels, files] for k, name, pixels, files in self._rows()]
        if self.strays:
            rows.append(["", "(other ids)", f"{self.strays / total:.3%}", self.strays, ""])
        align = ("right", "left", "right", "right", "right")
        head = ("id", "class", "share", "pixels", "files")
        return tabulate(rows, head, colalign=align, disable_numparse=True)


def summary(reports: Iterable[Report]) -> str:
    """Return a table with a line for each report.

    Args:
        reports: The reports of several splits.

    Returns:
        Name, pairs, kinds of error, notes and fingerprint in columns of text.
    """
    rows = [(r.name, r.count, r.errors, len(r.findings) - r.errors, r.fingerprint or "none") for r in reports]
    return tabulate(rows, ("split", "pairs", "errors", "notes", "fingerprint"), disable_numparse=True)


def _shorten(folder: str, path: str) -> str:
    """Return `path` relative to `folder` if it lies below it."""
    shown = os.path.relpath(path, folder) if folder else path
    return path if shown.startswith("..") else shown


def _pluralize(count: int, one: str, several: str) -> str:
    if count == 0:
        return f"no {one.removeprefix('kind of ')}"
    return counted(count, one, several)


def _more(files: Sequence[object]) -> str:
    return f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * (len(indent) + 3 * text.startswith("-> ")),
        break_long_words=False,
        break_on_hyphens=False,
    )
