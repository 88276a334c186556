"""The chunks of a scene, and the folder that keeps those that are done."""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from rskt_seg.errors import ConfigError, ImageReadError, UnreadableError
from rskt_seg.geo.parts import write_part
from rskt_seg.geo.raster_files import read_bands
from rskt_seg.inference.cells import WindowPlan
from rskt_seg.inference.strategies import Strategy
from rskt_seg.reading import parse_json
from rskt_seg.scenes.region import BLOCK, Maps, Region, SceneTask, map_region, read_region
from rskt_seg.windows import Window
from rskt_seg.wording import counted
from rskt_seg.writing import naming_full_disk, only_one, remove_at_once, remove_unfinished, replace_text

REPEATED = 0.25
"""Most windows that are computed again for another chunk of the usual side, as a share of all."""
LEAST_CHUNK = 4096
"""Side (px) of chunks from which on larger ones hardly save any work with small windows."""
PIXELS, SUMS = 2**29, 2**29
"""Most bytes of the pixels that a chunk of the usual side is computed from, and of its scores."""
_FACTS, _LOCK = "scene.json", ".lock"


@dataclass(frozen=True, eq=False)
class SceneJob:
    """A scene, or a part of it, with the folder of its finished chunks.

    Attributes:
        task: What its chunks are computed from.
        area: The part (px) whose map is asked for.
        chunk: Side (px) of a chunk, a multiple of `rskt_seg.scenes.region.BLOCK`.
        folder: Where finished chunks are kept until all are done.
        facts: What the result depends on: name -> what JSON holds. Chunks that were computed from other facts
            are not used.
    """

    task: SceneTask
    area: Window
    chunk: int
    folder: Path
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def chunks(self) -> tuple[Window, ...]:
        """All chunks, row by row: squares that are anchored to the scene, cut off by the area."""
        area, side = self.area, self.chunk
        tops = range(area.top // side * side, area.bottom, side)
        lefts = range(area.left // side * side, area.right, side)
        return tuple(Window(top, left, side, side).intersection(area) for top in tops for left in lefts)

    def part(self, chunk: Window, layer: str) -> Path:
        """Return the file of a layer ("ids", "confidence", "scores") of a chunk."""
        return self.folder / f"{chunk.top}_{chunk.left}_{layer}.tif"

    def report(self, chunk: Window) -> Path:
        """Return the file that is written last, when a chunk is done."""
        return self.folder / f"{chunk.top}_{chunk.left}.json"

    def is_done(self, chunk: Window) -> bool:
        """Return whether a chunk need not be computed again."""
        return self.report(chunk).is_file()

    def read_chosen(self) -> np.ndarray:
        """Return how many pixels each class was the best of, in all chunks: (T,) int64."""
        chosen = np.zeros(len(self.task.decision.ids), np.int64)
        for chunk in self.chunks:
            chosen += np.array(self._read_report(chunk)["chosen"], np.int64)
        return chosen

    def _read_report(self, chunk: Window) -> dict[str, Any]:
        """Return what was written of a chunk that is done.

        Raises:
            UnreadableError: The report is damaged, or of chunks that were computed from other facts.
        """
        report = parse_json(self.report(chunk).read_text("utf-8", "replace"))
        if not isinstance(report, dict) or report.get("facts") != self.digest or "sums" not in report:
            raise UnreadableError("it is no report of this chunk")
        return report

    @cached_property
    def digest(self) -> str:
        """What the reports of chunks state of the facts, so that those of other scenes are told apart."""
        return sha256(json.dumps(self._stated, sort_keys=True).encode()).hexdigest()

    @contextmanager
    def open_folder(self, restart: bool = False) -> Iterator[int]:
        """Make the folder, or check that what it holds was computed from the same facts; lock it meanwhile.

        Args:
            restart: Whether what it holds is removed first.

        Yields:
            How many chunks are done already.

        Raises:
            ConfigError: The chunks in it were computed from something else, another process computes them, or
                it is no folder of chunks.
            DiskFullError: There is no room for it.
        """
        if self.folder.exists() and not self._holds_chunks():
            raise ConfigError(
                f"{self.folder} is needed for the chunks of {self.task.name}, and holds something else; "
                "move it away, or choose another folder for the results"
            )
        if restart and self.folder.exists():
            with self._locked():
                remove_at_once(self.folder)
        with naming_full_disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if changed := self._find_changed():
                raise ConfigError(
                    f"{self.folder} holds chunks of {self.task.name} that were computed otherwise "
                    f"({' and '.join(changed)}); {self._remedy()}"
                )
            replace_text(self.folder / _FACTS, json.dumps(self._stated, indent=2) + "\n")
            remove_unfinished(self.folder)
            yield sum(map(self.is_done, self.chunks))

    def _holds_chunks(self) -> bool:
        """Return whether the folder is one of chunks, or empty."""
        if not self.folder.is_dir():
            return False
        return (self.folder / _FACTS).is_file() or all(each.name[0] == "." for each in self.folder.iterdir())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with only_one(self.folder / _LOCK) as alone:
            if not alone:
                raise ConfigError(
                    f"{self.task.name} is being segmented into {self.folder.parent} by another process; wait "
                    "for its end, or choose another folder for the results"
                )
            yield

    @property
    def _stated(self) -> dict[str, Any]:
        """What the folder states of its chunks."""
        # The side is part of the names only; and JSON makes lists of tuples.
        facts: dict[str, Any] = json.loads(
            json.dumps({**self.facts, "chunk": self.chunk, "area": list(self.area)})
        )
        return facts

    def _find_changed(self) -> list[str]:
        """Return the names of the facts that the folder states otherwise."""
        path, facts = self.folder / _FACTS, self._stated
        if not path.exists():
            return []
        try:
            former = parse_json(path.read_text("utf-8"))
            if not isinstance(former, dict):
                raise UnreadableError("it holds no facts")
        except UnreadableError as error:
            raise ConfigError(f"{path} is damaged ({error}); {self._remedy()}") from error
        return sorted(key for key in {*facts, *former} if facts.get(key) != former.get(key))

    def check_parts(self) -> None:
        """Check that the files of all chunks hold what was written; forget the others.

        Raises:
            ImageReadError: Some do not, and will be computed again.
        """
        damaged: list[str] = []
        for chunk in self.chunks:
            try:
                sums = self._read_report(chunk)["sums"]
                found = {layer: zlib.crc32(read_bands(self.part(chunk, layer)).data) for layer in sums}
            except (ImageReadError, UnreadableError):
                sums, found = {}, None
            if found != sums:
                self.report(chunk).unlink(missing_ok=True)
                damaged.append(self.report(chunk).stem)
        if damaged:
            which = f"{counted(len(damaged), 'chunk')} ({', '.join(damaged[:10])})"
            raise ImageReadError(
                f"{self.folder}: the files of {which} do not hold what was written; give the command again, "
                "which computes them anew"
            )

    def remove_folder(self) -> None:
        """Remove all chunks, inside of `open_folder`."""
        remove_at_once(self.folder)

    def remove_leftovers(self) -> None:
        """Remove chunks of the same facts that a run has left which was killed at its very end."""
        with suppress(ConfigError):  # they are of other facts, or another process needs them
            if (self.folder / _FACTS).is_file() and not self._find_changed():
                with self._locked():
                    remove_at_once(self.folder)

    def _remedy(self) -> str:
        return "go on as before, remove that folder, or start anew (--restart)"


def write_chunk(job: SceneJob, chunk: Window, maps: Maps) -> None:
    """Write the maps of a chunk; it is done once its report is written.

    Args:
        job: The scene.
        chunk: One of its chunks.
        maps: The maps of the chunk.

    Raises:
        OSError: A file cannot be written, or not completely.
    """
    layers = {"ids": maps.ids[None], "confidence": maps.confidence[None]}
    if maps.scores is not None:
        layers["scores"] = maps.scores
    for layer, bands in layers.items():
        write_part(job.part(chunk, layer), bands, chunk)
    sums = {layer: zlib.crc32(np.ascontiguousarray(bands).data) for layer, bands in layers.items()}
    report = {"facts": job.digest, "chosen": maps.chosen.tolist(), "windows": maps.windows, "sums": sums}
    replace_text(job.report(chunk), json.dumps(report) + "\n")


def compute_chunk(
    strategy: Strategy,
    job: SceneJob,
    chunk: Window,
    region: Region | None = None,
    on_window: Callable[[int, int], None] = lambda *_: None,
) -> Maps:
    """Compute the maps of a chunk. Call it inside `rskt_seg.inference.predict.evaluating(model)`.

    Args:
        strategy: The model.
        job: The scene.
        chunk: One of its chunks.
        region: What the chunk is computed from; None: it is read.
        on_window: As for `map_region`.

    Returns:
        The maps.

    Raises:
        ImageReadError: The scene cannot be read.
        NotFiniteError: A score of the model is NaN or infinite.
    """
    return map_region(strategy, job.task, region or read_region(job.task, chunk), on_window)


def chunk_side(plan: WindowPlan, channels: int, scores: int = 0) -> int:
    """Return the usual side of chunks: for little work that is done twice, within bounds of memory.

    A window at the border of two chunks is computed for both, so that the side follows that of windows.

    Args:
        plan: How windows cover the scene.
        channels: Number of maps that are blended.
        scores: Number of classes whose scores are kept at all pixels.

    Returns:
        The side (px), a multiple of `rskt_seg.scenes.region.BLOCK`; results do not depend on it.
    """

    def fits(side: int) -> bool:
        pixels = 4 * (side + 2 * (plan.side + plan.margin)) ** 2
        held = 4 * channels * plan.held_rows(BLOCK) * (side // plan.cell + 2) + scores * side**2
        return pixels <= PIXELS and held <= SUMS

    sides = [BLOCK, *takewhile(fits, count(2 * BLOCK, BLOCK))]
    large = [side for side in sides if side >= LEAST_CHUNK]
    return next(
        (side for side in large if plan.repeated_share(side) <= REPEATED),
        min(large, key=plan.repeated_share, default=sides[-1]),
    )
