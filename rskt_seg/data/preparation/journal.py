"""The journal of a preparation, which lets a run continue where an earlier one stopped, and its manifest.

The journal has a line when an image is begun, with the files that will be written for it, and another when it
is done. The manifest describes the complete set. Only files that the journal lists are ever overwritten or
deleted.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from rskt_seg.data.class_sets import RGB
from rskt_seg.data.preparation.layouts import Recipe
from rskt_seg.data.preparation.output_journal import OutputJournal, locked_journal
from rskt_seg.data.preparation.plan import Job, Plan
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
    with locked_journal(path) as file:
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
        self._lines = OutputJournal(
            self._path, file, root, self._head, ("part", "stem"), SceneResult.from_row
        )

    def resume(self) -> None:
        """Read what earlier runs have written, or delete it if `options.overwrite`.

        Raises:
            DatasetError: As `open_journal`.
        """
        self._lines.resume(set(self.plan.recipe.folders).__contains__, self.options.overwrite)
        if self.options.overwrite:
            self._path.with_name(_MANIFEST).unlink(missing_ok=True)
        planned = {(job.part, job.stem) for job in self.plan.jobs}
        if gone := sorted(self._lines.outputs.keys() - planned):
            raise DatasetError(
                f"{self._path} lists {len(gone)} images that are not in the source, first of them "
                f"{'/'.join(gone[0])}; pass all sources at once (--also), choose another root, or delete "
                "what was prepared with --overwrite"
            )

    def is_done(self, job: Job) -> bool:
        """Return whether a job is done, from the same files in the same way, and its files exist."""
        key = job.part, job.stem
        result = self._lines.results.get(key)
        if result is None or result.source != job.digest or result.unknown_share > self.options.tolerance:
            return False
        return self._lines.is_complete(key)

    def begin(self, job: Job, outputs: tuple[str, ...]) -> None:
        """Record what will be written for a job; delete files of it that will not be written again.

        Args:
            job: The job.
            outputs: The files that will be written, relative to the root.

        Raises:
            DatasetError: If a file exists that no run has written.
        """
        self._lines.begin((job.part, job.stem), outputs)

    def add(self, result: SceneResult) -> None:
        """Record a job that is done."""
        self._lines.add((result.part, result.stem), result)

    def finish(self, fresh: int) -> Summary:
        """Write lists and manifest of the complete set.

        Args:
            fresh: Number of images that this run converted.

        Returns:
            The summary of the set.

        Raises:
            DatasetError: If a folder of the set contains other files.
        """
        self._lines.refuse_foreign(self.plan.folders)
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

    def _summarize(self, fresh: int) -> Summary:
        pixels: Counter[int] = Counter()
        unknown: Counter[RGB] = Counter()
        for result in self._lines.results.values():
            pixels.update(result.pixels)
            unknown.update(result.unknown)
        missing = [f"part {name}: nothing of it was found" for name in self.plan.missing_parts]
        return Summary(
            dataset=self.plan.recipe.dataset,
            root=self.root,
            notes=(*self.plan.notes, *missing),
            parts=self.plan.parts,
            images=len(self._lines.results),
            windows=sum(result.windows for result in self._lines.results.values()),
            empty=sum(result.empty for result in self._lines.results.values()),
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
                for result in self._lines.results.values()
                for name, *place in result.crops
            )
            lines = [",".join(map(str, row)) for row in (_CROP_FIELDS, *crops)]
            replace_text(self._path.with_name(_CROPS), "".join(f"{line}\n" for line in lines))
