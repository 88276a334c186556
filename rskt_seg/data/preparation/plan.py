"""From the files of a download to a list of jobs: which image has which label, part and targets."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rskt_seg.data.class_sets import listed
from rskt_seg.data.preparation.download import Member
from rskt_seg.data.preparation.layouts import UNLISTED, Layout, Recipe, Target
from rskt_seg.data.preparation.sampling import ImageKey, Selection, rank, sample_crops
from rskt_seg.data.split_lists import read_list
from rskt_seg.errors import DatasetError

_PACKAGE = "package"
"""The names of layouts of the published package start with it."""


@dataclass(frozen=True)
class Job:
    """An official image with its label, and what is made of it.

    Attributes:
        stem: The stem of the scene.
        part: The official part that it belongs to.
        image: The image file.
        label: The label file.
        targets: The splits that the image joins.
        layout: The layout that recognized the files.
        selection: The patches that are written, each with its target; None for all patches and all targets.
    """

    stem: str
    part: str
    image: Member
    label: Member
    targets: tuple[Target, ...]
    layout: Layout
    selection: Selection | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the sources and of what is made of them; a job with another digest is done again."""
        sources = [(member.size, member.stamp) for member in (self.image, self.label)]
        made = self.targets if self.selection is None else self.selection
        return hashlib.sha256(repr((sources, made, self.layout.rules)).encode()).hexdigest()

    def targets_of(self, patch: str) -> tuple[Target, ...]:
        """Return the targets of a patch.

        Args:
            patch: The name of the patch.

        Returns:
            Where the patch is written; an empty tuple if it is not.
        """
        if self.selection is None:
            return self.targets
        return tuple(target for name, target in self.selection if name == patch)


