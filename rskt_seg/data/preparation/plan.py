"""From the files of a download to a list of jobs: which image belongs to which label, part and target."""

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rskt_seg.data.class_sets import listed
from rskt_seg.data.preparation.download import Member
from rskt_seg.data.preparation.draw import Key, Pieces, draw_pieces, rank
from rskt_seg.data.preparation.layouts import UNLISTED, Layout, Part, Recipe, Target
from rskt_seg.data.split_lists import read_list
from rskt_seg.errors import DatasetError

logger = logging.getLogger(__name__)

_PACKAGE = "package"


@dataclass(frozen=True)
class Job:
    """One official image with its label, and what is made of it.

    `pieces`: those of its pieces that are written, each with its target; None for all, as all `targets`.
    """

    stem: str
    part: str
    image: Member
    label: Member
    targets: tuple[Target, ...]
    layout: Layout
    pieces: Pieces | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over what it is made of and what is made of it: another one means, to be done again."""
        sources = [(member.size, member.stamp) for member in (self.image, self.label)]
        made = self.targets if self.pieces is None else self.pieces
        return hashlib.sha256(repr((sources, made, self.layout.rules)).encode()).hexdigest()

    def targets_of(self, piece: str) -> tuple[Target, ...]:
        """What the piece of that name becomes; nothing where it is not written."""
        if self.pieces is None:
            return self.targets
        return tuple(target for name, target in self.pieces if name == piece)


@dataclass(frozen=True)
class Plan:
    """All jobs of a dataset; `notes` tell people what was found and left out."""

    recipe: Recipe
    jobs: tuple[Job, ...]
    notes: tuple[str, ...]

    @property
    def parts(self) -> dict[str, int]:
        """Name of an official part -> number of its images."""
        return dict(Counter(job.part for job in self.jobs))

    @property
    def absent(self) -> list[str]:
        """The labelled parts of the layout of which nothing was found."""
        parts = [part for layout in dict.fromkeys(job.layout for job in self.jobs) for part in layout.parts]
        return [part.name for part in parts if part.labelled and part.name not in self.parts]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of images and labels that are written, relative to the root."""
        splits = self.recipe.splits
        names = dict.fromkeys(target.split for job in self.jobs for target in job.targets)
        return tuple(dict.fromkeys(f for name in names for f in (splits[name].images, splits[name].labels)))


def make_plan(recipe: Recipe, members: Sequence[Member], allow_missing: bool = False) -> Plan:
    """The jobs for the files of a download.

    The official layout is taken where it is found, else the folders of the published package. With
    `allow_missing` images and labels without a partner are left out, which a note tells.

    Raises `DatasetError` where nothing fits (with what to download), both layouts are there, a part cannot be
    told, two different files stand for one image, two images would get one name, a partner is missing, or
    an image that a published list names.
    """
    layouts = [_with_lists(layout) for layout in recipe.layouts]
    found = {layout.name: _pairs(layout, members, allow_missing) for layout in layouts}
    found = {name: result for name, result in found.items() if result[0]}
    if not found:
        raise DatasetError(
            f"{recipe.dataset}: none of the {len(members)} files found has a name of this dataset. Download "
            f"{recipe.advice}; give the folder that holds them, zipped or unpacked"
        )
    package = [name for name in found if name.startswith(_PACKAGE)]
    if 0 < len(package) < len(found):
        raise DatasetError(
            f"{recipe.dataset}: the source holds official files and folders of the published package; give "
            "only one of the two"
        )
    jobs = [job for jobs, _ in found.values() for job in jobs]
    _refuse_twins(jobs)
    notes = [note for _, notes in found.values() for note in notes]
    remark = [recipe.remark] if recipe.remark else []
    return Plan(recipe, tuple(jobs), (f"layout: {', '.join(found)}", *notes, *remark))


def _with_lists(layout: Layout) -> Layout:
    """The layout with the stems of those parts that a list makes up."""
    parts = (
        replace(part, stems=frozenset(read_list(part.listed))) if part.listed else part
        for part in layout.parts
    )
    return replace(layout, parts=tuple(parts))


def _pairs(layout: Layout, members: Sequence[Member], allow_missing: bool) -> tuple[list[Job], list[str]]:
    notes: list[str] = []
    images, labels = (
        _matching(layout, pattern, members, notes) for pattern in (layout.images, layout.labels)
    )
    for key in [key for key in labels if key[1] in layout.unused]:
        del labels[key]
        notes.append(f"{key[1]}: the owners publish this label without an image; left out")
    unlabelled = {part.name for part in layout.parts if not part.labelled} | {UNLISTED}
    without = [key for key in images if key not in labels]
    for part in unlabelled:
        if count := sum(key[0] == part for key in without):
            notes.append(f"{part}: {count} images without labels left out")
    lonely = {
        "images without a label": [key for key in without if key[0] not in unlabelled],
        "labels without an image": [key for key in labels if key not in images],
    }
    if any(lonely.values()):
        text = "; ".join(f"{len(keys)} {what}: {_listed(keys)}" for what, keys in lonely.items() if keys)
        if not allow_missing:
            raise DatasetError(
                f"{text}. Is an archive missing, or cut off? --allow-missing prepares what is complete"
            )
        notes.append(f"left out: {text}")
    both = sorted(key for key in images if key in labels and key[0] != UNLISTED)
    if both:
        notes += _lists(layout, images, labels, allow_missing)
    notes += _counts(layout, both)
    drawn, told = draw_pieces(layout, both) if layout.draw else ({}, [])
    sides = _sides(layout, both, images)
    jobs = []
    for key in both:
        part, stem = key
        targets = _targets(layout, part, sides.get(key, part))
        jobs.append(Job(stem, part, images[key][0], labels[key][0], targets, layout, drawn.get(key)))
    return jobs, notes + told


