"""The curves of a training: scalars in `metrics.json`, and scalars and pictures for TensorBoard.

A step and an evaluation have a line each in `metrics.json`, and lines are on the disk before the checkpoint
that follows them. So a resumed training drops the lines of what it does again, and goes on as if nothing had
happened.
"""

import json
import os
from pathlib import Path

from detectron2.utils.events import EventWriter, get_event_storage

from rskt_seg.metrics.report import PER_CLASS
from rskt_seg.writing import replace_text

WINDOW = 20
"""Iterations whose median is written of a scalar that jumps from step to step, such as a loss."""
TIMES = ("time", "data_time", "eta_seconds")
"""Scalars that measure the machine."""
_OF_STEPS = "lr"
"""A scalar that every line of a step has, and no line of an evaluation."""
_SECTIONS = {**{key: key for key in PER_CLASS}, "ACC": "recall", "precision": "precision"}
"""Score of a class in `metrics.json` -> its section in TensorBoard."""


class NewScalars:
    """What a writer has not written yet of the scalars of the event storage."""

    def __init__(self) -> None:
        self._written: dict[str, int] = {}

    def take(self) -> dict[int, dict[str, float]]:
        """Return iteration -> name -> value of the scalars that are new since the last call."""
        found: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(WINDOW).items():
            if self._written.get(name) != iteration:
                self._written[name] = iteration
                found.setdefault(iteration, {})[name] = float(value)
        return dict(sorted(found.items()))


class CurveFile(EventWriter):
    """Writer of `metrics.json`: one JSON object a line, with the iteration.

    Args:
        path: The file, to which lines are added.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - open until `close`
        self._new = NewScalars()

    def write(self) -> None:
        """Write a line for each iteration that has new scalars."""
        for iteration, scalars in self._new.take().items():
            self._file.write(json.dumps({**scalars, "iteration": iteration}, sort_keys=True) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardCurves(EventWriter):
    """Writer of TensorBoard's event files: scalars, and the pictures of the event storage.

    Args:
        folder: Where the event files are.
        start: First iteration of this process; what earlier files say of it and later ones is hidden.
    """

    def __init__(self, folder: str, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # which takes seconds

        self._writer = SummaryWriter(folder, purge_step=start)
        self._new = NewScalars()

    def write(self) -> None:
        """Write what is new; a score of a class is called SCORE/CLASS."""
        for iteration, scalars in self._new.take().items():
            for name, value in scalars.items():
                self._writer.add_scalar(tag_of(name), value, iteration)
        for name, picture, iteration in get_event_storage()._vis_data:
            self._writer.add_image(name, picture, iteration)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def tag_of(name: str) -> str:
    """Return what TensorBoard calls a scalar: the curves of all classes of a score stand in one section.

    Args:
        name: Its name in `metrics.json`, such as "farm_val_sem_seg/sem_seg/ACC-trees".

    Returns:
        Such as "farm_val_sem_seg recall/trees"; the name as it is for what is no score of a class.
    """
    before, task, figure = name.rpartition("sem_seg/")
    score, dash, of_class = figure.partition("-")
    if not task or not dash or score not in _SECTIONS:
        return name
    return f"{before.rstrip('/')} {_SECTIONS[score]}/{of_class}".strip()


def drop_later_lines(path: Path, start: int, again: bool) -> int:
    """Remove the lines of `metrics.json` that a training writes again; the file is replaced whole.

    Args:
        path: The file, which need not exist.
        start: First iteration of the training.
        again: Whether it repeats the evaluation of the iteration before.

    Returns:
        How many lines were removed. A line that is not readable, such as the half of one, is among them.
    """
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return 0
    kept = [line for line in lines if _stays(line, start, again)]
    if len(kept) < len(lines):
        replace_text(path, "".join(f"{line}\n" for line in kept))
    return len(lines) - len(kept)


def _stays(line: str, start: int, again: bool) -> bool:
    try:
        found = json.loads(line)
        iteration = int(found["iteration"])
    except (ValueError, TypeError, KeyError):
        return False
    return iteration < start and not (again and iteration == start - 1 and _OF_STEPS not in found)
