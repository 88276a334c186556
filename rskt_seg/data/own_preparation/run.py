"""Prepare a user's dataset from the YAML file that describes it, or go on where an earlier run stopped."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rskt_seg.data.class_sets import listed, repeated
from rskt_seg.data.own_preparation.description import Description, read_description
from rskt_seg.data.own_preparation.files import Found, PathPattern, Source, find_sources
from rskt_seg.data.own_preparation.readers import Labels, open_labels
from rskt_seg.data.own_preparation.report import OwnSummary, summarize
from rskt_seg.data.own_preparation.scenes import (
    SceneResult,
    SceneTiles,
    convert_scene,
    digest_of,
    name_tiles,
)
from rskt_seg.data.own_preparation.splitting import CutImage, Divided, divide
from rskt_seg.data.parallel import map_files
from rskt_seg.data.preparation.output_journal import OutputJournal, locked_journal
from rskt_seg.errors import DatasetError, DiskFullError
from rskt_seg.geo.image_sets import Limits, SetImage, common_limits, examine_image
from rskt_seg.geo.stretch import Stretch, parse_stretch
from rskt_seg.geo.windowed import stamps_of
from rskt_seg.windows import Window, window_grid
from rskt_seg.wording import counted
from rskt_seg.writing import remove_unfinished

logger = logging.getLogger(__name__)

FORMAT = 2
"""To be raised whenever the same sources would give other files."""
JOURNAL = "prepare.jsonl"
_APPENDED, _REPLACED = (".aux.xml", ".msk", "-wal"), (".dbf", ".prj", ".cpg")
"""Endings of files beside a label that belong to it, appended to its name or in place of its own."""
_FOLDER = re.compile(r"\w[\w-]*/(?:images|labels)", re.ASCII)
"""A folder of a split, which an earlier run may have called otherwise."""


@dataclass(frozen=True)
class OwnPlan:
    """What will be made of which files.

    Attributes:
        description: What the YAML file says.
        scenes: The images, each with its tiles that are in a split.
        labels: The labels.
        limits: How bands become 8 bits.
        divided: The splits of tiles.
        stretch: A sentence on `limits`.
        notes: Sentences on what was found.
    """

    description: Description
    scenes: tuple[SceneTiles, ...]
    labels: Labels
    limits: Limits
    divided: Divided
    stretch: str
    notes: tuple[str, ...]

    @property
    def folders(self) -> list[str]:
        """The folders of the set, relative to its own."""
        names = self.description.division.names
        return [f"{name}/{kind}" for name in names for kind in ("images", "labels")]

    def describe(self) -> list[str]:
        """Return what was found and would be written, in lines for the user."""
        count = Counter(split for scene in self.scenes for _, _, split in scene.tiles)
        tiles = ", ".join(f"{count[name]} {name}" for name in self.description.division.names)
        dropped = self.divided.crossing + self.divided.shared
        return [
            f"{self.description.class_set.name}: {counted(len(self.scenes), 'image')}",
            *(f"  {note}" for note in self.notes),
            f"  would cut at most {tiles} tiles, and drop {dropped} that would be in two splits",
        ]


def plan_own(
    path: Path,
    allow_missing: bool = False,
    workers: int | None = None,
    progress: bool = True,
    limits: Limits | None = None,
) -> OwnPlan:
    """Find and examine the files of a description and divide their tiles into splits; nothing is written.

    Args:
        path: The YAML file.
        allow_missing: Whether images and labels without a partner are left out.
        workers: Number of images examined at a time; None for one a core, at most eight.
        progress: Whether a progress bar is shown.
        limits: What an earlier plan of the same files has found, which then need not be read; None to find
            it.

    Returns:
        The plan.

    Raises:
        DatasetError: The description, or what it describes, cannot be used (see `read_description`,
            `find_sources`, `open_labels` and `divide`).
        ImageReadError: An image cannot be used (see `examine_image` and `common_limits`).
    """
    if workers is not None and workers < 1:
        raise DatasetError(f"at least one worker is needed; found {workers}")
    description = read_description(path)
    found = find_sources(description, allow_missing)
    rule = description.images.stretch if limits is None else parse_stretch("none")
    images = _examine(description, rule, found, workers, progress)
    labels = open_labels(description, found, images, allow_missing)
    kept = {source.name for source in labels.found.sources}
    images = [image for source, image in zip(found.sources, images, strict=True) if source.name in kept]
    limits = limits or common_limits(images, description.images.stretch)
    cut = [
        _cut(description, source, image) for source, image in zip(labels.found.sources, images, strict=True)
    ]
    divided = divide(description.division, cut, f"{path}", path.parent.absolute())
    scenes = tuple(
        _scene(description, labels, limits, source, image, each, splits)
        for source, image, each, splits in zip(labels.found.sources, images, cut, divided.splits, strict=True)
    )
    if twice := repeated(output for scene in scenes for output in scene.outputs):
        raise DatasetError(
            f"{path}: several images or tiles of them would be written as {listed(twice)}; rename images "
            "that are called like tiles of others"
        )
    stretch = _describe_stretch(description, images[0], limits)
    notes = (*labels.found.notes, *_describe_images(images), stretch, *labels.notes)
    return OwnPlan(description, scenes, labels, limits, divided, stretch, notes)


def prepare_own(
    path: Path,
    root: Path,
    *,
    allow_missing: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> OwnSummary:
    """Make a dataset of what a YAML file describes, in `<root>/<name>`.

    An interrupted run is completed; a complete set is left as it is.

    Args:
        path: The YAML file.
        root: The root of all datasets.
        allow_missing: Whether images and labels without a partner are left out.
        overwrite: Whether the files of earlier runs are deleted first.
        workers: Number of images processed at a time; None for one a core, at most eight.
        progress: Whether a progress bar is shown.

    Returns:
        What was found and written.

    Raises:
        DatasetError: As `plan_own`; the folder lies where sources are looked for, holds files that no run has
            written, or cannot be written; or a split is left without a tile.
        LabelError: A label is not what the description says.
        ImageReadError: As `plan_own`.
    """
    plan = plan_own(path, allow_missing, workers, progress)
    folder = root / plan.description.class_set.name
    _refuse_mixing(plan, folder)
    _refuse_other_files(plan, folder)
    try:
        with locked_journal(folder / JOURNAL) as file:
            for place in ("", *plan.folders):
                if removed := remove_unfinished(folder / place):
                    logger.warning("removed %d unfinished files of a run that was killed", len(removed))
            head = {"format": FORMAT, "dataset": plan.description.class_set.name}
            journal = OutputJournal(folder / JOURNAL, file, folder, head, ("scene",), SceneResult.from_row)
            journal.resume(lambda place: _FOLDER.fullmatch(place) is not None, overwrite)
            _forget(plan, journal, folder)
            return _convert(plan, journal, folder, workers, progress)
    except (DiskFullError, DatasetError):
        raise
    except OSError as error:
        raise DatasetError(f"{folder} cannot be written: {error}") from error


def _convert(
    plan: OwnPlan,
    journal: OutputJournal[SceneResult],
    folder: Path,
    workers: int | None,
    progress: bool,
) -> OwnSummary:
    description = plan.description
    todo = [scene for scene in plan.scenes if not _is_done(scene, journal)]
    convert = partial(
        convert_scene,
        description=description,
        labels=plan.labels,
        limits=plan.limits,
        journal=journal,
        root=folder,
    )
    for _ in map_files(convert, todo, f"preparing {description.class_set.name}", workers, progress):
        pass
    journal.refuse_foreign(plan.folders)
    results = [journal.results[scene.source.name,] for scene in plan.scenes]
    return summarize(description, plan.labels.classes, results, plan.divided, plan.notes, folder, len(todo))


def _is_done(scene: SceneTiles, journal: OutputJournal[SceneResult]) -> bool:
    result = journal.results.get((scene.source.name,))
    return result is not None and result.source == scene.digest and journal.is_complete((scene.source.name,))


def _forget(plan: OwnPlan, journal: OutputJournal[SceneResult], folder: Path) -> None:
    """Refuse a journal of images that are not in the description any more."""
    planned = {(scene.source.name,) for scene in plan.scenes}
    if gone := sorted(journal.outputs.keys() - planned):
        raise DatasetError(
            f"{folder / JOURNAL} lists {len(gone)} images that are not among the sources any more, first of "
            f"them {gone[0][0]}; choose another root, or delete what was prepared with --overwrite"
        )


def _examine(
    description: Description, rule: Stretch, found: Found, workers: int | None, progress: bool
) -> list[SetImage]:
    keys = description.images

    def examine(source: Source) -> SetImage:
        return examine_image(source.image, keys.bands, rule, keys.nodata, len(found.sources))

    return list(map_files(examine, found.sources, "looking at images", workers, progress, delay=1))


def _cut(description: Description, source: Source, image: SetImage) -> CutImage:
    tiles = description.tiles
    windows: tuple[Window, ...] = (Window(0, 0, *image.size),)
    if tiles is not None:
        windows = window_grid(*image.size, tiles.size, tiles.size - tiles.overlap)
    return CutImage(source.name, source.image, source.place, image.georeference, windows)


def _scene(
    description: Description,
    labels: Labels,
    limits: Limits,
    source: Source,
    image: SetImage,
    cut: CutImage,
    splits: np.ndarray,
) -> SceneTiles:
    names = description.division.names
    stems = name_tiles(source.name, image.size, cut.windows)
    tiles = tuple(
        (stem, window, names[k])
        for stem, window, k in zip(stems, cut.windows, splits.tolist(), strict=True)
        if k >= 0
    )
    form = description.labels
    label = source.label or description.path.parent.absolute() / Path(form.path).expanduser()
    beside = [str(label), *(f"{label}{ending}" for ending in _APPENDED)]
    beside += [str(label.with_suffix(ending)) for ending in _REPLACED]
    of_label = stamps_of(beside) if form.path else ()
    classes = None if labels.classes is None else labels.classes[source.name]
    stated = of_label if classes is None else classes
    facts = (FORMAT, image, limits, description.images.nodata, stated, form)
    digest = digest_of(*facts, description.class_set, description.tiles, tiles)
    return SceneTiles(source, image, tiles, digest, (*image.stamps, *of_label), classes)


def _describe_images(images: Sequence[SetImage]) -> list[str]:
    """Return sentences on how the images of the set are read."""
    notices = Counter(notice for image in images for notice in image.notices)
    return [f"{notice} ({count} of {len(images)} images)" for notice, count in notices.items()]


def _describe_stretch(description: Description, image: SetImage, limits: Limits) -> str:
    """Return how the values of all images become 8 bits, of which `image` is the first."""
    if limits[0] is None:
        return "images keep their 8-bit values"
    ends = ", ".join(
        f"band {band} {ends[0]:g}..{ends[1]:g}"
        for band, ends in zip(image.bands, limits, strict=False)
        if ends is not None
    )
    return f"one stretch for all images, {image.dtype} to 8 bit by {description.images.stretch}: {ends}"


def _refuse_mixing(plan: OwnPlan, folder: Path) -> None:
    """Raise `DatasetError` if prepared files would lie among sources, or be taken for some."""
    description, place = plan.description, folder.absolute()
    sources = [file for scene in plan.scenes for file in (scene.source.image, scene.source.label) if file]
    sources.append(description.path)
    outputs = (file for scene in plan.scenes for file in scene.outputs)
    inside = any(file.resolve().is_relative_to(place.resolve()) for file in sources)
    if inside or searches(description, folder, outputs):
        raise DatasetError(
            f"{folder} lies where the sources are, so that prepared files would be taken for sources; give "
            "another folder as DST"
        )


def searches(description: Description, folder: Path, files: Iterable[str]) -> bool:
    """Return whether a description looks for its sources where other files will be.

    Args:
        description: The description.
        folder: The folder of the other files.
        files: Their names, relative to it.
    """
    place = folder.absolute()
    images = Path(description.images.path)
    base = description.path.parent.absolute()
    labels = base / Path(description.labels.path).expanduser()
    folders = (images, labels) if description.labels.path else (images,)
    if any(each.is_dir() and place.is_relative_to(each) for each in folders):
        return True
    pattern = PathPattern(description.images.path, base)
    return any(pattern.matches(place / file) for file in files)


def _refuse_other_files(plan: OwnPlan, folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; choose another root")
    for each in () if (folder / JOURNAL).exists() else plan.folders:
        if present := sorted((folder / each).glob("[!.]*")):
            raise DatasetError(
                f"{folder / each} contains {len(present)} files that no earlier run has written, first of "
                f"them {present[0].name}; nothing is overwritten: move them away or choose another root"
            )
