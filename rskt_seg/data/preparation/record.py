"""The record of a preparation: a line for each image as it is done, and a manifest of the complete set."""

import fcntl
import json
import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from rskt_seg.data.class_sets import IGNORE_LABEL, RGB
from rskt_seg.data.labels import pixel_counts
from rskt_seg.data.preparation.draw import Key
from rskt_seg.data.preparation.job import Done
from rskt_seg.data.preparation.layouts import Recipe
from rskt_seg.data.preparation.plan import Job, Plan
from rskt_seg.errors import DatasetError
from rskt_seg.writing import replacing

_FORMAT = 1
"""Raise it whenever the same download would give other files."""
_JOURNAL, _MANIFEST, _CROPS = "prepare.jsonl", "prepare.json", "crops.csv"
_CROP_FIELDS = ("name", "scene", "top", "left", "part")


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
        return "\n".join([*lines, f"  {done}; next: rskt-seg check {self.dataset}"])


class Record:
    """The journal of a run: a line when an image is begun, with the files it will write, and one when it is
    done. What it lists may be written again or deleted, nothing else. To be used as a context by one process
    at a time; `begin` and `add` may be called from any thread."""

    def __init__(self, plan: Plan, root: Path, options: Options) -> None:
        self.plan, self.root, self.options = plan, root, options
        self.journal = root / plan.recipe.folder / _JOURNAL
        self.head = {"format": _FORMAT, "dataset": plan.recipe.dataset}
        self.done: dict[Key, Done] = {}
        self.files: dict[Key, tuple[str, ...]] = {}
        self._lock = threading.Lock()
        self._file: TextIO | None = None

    @staticmethod
    def exists(recipe: Recipe, root: Path) -> bool:
        """Whether an earlier run has left its journal."""
        return (root / recipe.folder / _JOURNAL).exists()

    def __enter__(self) -> "Record":
        """Take up what earlier runs have done, or begin anew."""
        if self.root.exists() and not self.root.is_dir():
            raise DatasetError(f"{self.root} is no folder; give the root of all datasets")
        if not self.journal.exists():
            self._refuse_foreign()
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        self._file = _locked(self.journal)
        try:
            self._take_up()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def holds(self, job: Job) -> bool:
        """Whether an image is done, of the same files in the same way, and all its files are there."""
        done = self.done.get((job.part, job.stem))
        if done is None or done.source != job.digest or done.unknown_share > self.options.tolerance:
            return False
        return all((self.root / output).exists() for output in done.outputs)

    def begin(self, job: Job, outputs: tuple[str, ...]) -> None:
        """Note down what will be written for an image; files of it that will not be written again go.

        Raises `DatasetError` where a file that no run has written is in the way.
        """
        key = job.part, job.stem
        with self._lock:
            for output in set(outputs) - set(self.files.get(key, ())):
                if (self.root / output).exists():
                    raise DatasetError(
                        f"{self.root / output} is there and was not written here; nothing is overwritten: "
                        "move it away"
                    )
            for stale in set(self.files.get(key, ())) - set(outputs):
                (self.root / stale).unlink(missing_ok=True)
            self.files[key] = outputs
            self.done.pop(key, None)
            self._append({"part": job.part, "stem": job.stem, "begun": outputs})

    def add(self, done: Done) -> None:
        """Note down an image that is complete."""
        with self._lock:
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
            "tolerance": self.options.tolerance,
            "sources": sorted({job.image.file.name for job in self.plan.jobs if job.image.inner}
                              | {job.label.file.name for job in self.plan.jobs if job.label.inner}),
        }  # fmt: skip
        _replace(self.journal.with_name(_MANIFEST), json.dumps(manifest, indent=1) + "\n")
        return summary

    def _take_up(self) -> None:
        rows = _rows(self.journal)
        if rows and self.options.overwrite:
            self._note(rows[1:])
            self._delete()
            rows = []
        if not rows:
            self._file.truncate(0)
            self._append(self.head)
            return
        if rows[0] != self.head:
            raise DatasetError(
                f"{self.journal} belongs to {rows[0]}, not to {self.head}; choose another root"
            )
        self._note(rows[1:])
        planned = {(job.part, job.stem) for job in self.plan.jobs}
        if gone := sorted(self.files.keys() - planned):
            raise DatasetError(
                f"{self.journal} tells of {len(gone)} images that are not in the source, "
                f"{'/'.join(gone[0])} the first; give all sources at once (--also), choose another root, or "
                "delete what was prepared with --overwrite"
            )

    def _note(self, rows: Sequence[Mapping]) -> None:
        try:
            for row in rows:
                key = row["part"], row["stem"]
                if "begun" in row:
                    self.files[key] = tuple(row["begun"])
                    self.done.pop(key, None)
                else:
                    self.done[key] = Done.from_row(row)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{self.journal} cannot be read ({error!r}); choose another root") from error
        folders = set(self.plan.recipe.folders)
        for output in (output for outputs in self.files.values() for output in outputs):
            if output.rpartition("/")[0] not in folders:
                raise DatasetError(f"{self.journal} lists {output!r}, which is no file of this set")

    def _delete(self) -> None:
        for outputs in self.files.values():
            for output in outputs:
                (self.root / output).unlink(missing_ok=True)
        self.journal.with_name(_MANIFEST).unlink(missing_ok=True)
        self.files.clear()
        self.done.clear()

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
        """The stems of each side of a split that was drawn here, beside its folders; and every drawn crop."""
        splits = self.plan.recipe.splits
        sides: dict[str, list[str]] = {}
        for job in self.plan.jobs:
            if job.layout.holdout is not None:
                sides.setdefault(job.targets[0][0], []).append(job.stem)
        for side, stems in sides.items():
            path = (self.root / splits[side].images).parent.with_suffix(".txt")
            _replace(path, "".join(f"{stem}\n" for stem in sorted(stems)))
        if any(job.pieces is not None for job in self.plan.jobs):
            crops = sorted(
                (name, done.stem, *rest) for done in self.done.values() for name, *rest in done.crops
            )
            lines = [",".join(map(str, row)) for row in (_CROP_FIELDS, *crops)]
            _replace(self.journal.with_name(_CROPS), "".join(f"{line}\n" for line in lines))

    def _refuse_foreign(self) -> None:
        for folder in self.plan.folders:
            if present := sorted((self.root / folder).glob("[!.]*")):
                raise DatasetError(
                    f"{self.root / folder} holds {len(present)} files that this tool has not written, "
                    f"{present[0].name} the first; move them away or choose another root: nothing is "
                    "overwritten"
                )

    def _append(self, row: Mapping) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()


def _locked(journal: Path) -> TextIO:
    """The journal, open for appending, which no other process has."""
    file = open(journal, "a", encoding="utf-8")  # noqa: SIM115, closed by the record
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise DatasetError(f"{journal} is in use: another process prepares this set; wait for it") from error
    return file


def _rows(journal: Path) -> list[Mapping]:
    """The complete lines of a journal; a line that a kill cut off is removed."""
    content = journal.read_bytes()
    if content and not content.endswith(b"\n"):
        content = content[: content.rfind(b"\n") + 1]
        os.truncate(journal, len(content))
    try:
        return [json.loads(line) for line in content.splitlines()]
    except ValueError as error:
        raise DatasetError(f"{journal} is damaged ({error}); choose another root") from error


def _replace(path: Path, content: str) -> None:
    with replacing(path) as partial_file:
        partial_file.write_text(content, encoding="utf-8")
