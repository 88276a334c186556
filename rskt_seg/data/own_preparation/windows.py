"""Training without tiles: windows of sources, read as a preparation would write them as tiles."""

import json
import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from rskt_seg.data.class_sets import listed
from rskt_seg.data.own_preparation.description import Description, read_description
from rskt_seg.data.own_preparation.files import Source, find_sources
from rskt_seg.data.own_preparation.label_forms import Drawn
from rskt_seg.data.own_preparation.label_maps import OpenLabel
from rskt_seg.data.own_preparation.report import count_tiles, describe_absent, describe_results
from rskt_seg.data.own_preparation.run import FORMAT, OwnPlan, plan_own, searches
from rskt_seg.data.own_preparation.scenes import (
    SceneResult,
    SceneTiles,
    Tile,
    digest_of,
    read_tile,
    survey_scene,
)
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import DatasetError
from rskt_seg.geo import RasterImage
from rskt_seg.geo.image_sets import Limits, SetImage, open_reader
from rskt_seg.geo.windowed import stamps_of
from rskt_seg.windows import Window
from rskt_seg.wording import counted
from rskt_seg.writing import replace_text

logger = logging.getLogger(__name__)

_WHOLE = (".png", ".jpg", ".jpeg")
"""Endings of labels that are decoded from their beginning, or as a whole."""
_OF_RUNS = ("inference/scores.png", "inference/predictions/tile.png")
"""Pictures as runs write them, which must not match a pattern of images."""


class OwnWindow(NamedTuple):
    """A window that is trained on or scored.

    Attributes:
        stem: What its tile would be called.
        image: What its image file would be called below the source, where no file can be.
        label: Likewise its label file; "" if there are labels of whole images alone.
        size: (h, w), px.
        classes: Ids of the classes that the image shows, where that is all that is known; else None.
    """

    stem: str
    image: str
    label: str
    size: tuple[int, int]
    classes: tuple[int, ...] | None


@dataclass(frozen=True)
class StoredPlan:
    """What was found when the sources of a set were looked at, as its file keeps it.

    Attributes:
        description: SHA-256 of what the YAML file says.
        files: Path from the YAML file, which may move together with them, bytes and time of change (ns) of
            all source files.
        limits: How bands become 8 bits.
        results: What was found in each image.
    """

    description: str
    files: tuple[tuple[str, int, int], ...]
    limits: Limits
    results: tuple[SceneResult, ...]

    @classmethod
    def of(cls, plan: OwnPlan, results: tuple[SceneResult, ...]) -> "StoredPlan":
        """Return what is to be kept of a plan."""
        base = plan.description.path.parent
        stamps = {stamp for scene in plan.scenes for stamp in scene.stamps}
        files = sorted((os.path.relpath(name, base), size, time) for name, size, time in stamps)
        return cls(_digest(plan.description), tuple(files), plan.limits, results)

    @classmethod
    def read(cls, path: Path) -> "StoredPlan | None":
        """Return what a file keeps; None if there is none, or it is of another version."""
        try:
            tree = json.loads(path.read_bytes())
            if tree["format"] != FORMAT:
                return None
            return cls(
                tree["description"],
                tuple((name, size, time) for name, size, time in tree["files"]),
                tuple(None if ends is None else (ends[0], ends[1]) for ends in tree["limits"]),
                tuple(SceneResult.from_row(row) for row in tree["scenes"]),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"{path}, the plan of the windows, is damaged ({error}); delete it, and it is made anew"
            ) from error

    def write(self, path: Path) -> None:
        """Write a file that `read` reads."""
        tree = {
            "format": FORMAT, "description": self.description, "files": self.files, "limits": self.limits,
            "scenes": [result.to_row() for result in self.results],
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(tree) + "\n")

    def changes(self, path: Path, now: "StoredPlan") -> list[str]:
        """Return the names of files that are others by now, the YAML file `path` among them."""
        described = [] if self.description == now.description else [str(path)]
        others = {name for name, *_ in set(self.files) ^ set(now.files)}
        return described + sorted(str(path.parent / name) for name in others)


