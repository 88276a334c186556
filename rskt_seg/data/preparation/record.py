"""The record of a preparation: a line for each image as it is done, and a manifest of the complete set."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rskt_seg.data.catalog import IGNORE_LABEL, RGB
from rskt_seg.data.labels import pixel_counts
from rskt_seg.data.preparation.job import Done
from rskt_seg.data.preparation.plan import Plan
from rskt_seg.errors import DatasetError

_FORMAT = 1
"""Raise it whenever the same download would give other files."""
_JOURNAL, _MANIFEST = "prepare.jsonl", "prepare.json"


@dataclass(frozen=True)
class Options:
    """How a dataset is prepared. `tolerance`: share (0..1) of the pixels of a label that may have colours of
    no class; `keep_empty`: write also windows without any labelled pixel; `allow_missing`: leave out images
    and labels without a partner; `overwrite`: delete what an earlier run has written, and begin anew."""

    tolerance: float = 0.0
    keep_empty: bool = False
    allow_missing: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= 1:
            raise DatasetError(f"the tolerance is a share of 0..1; found {self.tolerance}")


DEFAULTS = Options()


@dataclass(frozen=True)
class Summary:
    """What a run found and did; `fresh`: images that this run worked on."""

    dataset: str
    root: Path
    notes: tuple[str, ...]
    parts: dict[str, int]
    images: int
    windows: int
    empty: int
    pixels: dict[int, int]
    unknown: dict[RGB, int]
    folders: tuple[str, ...]
    fresh: int

    def __str__(self) -> str:
        total = sum(self.pixels.values())
        ignored = self.pixels.get(IGNORE_LABEL, 0) / max(total, 1)
        lines = [f"{self.dataset}: {self.images} images", *(f"  {note}" for note in self.notes)]
        if self.windows != self.images or self.empty:
            lines.append(f"  {self.windows} windows, {self.empty} without any labelled pixel left out")
        lines.append(f"  {ignored:.2%} of {total} pixels are ignored")
        if self.unknown:
            lines.append(f"  colours of no class, now ignored: {pixel_counts(self.unknown)}")
        lines += [f"  {self.root / folder}" for folder in self.folders]
        done = "nothing was left to do" if not self.fresh else f"{self.fresh} images were worked on"
        return "\n".join([*lines, f"  {done}; next: python datasets/check.py {self.dataset}"])


class Record:
    """The journal of a run, a line for each image, and the manifest that a complete run leaves."""

    def __init__(self, plan: Plan, root: Path, options: Options) -> None:
        self.plan, self.root, self.options = plan, root, options
        self.journal = root / plan.recipe.folder / _JOURNAL
        self.head = {
            "format": _FORMAT,
            "dataset": plan.recipe.dataset,
            "source": plan.digest,
            "tolerance": options.tolerance,
        }
        self.done: dict[tuple[str, str], Done] = {}

    def open(self) -> None:
        """Take up what earlier runs have done, or begin anew."""
        rows = _rows(self.journal)
        head = next(rows, None)
        if head is not None and self.options.overwrite:
            self._delete(rows)
            head = None
        if head is None:
            self._refuse_foreign()
            self.journal.parent.mkdir(parents=True, exist_ok=True)
            self._append(self.head)
        elif differing := [key for key, value in self.head.items() if head.get(key) != value]:
            raise DatasetError(
                f"{self.journal} says that the set was prepared with another {', '.join(differing)}; use "
                "--overwrite to delete it and begin anew, or choose another root"
            )
        else:
            for row in rows:
                done = Done.from_row(row)
                self.done[done.part, done.stem] = done

    def holds(self, part: str, stem: str) -> bool:
        """Whether an image is done and all its files are there."""
        done = self.done.get((part, stem))
        return done is not None and all((self.root / output).exists() for output in done.outputs)

    def add(self, done: Done) -> None:
        """Note down one image, at once."""
        self.done[done.part, done.stem] = done
        self._append(done.to_row())

    def close(self, fresh: int) -> Summary:
        """Compare the folders with what was written, write lists and manifest."""
        expected = {output for done in self.done.values() for output in done.outputs}
        for folder in self.plan.folders:
            present = {f"{folder}/{p.name}" for p in (self.root / folder).glob("[!.]*")}
            if strange := sorted(present - expected):
                raise DatasetError(
                    f"{self.root / folder} holds {len(strange)} files that are not of this set, "
                    f"{strange[0]} the first; they would be trained on and scored: move them away"
                )
        self._write_lists()
        summary = self._summary(fresh)
        manifest = self.head | {
            "notes": summary.notes, "parts": summary.parts, "images": summary.images,
            "windows": summary.windows, "empty_windows": summary.empty,
            "pixels": {str(k): n for k, n in sorted(summary.pixels.items())},
            "unknown_colours": [[*color, n] for color, n in summary.unknown.items()],
            "keep_empty": self.options.keep_empty,
        }  # fmt: skip
        _replace(self.journal.with_name(_MANIFEST), json.dumps(manifest, indent=1) + "\n")
        return summary

    def _summary(self, fresh: int) -> Summary:
        pixels, unknown = Counter(), Counter()
        for done in self.done.values():
            pixels.update(done.pixels)
            unknown.update(done.unknown)
        missing = [f"part {name}: nothing of it was found" for name in self.plan.absent]
        return Summary(
            dataset=self.plan.recipe.dataset,
            root=self.root,
            notes=(*self.plan.notes, *missing),
            parts=self.plan.parts,
            images=len(self.done),
            windows=sum(done.windows for done in self.done.values()),
            empty=sum(done.empty for done in self.done.values()),
            pixels=dict(pixels),
            unknown=dict(unknown),
            folders=self.plan.folders,
            fresh=fresh,
        )

    def _write_lists(self) -> None:
        """The stems of each side of a split that was drawn here, beside its folders."""
        splits = self.plan.recipe.splits
        sides: dict[str, list[str]] = {}
        for job in self.plan.jobs:
            if job.layout.holdout is not None:
                sides.setdefault(job.targets[0][0], []).append(job.stem)
        for side, stems in sides.items():
            path = (self.root / splits[side].images).parent.with_suffix(".txt")
            _replace(path, "".join(f"{stem}\n" for stem in sorted(stems)))

    def _delete(self, rows: Iterator[Mapping]) -> None:
        for row in rows:
            for output in row["outputs"]:
                (self.root / output).unlink(missing_ok=True)
        self.journal.with_name(_MANIFEST).unlink(missing_ok=True)
        self.journal.unlink()

    def _refuse_foreign(self) -> None:
        for folder in self.plan.folders:
            if present := sorted((self.root / folder).glob("[!.]*")):
                raise DatasetError(
                    f"{self.root / folder} holds {len(present)} files that this tool has not written, "
                    f"{present[0].name} the first; move them away or choose another root: nothing is "
                    "overwritten"
                )

    def _append(self, row: Mapping) -> None:
        with open(self.journal, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _rows(journal: Path) -> Iterator[Mapping]:
    """The complete lines of a journal; a line that a kill cut off is as if it were not there."""
    if not journal.exists():
        return
    lines = journal.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        journal.write_bytes(b"".join(lines[:-1]))
    for line in lines:
        if line.endswith(b"\n"):
            yield json.loads(line)


def _replace(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial_file = path.with_name(f".{path.name}.part")
    partial_file.write_text(content, encoding="utf-8")
    os.replace(partial_file, path)
