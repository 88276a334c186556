"""The options of a preparation, and the summary that it returns."""

from dataclasses import dataclass
from pathlib import Path

from rskt_seg.data.class_sets import IGNORE_LABEL, RGB
from rskt_seg.data.labels import pixel_counts
from rskt_seg.data.preparation.limits import DEFAULT_LIMITS, Limits
from rskt_seg.errors import DatasetError


@dataclass(frozen=True)
class Options:
    """How a dataset is prepared.

    Attributes:
        tolerance: The share (0..1) of the pixels of a label that may have colours of no class; they are
            ignored.
        keep_empty: Whether windows without any labelled pixel are written too.
        allow_missing: Whether images and labels without a partner are left out instead of an error.
        overwrite: Whether the files of earlier runs are deleted first.
        limits: What a download may ask of the machine.

    Raises:
        DatasetError: If the tolerance is not in 0..1.
    """

    tolerance: float = 0.0
    keep_empty: bool = False
    allow_missing: bool = False
    overwrite: bool = False
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= 1:
            raise DatasetError(f"the tolerance must be a share of 0..1; found {self.tolerance}")


DEFAULTS = Options()


@dataclass(frozen=True)
class Summary:
    """The result of a preparation; `str()` gives a report of several lines.

    Attributes:
        dataset: The name of the dataset.
        root: The root of all datasets.
        notes: Sentences on what was found and left out.
        parts: Official part -> number of its images.
        images: Number of images.
        windows: Number of patches written.
        empty: Number of patches left out because no pixel is labelled.
        pixels: Class id -> number of pixels in the labels of the first target.
        unknown: Colour of no class -> number of pixels, which are ignored.
        folders: The folders that were written, relative to the root.
        fresh: Number of images that this run converted; earlier runs converted the others.
    """

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
        done = f"{self.fresh} images were converted" if self.fresh else "nothing was left to do"
        return "\n".join([*lines, f"  {done}; next: rskt-seg check {self.dataset} --root {self.root}"])