def _targets(layout: Layout, part: str, side: str) -> tuple[Target, ...]:
    splits = [side]
    if layout.draw:
        splits = [split for split, _ in dict(layout.draw.shares)[part]]
    return tuple(t._replace(split=t.split.format(part=split)) for split in splits for t in layout.targets)


def _refuse_twins(jobs: Sequence[Job]) -> None:
    """Raise `DatasetError` where two images would go to one place."""
    places: dict[tuple[str, str], Job] = {}
    for job in jobs:
        for target in job.targets:
            other = places.setdefault((target.split, job.stem), job)
            if other is not job:
                raise DatasetError(
                    f"{other.image.path} and {job.image.path} would both become {job.stem} of "
                    f"{target.split}; their names must differ across the parts: rename image and label of one"
                )


Found = dict[Key, tuple[Member, dict[str, str]]]


def _matching(layout: Layout, pattern: str, members: Iterable[Member], notes: list[str]) -> Found:
    """(part, stem) -> the file and the groups of its path."""
    expression = re.compile(pattern, re.IGNORECASE)
    found: Found = {}
    copies: list[Member] = []
    for member in members:
        match = expression.search(member.path)
        if match is None:
            continue
        groups = match.groupdict()
        stem = layout.stem.format(**groups)
        stem = stem.capitalize() if layout.capital else stem
        key = (_part(layout, member, stem), stem)
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


def _part(layout: Layout, member: Member, stem: str) -> str:
    """The part that a folder or archive of the path names, the innermost one; or the one that lists it."""
    if len(layout.parts) == 1 or stem in layout.unused:
        return layout.parts[0].name
    for part in layout.parts:
        if stem in part.stems:
            return part.name
    if any(part.listed for part in layout.parts):
        return UNLISTED
    for word in reversed(member.path.lower().split("/")[:-1]):
        named = [part for part in layout.parts if _names(word, part)]
        if len(named) == 1:
            return named[0].name
    parts = ", ".join(part.name for part in layout.parts)
    raise DatasetError(
        f"{member.path}: no folder or archive above it says which part it belongs to ({parts}); keep the "
        "folders of the official download, such as train/ and val/"
    )


def _names(word: str, part: Part) -> bool:
    return part.name.lower() in re.split(r"[^a-z]+", word)


def _lists(layout: Layout, images: Found, labels: Found, allow_missing: bool) -> list[str]:
    """Notes on where the published lists and the files differ.

    Raises `DatasetError` for a list that names absent images, unless they may be missing.
    """
    notes = []
    for part in layout.parts:
        absent = sorted(part.stems - {stem for _, stem in images}) if part.listed else []
        if not absent:
            continue
        text = (
            f"the published list {part.listed}.txt names {len(part.stems)} images; {len(absent)} of them are "
            f"not in the download: {listed(absent)}"
        )
        if not allow_missing:
            raise DatasetError(f"{text}. --allow-missing prepares what is there")
        notes.append(f"left out: {text}")
    if strange := sorted(stem for part, stem in images if part == UNLISTED and (part, stem) in labels):
        notes.append(f"left out: {len(strange)} labelled images that are in no list: {listed(strange)}")
    return notes


def _sides(layout: Layout, keys: Sequence[Key], images: Found) -> dict[Key, str]:
    """Which side of the holdout each image is on."""
    holdout = layout.holdout
    if holdout is None:
        return {}
    groups: dict[str, list[Key]] = {}
    for key in keys:
        groups.setdefault(images[key][1][holdout.group].lower(), []).append(key)
    sides = dict.fromkeys(keys, holdout.kept)
    for members in groups.values():
        ranked = sorted(members, key=lambda key: rank(holdout.seed, key[1]))
        sides |= dict.fromkeys(ranked[: max(1, len(ranked) // holdout.one_in)], holdout.held)
    return sides


def _counts(layout: Layout, keys: Sequence[Key]) -> list[str]:
    found = Counter(part for part, _ in keys)
    return [
        f"part {part.name}: {found[part.name]} labelled images"
        + (f" of {part.count} official ones" if part.count not in (None, found[part.name]) else "")
        for part in layout.parts
        if found[part.name]
    ]


def _listed(keys: Sequence[Key]) -> str:
    return listed(f"{part}/{stem}" for part, stem in keys)