class OwnWindows:
    """The windows of a set.

    What `prepare_own` decides for a whole set is decided by the same functions: the stretch, the split, and
    which windows are kept, for which all of them are read once. That is kept in a file, and looked up when it
    is there. Files are opened for each window that is read, so that nothing open crosses to another process;
    what is drawn on an image is kept by each process that has read it.

    Args:
        path: The YAML file of the sources.
        folder: The folder of the file that keeps the plan.
        renew: Whether a plan of other sources in this folder is replaced; else they are refused.
    """

    def __init__(self, path: Path, folder: Path, renew: bool) -> None:
        self.description = read_description(path)
        self.place = folder / f"windows_{self.description.class_set.name}.json"
        self._path, self._renew = path, renew
        self._drawn: dict[str, AbstractContextManager[OpenLabel]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_drawn": {}}

    @cached_property
    def plan(self) -> OwnPlan:
        """The plan; its scenes are those of `prepare_own`, before windows are left out."""
        if searches(self.description, self.place.parent, _OF_RUNS):
            raise DatasetError(
                f"{self.place.parent} lies where {self._path} looks for sources, so that pictures of the run "
                "would be taken for some; choose another --output"
            )
        stored = StoredPlan.read(self.place)
        plan = plan_own(self._path, limits=None if stored is None else stored.limits)
        if stored is not None and stored.changes(self._path, StoredPlan.of(plan, ())):
            return plan_own(self._path)
        return plan

    @cached_property
    def results(self) -> tuple[SceneResult, ...]:
        """What was found in each image of `plan`.

        Raises:
            DatasetError: The sources are others than those of the plan in the folder, which is to stay; or a
                split is left without a window.
            LabelError: A label is not what the description says.
            ImageReadError: An image cannot be read.
        """
        plan, stored = self.plan, StoredPlan.read(self.place)
        changed = [] if stored is None else stored.changes(self._path, StoredPlan.of(plan, ()))
        if changed and not self._renew:
            raise DatasetError(
                f"{self.place} belongs to a run on other data: {listed(changed)} changed since; put back "
                "what was, choose another --output, or, if the files show what they did, delete this one"
            )
        known = {} if stored is None else {each.source: each for each in stored.results}
        found = _survey(plan, known)
        count_tiles(self.description, found)
        if stored is None or changed or found != stored.results:
            StoredPlan.of(plan, found).write(self.place)
        return found

    def serves(self, other: "OwnWindows") -> bool:
        """Return whether these windows were looked at, and are those of another object by files as they are.

        Args:
            other: Windows that may not have been looked at.

        Returns:
            False also if a file has come or gone.
        """
        if "results" not in self.__dict__ or not self.place.exists():
            return False
        if (self.place, self._path, self.description) != (other.place, other._path, other.description):
            return False
        known = {scene.source for scene in self.plan.scenes}
        stamps = {stamp for scene in self.plan.scenes for stamp in scene.stamps}
        found = find_sources(self.description, allow_missing=False).sources
        return known == set(found) and set(stamps_of(self.sources)) == stamps

    @cached_property
    def _windows(self) -> Mapping[str, tuple[SceneTiles, Window]]:
        return {stem: (scene, window) for scene in self.plan.scenes for stem, window, _ in scene.tiles}

    def of_split(self, split: str) -> list[OwnWindow]:
        """Return the windows of a split that are kept.

        Args:
            split: Its name in the YAML file.

        Returns:
            The windows, in the order of their stems.

        Raises:
            DatasetError: As `results`, and as `plan_own`.
            ImageReadError: As `plan_own`.
        """
        kept = {file for result in self.results for file in result.outputs}
        found = []
        for scene in self.plan.scenes:
            for stem, window, of in scene.tiles:
                image, *labels = scene.files(stem, split)
                if of != split or image not in kept:
                    continue
                name = Path(image).name
                label = scene.source.label or self.description.path.parent / self.description.labels.path
                size = window.height, window.width
                found.append(
                    OwnWindow(
                        stem, f"{scene.source.image}/{name}", f"{label}/{name}" if labels else "", size,
                        scene.classes,
                    )
                )  # fmt: skip
        return sorted(found)

    def read(self, stem: str) -> tuple[RasterImage, np.ndarray]:
        """Read a window.

        Args:
            stem: Its name.

        Returns:
            Image (h, w) and ids (h, w) uint8 with 255 where there is no class: those of the tile that
            `prepare_own` would write.

        Raises:
            DatasetError: A source has changed since it was looked at.
            LabelError: The label cannot be read.
            ImageReadError: The image cannot be read.
        """
        scene, window = self._windows[stem]
        reader = open_reader(scene.image, self.plan.limits, self.description.images.nodata)
        with self._open(scene.source, scene.image) as label:
            tile = read_tile(reader, label, window)
        if stamps_of([name for name, *_ in scene.stamps]) != scene.stamps:
            raise DatasetError(
                f"{scene.source.image} or its label has changed since the run began; leave sources alone, "
                "and start anew"
            )
        return tile

    def _open(self, source: Source, image: SetImage) -> AbstractContextManager[OpenLabel]:
        """Open a label; what is drawn is small, takes long to find, and is kept."""
        if not isinstance(self.description.labels, Drawn):
            return self.plan.labels.open(source, image)
        if source.name not in self._drawn:
            self._drawn[source.name] = self.plan.labels.open(source, image)
        return self._drawn[source.name]

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of all source files."""
        return tuple(sorted({name for scene in self.plan.scenes for name, *_ in scene.stamps}))

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what windows there are and what they show, but the files."""
        return digest_of(_digest(self.description), self.plan.limits)

    def describe(self) -> str:
        """Return in one line what was decided."""
        plan, tiles = self.plan, self.description.tiles
        count, _ = count_tiles(self.description, self.results)
        windows = ", ".join(f"{number} {split}" for split, number in count.items())
        size = "whole images" if tiles is None else f"windows of {tiles.size} px"
        if tiles is not None and tiles.overlap:
            size += f", {tiles.overlap} px of them shared"
        scenes = counted(len(plan.scenes), "image")
        parts = [f"{self.description.class_set.name}: {windows}, {size}, read directly from {scenes}"]
        parts.append(plan.stretch)
        if tiles is not None and (decoded := sum(map(_decodes_whole, plan.scenes))):
            which = counted(decoded, "pair")
            parts.append(f"{which} of PNG or JPEG, decoded whole for each window: tiles are faster")
        return "; ".join([*parts, f"the plan is in {self.place}"])

    def notes(self) -> list[str]:
        """Return sentences on what was found and left out, besides what `describe` says."""
        _, pixels = count_tiles(self.description, self.results)
        absent = describe_absent(self.description.class_set, pixels)
        found = [note for note in self.plan.notes if note != self.plan.stretch]
        return [*found, *describe_results(self.results, self.plan.divided), *absent]


def _decodes_whole(scene: SceneTiles) -> bool:
    """Return whether image or label are of a format of which all is decoded to read a part."""
    label = scene.source.label
    return not scene.image.windowed or (label is not None and label.suffix.lower() in _WHOLE)


def _digest(description: Description) -> str:
    images = replace(
        description.images, path=os.path.relpath(description.images.path, description.path.parent)
    )
    facts = (description.class_set, images, description.labels, description.tiles)
    return digest_of(*facts, description.division)


def _survey(plan: OwnPlan, known: Mapping[str, SceneResult]) -> tuple[SceneResult, ...]:
    """Look at the scenes of a plan that are not known by their digests."""
    todo = [scene for scene in plan.scenes if scene.digest not in known]
    total = sum(len(scene.tiles) for scene in todo)
    if todo:
        logger.info("Looking at %s of %s once", counted(total, "window"), counted(len(todo), "image"))
    with tqdm(total=total, desc="windows", leave=False, delay=1, disable=None) as bar:

        def count(tile: Tile) -> None:
            bar.update()

        def survey(scene: SceneTiles) -> SceneResult:
            return survey_scene(scene, plan.description, plan.labels, plan.limits, count, count)

        found = {each.source: each for each in map_files(survey, todo, "", progress=False)}
    return tuple((found | dict(known))[scene.digest] for scene in plan.scenes)
