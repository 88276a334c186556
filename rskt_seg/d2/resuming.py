"""What checkpoints state of their run, and which settings a resumed run may have.

A setting that has changed is applied and told, or refused by name; none is ignored.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from rskt_seg.d2.checkpointer import read_checkpoint
from rskt_seg.d2.datasets import load_datasets
from rskt_seg.d2.evaluations import BEST
from rskt_seg.d2.provenance import settings
from rskt_seg.d2.ranges import leaves
from rskt_seg.errors import CheckpointError, ConfigError
from rskt_seg.reading import brief

TRAINER, RUN = "trainer", "run"
"""Entry of a checkpoint with the state of the trainer, and of that with what is stated of the run."""
logger = logging.getLogger(__name__)


class Change(Enum):
    """What becomes of a setting that a resumed run has changed."""

    UNSAID = "it concerns neither the weights nor the results"
    HARMLESS = "applied and told: the weights become what they would have been"
    DEPARTS = "applied and told: the weights become others"
    REFUSED = "it cannot be applied to what has been learnt, or what follows would be another experiment"


CHANGES: Mapping[str, Change] = {
    "": Change.REFUSED,
    "CUDNN_BENCHMARK": Change.UNSAID,
    "DATALOADER.NUM_WORKERS": Change.HARMLESS,
    "DATASETS.OWN": Change.UNSAID,  # files, whose images are stated by their names
    "DATASETS.TEST": Change.HARMLESS,
    "GLOBAL": Change.UNSAID,
    "INPUT.MAX_SIZE_TEST": Change.HARMLESS,
    "INPUT.MIN_SIZE_TEST": Change.HARMLESS,
    "LOG_PERIOD": Change.UNSAID,
    "MODEL.DEVICE": Change.DEPARTS,
    "MODEL.ENCODERS": Change.UNSAID,  # those that a checkpoint leaves out are compared by their digests
    "MODEL.SAVE_FROZEN": Change.HARMLESS,
    "MODEL.START_FROM": Change.UNSAID,
    "MODEL.UNKNOWN_WORDS": Change.UNSAID,  # no word that is known reads otherwise
    "MODEL.WEIGHTS": Change.UNSAID,
    "OUTPUT_DIR": Change.UNSAID,
    "SEED": Change.UNSAID,  # stated by itself, because it may have been drawn
    "SOLVER.AMP": Change.DEPARTS,
    "SOLVER.BASE_LR": Change.DEPARTS,
    "SOLVER.CHECKPOINT_PERIOD": Change.HARMLESS,
    "SOLVER.CLIP_GRADIENTS": Change.DEPARTS,
    "SOLVER.EPOCHS": Change.DEPARTS,
    "SOLVER.GAMMA": Change.DEPARTS,
    "SOLVER.LR_FLOOR": Change.DEPARTS,
    "SOLVER.LR_SCHEDULER_NAME": Change.DEPARTS,
    "SOLVER.MAX_ITER": Change.DEPARTS,
    "SOLVER.POLY_POWER": Change.DEPARTS,
    "SOLVER.POLY_START": Change.DEPARTS,
    "SOLVER.REFERENCE_WORLD_SIZE": Change.UNSAID,  # what it scales is compared
    "SOLVER.STEPS": Change.DEPARTS,
    "SOLVER.WARMUP_FACTOR": Change.DEPARTS,
    "SOLVER.WARMUP_ITERS": Change.DEPARTS,
    "SOLVER.WARMUP_METHOD": Change.DEPARTS,
    "TEST": Change.HARMLESS,
    "TEST.PRECISE_BN": Change.DEPARTS,
    "VERSION": Change.UNSAID,
    "VIS_PERIOD": Change.UNSAID,
    "WANDB": Change.UNSAID,
}
"""Key or section -> what becomes of a change; the longest name that fits a key decides."""


def change_of(key: str) -> Change:
    """Return what becomes of a change of a key, by its full name, such as "SOLVER.BASE_LR"."""
    while key and key not in CHANGES:
        key = key.rpartition(".")[0]
    return CHANGES[key]


@dataclass(frozen=True)
class RunFacts:
    """What a checkpoint states of the run that wrote it.

    Attributes:
        seed: Seed of the run; negative where a configuration asks for any.
        processes: Number of processes.
        images: Number of training images.
        names: SHA-256 of the names of their files, in their order.
        settings: Key -> plain value, of all keys whose change is not `Change.UNSAID`.
        classes: Class names of the training images; () in checkpoints of earlier versions.
    """

    seed: int
    processes: int
    images: int
    names: str
    settings: Mapping[str, object]
    classes: Sequence[str] = ()

    @classmethod
    def of(cls, cfg: CfgNode, processes: int) -> "RunFacts":
        """Return those that a configuration asks for; its datasets are registered."""
        entries = load_datasets(cfg.DATASETS.TRAIN)
        files = [Path(entry["file_name"]).name for entry in entries]
        digest = hashlib.sha256("\0".join(files).encode(errors="surrogateescape")).hexdigest()
        stated = {key: value for key, value in leaves(settings(cfg)) if change_of(key) is not Change.UNSAID}
        classes = list(entries[0]["vocabulary"]) if entries else []
        return cls(cfg.SEED, processes, len(files), digest, stated, classes)

    @classmethod
    def stated(cls, path: Path) -> "RunFacts | None":
        """Return those that a checkpoint states; None if it was written before checkpoints did.

        Raises:
            CheckpointError: The file cannot be read, has no state of a training, or what it states is
                malformed.
        """
        trainer = read_checkpoint(str(path), mapped=True).get(TRAINER)
        done = trainer.get("iteration") if isinstance(trainer, dict) else None
        if not isinstance(trainer, dict) or type(done) is not int or done < 0:
            raise CheckpointError(
                f"{path} cannot be continued: it does not say how far its training was, in the entry "
                f"'{TRAINER}'; start a new run in another OUTPUT_DIR with MODEL.WEIGHTS {path}"
            )
        if (entry := trainer.get(RUN)) is None:
            return None
        try:
            facts = cls(**entry)
            numbers = facts.seed, facts.processes, facts.images
            if not all(type(each) is int for each in numbers) or not isinstance(facts.settings, dict):
                raise TypeError("expected whole numbers, and settings by their keys")
            json.dumps([facts.settings, facts.classes])  # plain values, which can be compared
        except (RecursionError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: what it states of its run is damaged ({error}): {brief(entry)}"
            ) from error
        return facts

    def entry(self, seed: int) -> dict[str, Any]:
        """Return the entry of a checkpoint of a run that has this seed, asked for or drawn."""
        return asdict(self) | {"seed": seed}


@dataclass(frozen=True)
class Changes:
    """The settings that a resumed run changes and applies, each as "KEY VALUE (was VALUE)".

    Attributes:
        harmless: Those after which the weights become what they would have been.
        departing: Those after which they become others.
    """

    harmless: tuple[str, ...] = ()
    departing: tuple[str, ...] = ()

    def log(self) -> None:
        """Log each kind in one line, if there are any."""
        if self.harmless:
            logger.info("Resumed with %s", "; ".join(self.harmless))
        if self.departing:
            logger.warning(
                "resumed with %s: from here on, weights differ from those of the run as it was begun",
                "; ".join(self.departing),
            )


def compare_runs(stated: RunFacts, asked: RunFacts, path: Path) -> Changes:
    """Compare the run that wrote a checkpoint with the one that is to resume it.

    Args:
        stated: What the checkpoint states.
        asked: What the configuration asks for.
        path: The checkpoint, for the message.

    Returns:
        The changes that are applied.

    Raises:
        ConfigError: A setting has changed that cannot be applied.
    """
    found: dict[Change, list[str]] = {kind: [] for kind in Change}
    for key, was in stated.settings.items():
        # A key that only one version of the package has is not comparable.
        if (now := asked.settings.get(key, was)) != was:
            found[change_of(key)].append(f"{key} {brief(now)} (was {brief(was)})")
    if asked.seed >= 0 and asked.seed != stated.seed:
        found[Change.REFUSED].append(f"SEED {asked.seed} (was {stated.seed})")
    if asked.processes != stated.processes:
        found[Change.DEPARTS].append(f"number of processes {asked.processes} (was {stated.processes})")
    if not found[Change.REFUSED] and stated.classes and list(asked.classes) != list(stated.classes):
        found[Change.REFUSED].append(
            f"the classes {', '.join(asked.classes)} (was {', '.join(stated.classes)})"
        )
    if not found[Change.REFUSED] and (asked.images, asked.names) != (stated.images, stated.names):
        found[Change.REFUSED].append(
            f"other files in DATASETS.TRAIN: {asked.images} images (was {stated.images})"
        )
    if refused := found[Change.REFUSED]:
        raise ConfigError(
            f"--resume: {path} cannot be continued with {'; '.join(refused)}: put back what was, or start a "
            f"new run in another OUTPUT_DIR with MODEL.WEIGHTS {path}"
        )
    return Changes(tuple(found[Change.HARMLESS]), tuple(found[Change.DEPARTS]))


def check_resumable(cfg: CfgNode, processes: int, path: Path) -> None:
    """Refuse to resume a checkpoint with other settings, before anything is built.

    Args:
        cfg: The configuration, scaled to the number of processes; its datasets are registered.
        processes: Number of processes.
        path: The checkpoint.

    Raises:
        ConfigError: A setting has changed that cannot be applied.
        CheckpointError: The checkpoint cannot be read.
    """
    if (stated := RunFacts.stated(path)) is not None:
        compare_runs(stated, RunFacts.of(cfg, processes), path)


def warn_of_checkpoints(folder: str, resume: bool) -> None:
    """Log a warning if a new run begins in a folder with checkpoints, which it will overwrite.

    Args:
        folder: `OUTPUT_DIR`.
        resume: Whether the run was to be resumed; then the file `last_checkpoint` is missing.
    """
    best = f"{BEST}.pth"  # without the state of a training
    there = sorted(path for path in Path(folder).glob("model_*.pth") if path.name != best)
    if there and resume:
        logger.warning(
            "--resume: a new run begins, as %s has no last_checkpoint; to continue from %s, stop it and "
            "write that name there, before it is overwritten",
            folder,
            there[-1].name,
        )
    elif there:
        logger.warning(
            "%s holds checkpoints of an earlier run, such as %s: without --resume this run begins anew and "
            "overwrites those whose names it needs; to keep them choose another OUTPUT_DIR",
            folder,
            there[-1].name,
        )
