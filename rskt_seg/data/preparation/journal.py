"""The journal of a preparation, which lets a run continue where an earlier one stopped, and its manifest.

The journal has a line when an image is begun, with the files that will be written for it, and another when it
is done. The manifest describes the complete set. Only files that the journal lists are ever overwritten or
deleted.
"""

import fcntl
import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from rskt_seg.data.class_sets import RGB
from rskt_seg.data.preparation.layouts import Recipe
from rskt_seg.data.preparation.plan import Job, Plan
from rskt_seg.data.preparation.sampling import ImageKey
from rskt_seg.data.preparation.summary import Options, Summary
from rskt_seg.errors import DatasetError
from rskt_seg.writing import remove_unfinished, replace_text

logger = logging.getLogger(__name__)

_FORMAT = 1
"""To be raised whenever the same download would give other files."""
_JOURNAL, _MANIFEST, _CROPS = "prepare.jsonl", "prepare.json", "crops.csv"
_CROP_FIELDS = ("name", "scene", "top", "left", "part")

CropRow = tuple[str, int, int, str]
"""Name of a sampled crop, its first row and column in the scene, and its split."""


@dataclass(frozen=True)
class SceneResult:
    """What became of a job; its fields are those of a line of the journal.

    Attributes:
        stem: The stem of the scene.
        part: Its official part.
        source: The digest of the job.
        outputs: The files written, relative to the root.
        windows: Number of patches written.
        empty: Number of patches left out because no pixel is labelled.
        pixels: Class id -> number of pixels in the labels of the first target.
        unknown: Colour of no class -> number of pixels.
        unknown_share: Their share (0..1) of the label.
        crops: The sampled crops, for layouts with `sampling`.
    """

    stem: str
    part: str
    source: str
    outputs: tuple[str, ...]
    windows: int
    empty: int
    pixels: dict[int, int]
    unknown: dict[RGB, int]
    unknown_share: float
    crops: tuple[CropRow, ...] = ()

    def to_row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        row = asdict(self) | {
            "pixels": {str(k): n for k, n in self.pixels.items()},
            "unknown": [[*color, n] for color, n in self.unknown.items()],
        }
        return row if self.crops else {key: value for key, value in row.items() if key != "crops"}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "SceneResult":
        """Return the result from the values that `to_row` gave."""
        values = dict(row) | {
            "outputs": tuple(row["outputs"]),
            "pixels": {int(k): n for k, n in row["pixels"].items()},
            "unknown": {(r, g, b): n for r, g, b, n in row["unknown"]},
            "crops": tuple(map(tuple, row.get("crops", ()))),
        }
        return cls(**values)


def journal_path(recipe: Recipe, root: Path) -> Path:
    """Return the journal of a dataset under `root`, which exists if an earlier run has begun.

    Args:
        recipe: The recipe of the dataset.
        root: The root of all datasets.

    Returns:
        The file.
    """
    return root / recipe.folder / _JOURNAL


