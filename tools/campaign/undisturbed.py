"""The runs that are disturbed: training, evaluation, preparation and segmentation, with their results."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from campaign.children import Call, run
from campaign.judging import Reference, Results, checkpoint_entries, read_results
from campaign.material import Material

LIMIT = 60.0
"""Seconds that a run may take; undisturbed, each takes about two."""
_OLDER = "meadow, bridge, pond"
"""Class names of the run whose results a later one replaces."""


@dataclass(frozen=True)
class Work:
    """A run that is disturbed, all of whose results are below the folder `out`.

    Attributes:
        name: Its name, such as "train".
        start: Returns the command.
        resume: Returns the command that completes what was disturbed.
        results: Reads the results from the folder of the try. What is cut off in one of them raises.
        older: Returns the command whose complete results are there before; None begins with an empty folder.
        clears: Whether it removes the unfinished files of a run that was killed.
    """

    name: str
    start: Callable[[Material], Call]
    resume: Callable[[Material], Call]
    results: Callable[[Path], Results]
    older: Callable[[Material], Call] | None = None
    clears: bool = False


def _segmented(folder: Path) -> Results:
    return read_results(folder / "out")


def _benchmark(folder: Path) -> Results:
    return read_results(folder / "out", "benchmark*", "inference/*")


def _prepared(folder: Path) -> Results:
    return read_results(folder / "out", "UDD5/all/*/*", "UDD5/prepare.json")


def _trained(folder: Path) -> Results:
    """Return the entries of every checkpoint, and the scores."""
    entries: dict[str, bytes] = {}
    for path in sorted((folder / "out").glob("model_*.pth")):
        entries |= checkpoint_entries(path)
    return {**entries, **read_results(folder / "out", "inference/*_seg.json")}


def _segment(material: Material) -> Call:
    return material.segment("out", [str(path) for path in material.images])


_WORKERS = ("DATALOADER.NUM_WORKERS", "2")

WORKS = {
    work.name: work
    for work in (
        Work("train", lambda m: m.train("out"), lambda m: m.train("out", resume=True), _trained, clears=True),
        Work(
            "train-workers",
            lambda m: m.train("out", *_WORKERS),
            lambda m: m.train("out", *_WORKERS, resume=True),
            _trained,
            clears=True,
        ),
        Work("eval", lambda m: m.evaluate("out"), lambda m: m.evaluate("out"), _benchmark),
        Work("prepare", lambda m: m.prepare("out"), lambda m: m.prepare("out"), _prepared, clears=True),
        Work(
            "segment",
            _segment,
            _segment,
            _segmented,
            older=lambda m: m.segment("out", [str(path) for path in m.images], _OLDER),
        ),
    )
}
"""Name -> the run."""


@dataclass
class Runs:
    """Undisturbed runs, each made once and kept.

    Attributes:
        material: What they work on.
        folder: A folder of their own, which no other process uses.
    """

    material: Material
    folder: Path
    _found: dict[str, Reference] = field(default_factory=dict)

    def of(self, work: Work, older: bool = False) -> Reference:
        """Return how a run ends undisturbed, and its results; or those of the older run."""
        name = f"{work.name}-older" if older else work.name
        if name not in self._found:
            call = work.older if older else work.start
            assert call is not None
            ended = run(call(self.material), self.folder / name, LIMIT)
            if ended.status != 0:
                raise RuntimeError(f"undisturbed, {name} ended with {ended.status}: {ended.output}")
            self._found[name] = Reference(ended, work.results(self.folder / name))
        return self._found[name]