@dataclass(frozen=True)
class Plan:
    """All jobs of a dataset.

    Attributes:
        recipe: The recipe of the dataset.
        jobs: One job for each image.
        notes: Sentences that tell the user what was found and what is left out.
    """

    recipe: Recipe
    jobs: tuple[Job, ...]
    notes: tuple[str, ...]

    @property
    def parts(self) -> dict[str, int]:
        """Name of each official part that was found -> number of its images."""
        return dict(Counter(job.part for job in self.jobs))

    @property
    def missing_parts(self) -> list[str]:
        """The labelled parts of the layout without any image."""
        parts = [part for layout in dict.fromkeys(job.layout for job in self.jobs) for part in layout.parts]
        return [part.name for part in parts if part.labelled and part.name not in self.parts]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of images and labels that are written, relative to the root."""
        splits = self.recipe.splits
        names = dict.fromkeys(target.split for job in self.jobs for target in job.targets)
        return tuple(dict.fromkeys(f for name in names for f in (splits[name].images, splits[name].labels)))


def make_plan(recipe: Recipe, members: Sequence[Member], allow_missing: bool = False) -> Plan:
    """Return the jobs for the files of a download.

    Args:
        recipe: The recipe of the dataset, with its official layout and those of the published package.
        members: The files of the download.
        allow_missing: Whether images and labels without a partner, and images of published lists that are
            absent, are left out with a note instead of an error.

    Returns:
        The jobs, and notes for the user.

    Raises:
        DatasetError: If no file fits (the message says what to download); if official files and folders of
            the package are mixed; if the part of a file cannot be told; if two different files stand for one
            image, or two images would get one name; if a partner or a listed image is missing.
    """
    jobs: list[Job] = []
    notes: list[str] = []
    found: list[str] = []
    for layout in recipe.layouts:
        layout_jobs, layout_notes = _make_jobs(_with_lists(layout), members, allow_missing)
        if layout_jobs:
            found.append(layout.name)
            jobs += layout_jobs
            notes += layout_notes
    if not found:
        raise DatasetError(
            f"{recipe.dataset}: none of the {len(members)} files found has a name of this dataset. Download "
            f"{recipe.advice}; pass the folder that holds them, zipped or unpacked"
        )
    package = [name for name in found if name.startswith(_PACKAGE)]
    if 0 < len(package) < len(found):
        raise DatasetError(
            f"{recipe.dataset}: the source holds official files and folders of the published package; pass "
            "only one of the two"
        )
    _refuse_clashes(jobs)
    remark = [recipe.remark] if recipe.remark else []
    return Plan(recipe, tuple(jobs), (f"layout: {', '.join(found)}", *notes, *remark))


def _with_lists(layout: Layout) -> Layout:
    """Read the stems of the parts that are published lists."""
    parts = (
        replace(part, stems=frozenset(read_list(part.list_name))) if part.list_name else part
        for part in layout.parts
    )
    return replace(layout, parts=tuple(parts))


Matches = dict[ImageKey, tuple[Member, dict[str, str]]]
"""The file of each image (or label), and the named groups of its path."""


def _make_jobs(layout: Layout, members: Sequence[Member], allow_missing: bool) -> tuple[list[Job], list[str]]:
    """Pair the images and labels of a layout; return their jobs and notes on what is left out."""
    notes: list[str] = []
    images = _match_files(layout, layout.images, members, notes)
    labels = _match_files(layout, layout.labels, members, notes)
    for key in [key for key in labels if key[1] in layout.unused]:
        del labels[key]
        notes.append(f"{key[1]}: the owners publish this label without an image; left out")
    notes += _refuse_unpaired(layout, images, labels, allow_missing)
    keys = sorted(key for key in images if key in labels and key[0] != UNLISTED)
    if keys:
        notes += _compare_with_lists(layout, images, labels, allow_missing)
    counts = Counter(part for part, _ in keys)
    for row in layout.parts:
        if count := counts[row.name]:
            more = "" if row.count in (None, count) else f" of {row.count} official ones"
            notes.append(f"part {row.name}: {count} labelled images{more}")
    selections, sampling_notes = sample_crops(layout, keys) if layout.sampling else ({}, [])
    sides = _divide_holdout(layout, keys, images)
    jobs = []
    for key in keys:
        part, stem = key
        splits = [sides.get(key, part)]
        if layout.sampling:
            splits = [split for split, _ in dict(layout.sampling.counts)[part]]
        targets = [t._replace(split=t.split.format(part=split)) for split in splits for t in layout.targets]
        files = images[key][0], labels[key][0]
        jobs.append(Job(stem, part, *files, tuple(targets), layout, selections.get(key)))
    return jobs, notes + sampling_notes


def _match_files(layout: Layout, pattern: str, members: Iterable[Member], notes: list[str]) -> Matches:
    """Find the files whose path fits a pattern; identical copies are passed over with a note.

    Raises:
        DatasetError: If two different files stand for one image, or the part of a file cannot be told.
    """
    expression = re.compile(pattern, re.IGNORECASE)
    found: Matches = {}
    copies: list[Member] = []
    for member in members:
        match = expression.search(member.path)
        if match is None:
            continue
        groups = match.groupdict()
        stem = layout.stem.format(**groups)
        stem = stem.capitalize() if layout.capitalize else stem
        key = (_find_part(layout, member, stem), stem)
        if key not in found:
            found[key] = member, groups
        elif found[key][0].size == member.size and found[key][0].checksum() == member.checksum():
            copies.append(member)
        else:
            raise DatasetError(
                f"{member.path} and {found[key][0].path} would both become {stem}, and differ; remove one"
            )
    if copies:
        notes.append(f"{len(copies)} files are there twice, such as {copies[0].path}; one of each is used")
    return found


def _find_part(layout: Layout, member: Member, stem: str) -> str:
    """Return the part that lists the stem, or that the innermost telling folder or archive names."""
    if len(layout.parts) == 1 or stem in layout.unused:
        return layout.parts[0].name
    for part in layout.parts:
        if stem in part.stems:
            return part.name
    if any(part.list_name for part in layout.parts):
        return UNLISTED
    for folder in reversed(member.path.lower().split("/")[:-1]):
        words = re.split(r"[^a-z]+", folder)
        named = [part.name for part in layout.parts if part.name.lower() in words]
        if len(named) == 1:
            return named[0]
    parts = ", ".join(part.name for part in layout.parts)
    raise DatasetError(
        f"{member.path}: no folder or archive above it says which part it belongs to ({parts}); keep the "
        "folders of the official download, such as train/ and val/"
    )


def _refuse_unpaired(layout: Layout, images: Matches, labels: Matches, allow_missing: bool) -> list[str]:
    """Return notes on images and labels without a partner, which are left out.

    Raises:
        DatasetError: If the part has official labels, unless `allow_missing`.
    """
    notes = []
    unlabelled = [*(part.name for part in layout.parts if not part.labelled), UNLISTED]
    without_label = [key for key in images if key not in labels]
    for part in unlabelled:
        if count := sum(key[0] == part for key in without_label):
            notes.append(f"{part}: {count} images without labels left out")
    unpaired = {
        "images without a label": [key for key in without_label if key[0] not in unlabelled],
        "labels without an image": [key for key in labels if key not in images],
    }
    text = "; ".join(
        f"{len(keys)} {what}: {listed(f'{part}/{stem}' for part, stem in keys)}"
        for what, keys in unpaired.items()
        if keys
    )
    if text and not allow_missing:
        raise DatasetError(
            f"{text}. Is an archive missing or truncated? --allow-missing prepares what is complete"
        )
    return [*notes, f"left out: {text}"] if text else notes


def _compare_with_lists(layout: Layout, images: Matches, labels: Matches, allow_missing: bool) -> list[str]:
    """Return notes on where the published lists and the files differ.

    Raises:
        DatasetError: If a list names images that are absent, unless `allow_missing`.
    """
    notes = []
    for part in layout.parts:
        absent = sorted(part.stems - {stem for _, stem in images}) if part.list_name else []
        if not absent:
            continue
        text = (
            f"the published list {part.list_name}.txt names {len(part.stems)} images; {len(absent)} of them "
            f"are not in the download: {listed(absent)}"
        )
        if not allow_missing:
            raise DatasetError(f"{text}. Is an archive missing? --allow-missing prepares what is there")
        notes.append(f"left out: {text}")
    if unlisted := sorted(stem for part, stem in images if part == UNLISTED and (part, stem) in labels):
        notes.append(f"left out: {len(unlisted)} labelled images that are in no list: {listed(unlisted)}")
    return notes


def _divide_holdout(layout: Layout, keys: Sequence[ImageKey], images: Matches) -> dict[ImageKey, str]:
    """Return the side of the holdout of each image; empty for a layout without holdout."""
    holdout = layout.holdout
    if holdout is None:
        return {}
    groups: dict[str, list[ImageKey]] = {}
    for key in keys:
        groups.setdefault(images[key][1][holdout.group].lower(), []).append(key)
    sides = dict.fromkeys(keys, holdout.kept)
    for members in groups.values():
        ranked = sorted(members, key=lambda key: rank(holdout.seed, key[1]))
        sides |= dict.fromkeys(ranked[: max(1, len(ranked) // holdout.one_in)], holdout.held)
    return sides


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    """Raise `DatasetError` if two images would be written to the same file."""
    owners: dict[tuple[str, str], Job] = {}
    for job in jobs:
        for target in job.targets:
            other = owners.setdefault((target.split, job.stem), job)
            if other is not job:
                raise DatasetError(
                    f"{other.image.path} and {job.image.path} would both become {job.stem} of "
                    f"{target.split}; their names must differ across the parts: rename image and label of one"
                )