@contextmanager
def open_journal(plan: Plan, root: Path, options: Options) -> Iterator["Journal"]:
    """Open the journal of a dataset, or begin one; no other process can open it meanwhile.

    Args:
        plan: What will be written.
        root: The root of all datasets.
        options: Whether the files of earlier runs are deleted first, and what is tolerated.

    Yields:
        The journal, with what earlier runs have done.

    Raises:
        DatasetError: If `root` is not a folder; if a folder of the set contains files and there is no
            journal; if the journal is in use, damaged, of another dataset or format, lists files outside the
            folders of the set, or lists images that are not in the plan (unless `options.overwrite`).
    """
    path = journal_path(plan.recipe, root)
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root} is not a folder; pass the root folder of all datasets")
    for folder in () if path.exists() else plan.folders:
        if present := sorted((root / folder).glob("[!.]*")):
            raise DatasetError(
                f"{root / folder} contains {len(present)} files that no earlier run has written, first of "
                f"them {present[0].name}; nothing is overwritten: move them away or choose another root"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(
                f"{path} is in use: another process prepares this set; wait until it ends"
            ) from error
        _remove_unfinished(plan.recipe, root)
        journal = Journal(plan, root, options, file)
        journal.resume()
        yield journal


def _remove_unfinished(recipe: Recipe, root: Path) -> None:
    """Remove what a killed run has left half written in the folders of a set, and say so."""
    lists = {str(Path(split.images).parent.parent) for split in recipe.splits.values()} - {"."}
    folders = dict.fromkeys(root / folder for folder in (recipe.folder, *recipe.folders, *sorted(lists)))
    if removed := [path for folder in folders for path in remove_unfinished(folder)]:
        logger.warning(
            "%s: removed %d unfinished files of a run that was killed, such as %s",
            recipe.dataset, len(removed), removed[0],
        )  # fmt: skip


class Journal:
    """What earlier runs and this one have written for a plan; made by `open_journal`.

    `begin` and `add` may be called from any thread.
    """

    def __init__(self, plan: Plan, root: Path, options: Options, file: TextIO) -> None:
        self.plan, self.root, self.options = plan, root, options
        self._path = journal_path(plan.recipe, root)
        self._head = {"format": _FORMAT, "dataset": plan.recipe.dataset}
        self._results: dict[ImageKey, SceneResult] = {}
        self._outputs: dict[ImageKey, tuple[str, ...]] = {}
        self._lock = threading.Lock()
        self._file = file

    def resume(self) -> None:
        """Read what earlier runs have written, or delete it if `options.overwrite`.

        Raises:
            DatasetError: As `open_journal`.
        """
        rows = self._read_rows()
        if rows and self.options.overwrite:
            self._replay(rows[1:])
            self._delete_outputs()
            rows = []
        if not rows:
            self._file.truncate(0)
            self._append(self._head)
            return
        if rows[0] != self._head:
            raise DatasetError(
                f"{self._path}: a journal of {self._head} was expected, found {rows[0]}; choose another root"
            )
        self._replay(rows[1:])
        planned = {(job.part, job.stem) for job in self.plan.jobs}
        if gone := sorted(self._outputs.keys() - planned):
            raise DatasetError(
                f"{self._path} lists {len(gone)} images that are not in the source, first of them "
                f"{'/'.join(gone[0])}; pass all sources at once (--also), choose another root, or delete "
                "what was prepared with --overwrite"
            )

    def is_done(self, job: Job) -> bool:
        """Return whether a job is done, from the same files in the same way, and its files exist."""
        result = self._results.get((job.part, job.stem))
        if result is None or result.source != job.digest or result.unknown_share > self.options.tolerance:
            return False
        return all((self.root / output).exists() for output in result.outputs)

    def begin(self, job: Job, outputs: tuple[str, ...]) -> None:
        """Record what will be written for a job; delete files of it that will not be written again.

        Args:
            job: The job.
            outputs: The files that will be written, relative to the root.

        Raises:
            DatasetError: If a file exists that no run has written.
        """
        key = job.part, job.stem
        with self._lock:
            earlier = set(self._outputs.get(key, ()))
            for output in set(outputs) - earlier:
                if (self.root / output).exists():
                    raise DatasetError(
                        f"{self.root / output} exists and was not written by an earlier run; nothing is "
                        "overwritten: move it away"
                    )
            for stale in earlier - set(outputs):
                (self.root / stale).unlink(missing_ok=True)
            self._outputs[key] = outputs
            self._results.pop(key, None)
            self._append({"part": job.part, "stem": job.stem, "begun": outputs})

    def add(self, result: SceneResult) -> None:
        """Record a job that is done."""
        with self._lock:
            self._results[result.part, result.stem] = result
            self._append(result.to_row())

    def finish(self, fresh: int) -> Summary:
        """Write lists and manifest of the complete set.

        Args:
            fresh: Number of images that this run converted.

        Returns:
            The summary of the set.

        Raises:
            DatasetError: If a folder of the set contains other files.
        """
        expected = {output for result in self._results.values() for output in result.outputs}
        for folder in self.plan.folders:
            present = {f"{folder}/{p.name}" for p in (self.root / folder).glob("[!.]*")}
            if foreign := sorted(present - expected):
                raise DatasetError(
                    f"{self.root / folder} contains {len(foreign)} files that do not belong to this set, "
                    f"first of them {foreign[0]}; they would be trained on and scored: move them away"
                )
        self._write_lists()
        summary = self._summarize(fresh)
        manifest = self._head | {
            "notes": summary.notes, "parts": summary.parts, "images": summary.images,
            "windows": summary.windows, "empty_windows": summary.empty,
            "pixels": {str(k): n for k, n in sorted(summary.pixels.items())},
            "unknown_colours": [[*color, n] for color, n in summary.unknown.items()],
            "tolerance": self.options.tolerance,
            "sources": sorted({member.file.name for job in self.plan.jobs
                               for member in (job.image, job.label) if member.inner}),
        }  # fmt: skip
        replace_text(self._path.with_name(_MANIFEST), json.dumps(manifest, indent=1) + "\n")
        return summary

    def _read_rows(self) -> list[dict[str, Any]]:
        """Return the complete lines of the journal; a line that was cut off by a kill is removed."""
        content = self._path.read_bytes()
        if content and not content.endswith(b"\n"):
            content = content[: content.rfind(b"\n") + 1]
            os.truncate(self._path, len(content))
        try:
            return [json.loads(line) for line in content.splitlines()]
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{self._path} is damaged ({error}); choose another root") from error

    def _replay(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take over the lines of earlier runs."""
        try:
            for row in rows:
                key = row["part"], row["stem"]
                if "begun" in row:
                    self._outputs[key] = tuple(row["begun"])
                    self._results.pop(key, None)
                else:
                    self._results[key] = SceneResult.from_row(row)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{self._path} cannot be read ({error!r}); choose another root") from error
        folders = set(self.plan.recipe.folders)
        for output in (output for outputs in self._outputs.values() for output in outputs):
            if output.rpartition("/")[0] not in folders:
                raise DatasetError(
                    f"{self._path} lists {output!r}, which is outside the folders of this set; choose "
                    "another root"
                )

    def _delete_outputs(self) -> None:
        for outputs in self._outputs.values():
            for output in outputs:
                (self.root / output).unlink(missing_ok=True)
        self._path.with_name(_MANIFEST).unlink(missing_ok=True)
        self._outputs.clear()
        self._results.clear()

    def _summarize(self, fresh: int) -> Summary:
        pixels: Counter[int] = Counter()
        unknown: Counter[RGB] = Counter()
        for result in self._results.values():
            pixels.update(result.pixels)
            unknown.update(result.unknown)
        missing = [f"part {name}: nothing of it was found" for name in self.plan.missing_parts]
        return Summary(
            dataset=self.plan.recipe.dataset,
            root=self.root,
            notes=(*self.plan.notes, *missing),
            parts=self.plan.parts,
            images=len(self._results),
            windows=sum(result.windows for result in self._results.values()),
            empty=sum(result.empty for result in self._results.values()),
            pixels=dict(pixels),
            unknown=dict(unknown),
            folders=self.plan.folders,
            fresh=fresh,
        )

    def _write_lists(self) -> None:
        """Write the stems of each side of a holdout beside its folders, and the sampled crops as CSV."""
        splits = self.plan.recipe.splits
        sides: dict[str, list[str]] = {}
        for job in self.plan.jobs:
            if job.layout.holdout is not None:
                sides.setdefault(job.targets[0].split, []).append(job.stem)
        for side, stems in sides.items():
            path = (self.root / splits[side].images).parent.with_suffix(".txt")
            replace_text(path, "".join(f"{stem}\n" for stem in sorted(stems)))
        if any(job.selection is not None for job in self.plan.jobs):
            crops = sorted(
                (name, result.stem, *place)
                for result in self._results.values()
                for name, *place in result.crops
            )
            lines = [",".join(map(str, row)) for row in (_CROP_FIELDS, *crops)]
            replace_text(self._path.with_name(_CROPS), "".join(f"{line}\n" for line in lines))

    def _append(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
