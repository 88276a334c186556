"""What the console says of a training: what it begins with, and how far it is."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils.events import EventStorage, EventWriter, get_event_storage

from rskt_seg.d2.curves import WINDOW
from rskt_seg.d2.datasets import load_datasets
from rskt_seg.d2.logs import FILE
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.devices import describe_device
from rskt_seg.wording import counted

logger = logging.getLogger(__name__)


def describe_training(cfg: CfgNode, done: int, period: int, seed: int, processes: int) -> str:
    """Return what a training is about, in a few lines.

    Args:
        cfg: The configuration; its datasets are registered.
        done: Iterations that a resumed run has done.
        period: Iterations between two evaluations; 0: only at the end.
        seed: The seed of the run.
        processes: Number of processes.

    Returns:
        Method, images, classes, iterations, device, and where the results go.
    """
    solver = cfg.SOLVER
    images = len(load_datasets(cfg.DATASETS.TRAIN))
    epochs = solver.MAX_ITER * solver.IMS_PER_BATCH / max(images, 1)
    scored = "at the end" if cfg.DATASETS.TEST else "never"
    if period:
        scored = f"after every {counted(period, 'iteration')} and at the end"
        if cfg.TEST.BEST_BY:
            scored += f"; model_best.pth is the best by {cfg.TEST.BEST_BY}"
        if cfg.TEST.PATIENCE:
            scored += f"; stopped after {counted(cfg.TEST.PATIENCE, 'evaluation')} without a better one"
    return "\n".join(
        [
            f"Training {method_of(cfg).method.title} on {describe_device(cfg.MODEL.DEVICE)}, "
            f"{counted(processes, 'process', 'processes')}, seed {seed}",
            *_sets(cfg.DATASETS.TRAIN, "trained on"),
            *_sets([name for name in cfg.DATASETS.TEST if name not in cfg.DATASETS.TRAIN], "scored"),
            *_windows((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)),
            f"  {counted(solver.MAX_ITER, 'iteration')} of {counted(solver.IMS_PER_BATCH, 'image')} "
            f"({epochs:.1f} epochs){f', {done} of them done' if done else ''}; scored {scored}",
            _places(cfg),
        ]
    )


def describe_evaluation(cfg: CfgNode, processes: int) -> str:
    """Return what an evaluation is about, in a few lines.

    Args:
        cfg: The configuration; its datasets are registered.
        processes: Number of processes.

    Returns:
        Method, device, images, classes, and where the results go.
    """
    what = f"Scoring {method_of(cfg).method.title} on {describe_device(cfg.MODEL.DEVICE)}"
    about = f"{what}, {counted(processes, 'process', 'processes')}"
    return "\n".join([about, *_sets(cfg.DATASETS.TEST, "scored"), *_windows(cfg.DATASETS.TEST), _places(cfg)])


def _sets(names: Sequence[str], use: str) -> Iterator[str]:
    for name in names:
        entries = load_datasets([name])
        classes = counted(len(entries[0]["vocabulary"]) if entries else 0, "class", "classes")
        yield f"  {name}: {counted(len(entries), 'image')}, {classes}, {use}"


def _windows(names: Sequence[str]) -> Iterator[str]:
    """Yield what was decided on windows of sources, once for each set."""
    for windows in {MetadataCatalog.get(name).get("windows"): None for name in names}:
        if windows is not None:
            yield f"  {windows.describe()}"
            yield from (f"    {note}" for note in windows.notes())


def _places(cfg: CfgNode) -> str:
    return f"  results: {cfg.OUTPUT_DIR}; details: {Path(cfg.OUTPUT_DIR, FILE)}"


class Progress(EventWriter):
    """Writer of one line on the console: iteration, loss, learning rate, time that is left.

    It also puts `eta_seconds` into the event storage, for the writers after it.

    Args:
        max_iter: Number of iterations of the training.
    """

    def __init__(self, max_iter: int) -> None:
        self._max_iter = max_iter
        self._said = -1

    def write(self) -> None:
        """Write the line of the present iteration, unless it has been."""
        storage = get_event_storage()
        if storage.iter in (self._said, self._max_iter) or "total_loss" not in storage.latest():
            return
        self._said, done = storage.iter, storage.iter + 1
        loss, rate = storage.history("total_loss").median(WINDOW), storage.history("lr").latest()
        parts = [f"iteration {done} of {self._max_iter}: loss {loss:.4g}, lr {rate:.3g}"]
        if (seconds := seconds_of_step(storage)) is not None:
            left = seconds * (self._max_iter - done)
            storage.put_scalar("eta_seconds", left, smoothing_hint=False)
            parts += [f"{seconds:.3g} s each", f"{duration(left)} left"]
        logger.info("%s", ", ".join(parts))


def estimate(storage: EventStorage, max_iter: int) -> None:
    """Log how long a training will take, from its first iterations.

    Args:
        storage: The events so far.
        max_iter: Number of iterations of the training.
    """
    seconds = seconds_of_step(storage)
    if seconds is not None and storage.iter + 1 < max_iter:
        logger.info(
            "The training ends in about %s, without its evaluations (from the first %d iterations)",
            duration(seconds * (max_iter - storage.iter - 1)),
            WINDOW,
        )


def seconds_of_step(storage: EventStorage) -> float | None:
    """Return the median time of an iteration; None before the first that was timed."""
    if "time" not in storage.latest():
        return None
    return float(storage.history("time").median(1000))


def duration(seconds: float) -> str:
    """Return a time in the two units that matter, such as "1 h 20 min"."""
    whole = round(seconds)
    for unit, smaller, name, below in ((86400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"
