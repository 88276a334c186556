"""Curves and pictures of a training for Weights & Biases, an optional package."""

import importlib
import importlib.util
from types import ModuleType
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage

from rskt_seg.d2.curves import NewScalars, tag_of
from rskt_seg.d2.provenance import settings
from rskt_seg.d2.run_record import TRAINING, read_record, update_record
from rskt_seg.errors import ConfigError

_PACKAGE = "wandb"
_KEY = "WANDB.ENABLED"


def check_wandb(cfg: CfgNode) -> None:
    """Refuse to send curves to Weights & Biases without its package.

    Args:
        cfg: The configuration.

    Raises:
        ConfigError: `WANDB.ENABLED`, and the package is not installed.
    """
    if cfg.WANDB.ENABLED and importlib.util.find_spec(_PACKAGE) is None:
        raise ConfigError(
            f"{_KEY} True needs the package {_PACKAGE}, which is not installed: pip install "
            f"'rskt_seg[wandb]', or set {_KEY} False"
        )


def wandb_writers(cfg: CfgNode, start: int) -> list[EventWriter]:
    """Return the writer that a configuration asks for, or none.

    Args:
        cfg: The configuration.
        start: First iteration; a training that is resumed goes on in the run that it began there.

    Raises:
        ConfigError: As `check_wandb`.
    """
    check_wandb(cfg)
    return [WandbWriter(importlib.import_module(_PACKAGE), cfg, start)] if cfg.WANDB.ENABLED else []


class WandbWriter(EventWriter):
    """Writer to a run of Weights & Biases; `run.json` keeps its id, by which a resumed training finds it.

    Every value comes with its `iteration`, which is the axis of the curves: the server refuses to go back to
    an earlier step of its own, as a training does that was killed after its last checkpoint.

    Args:
        wandb: The package.
        cfg: The configuration, which the run shows.
        start: First iteration.
    """

    def __init__(self, wandb: ModuleType | Any, cfg: CfgNode, start: int) -> None:
        known = read_record(cfg.OUTPUT_DIR, TRAINING).get(_PACKAGE) if start else None
        self._wandb = wandb
        self._run = wandb.init(
            project=cfg.WANDB.PROJECT, dir=cfg.OUTPUT_DIR, config=settings(cfg), id=known, resume="allow"
        )
        self._run.define_metric("*", step_metric="iteration")
        update_record(cfg.OUTPUT_DIR, TRAINING, {_PACKAGE: self._run.id})
        self._new = NewScalars()

    def write(self) -> None:
        """Send what is new; a score of a class is called as in TensorBoard."""
        for iteration, scalars in self._new.take().items():
            self._run.log({tag_of(name): value for name, value in scalars.items()} | {"iteration": iteration})
        for name, picture, iteration in get_event_storage()._vis_data:
            image = self._wandb.Image(np.ascontiguousarray(picture.transpose(1, 2, 0)))
            self._run.log({name: image, "iteration": iteration})

    def close(self) -> None:
        """End the run."""
        self._run.finish()
