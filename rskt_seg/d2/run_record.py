"""`run.json`: what a run was started with and how long it took, for whoever looks at its folder later."""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path

from detectron2.config import CfgNode, get_cfg
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, get_event_storage

from rskt_seg.d2.config import add_rskt_seg_config
from rskt_seg.d2.config_files import read_config
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.provenance import settings, versions
from rskt_seg.d2.ranges import leaves
from rskt_seg.errors import UnreadableError
from rskt_seg.reading import parse_json, read_text
from rskt_seg.reporting.run_folder import RECORD
from rskt_seg.writing import replace_text

TRAINING, EVALUATION = "training", "evaluation"
"""Entries of the record: of the last training and of the last evaluation in the folder."""


def read_record(folder: str | Path, kind: str) -> dict[str, object]:
    """Return an entry of the record of an output folder; empty if there is none, or it cannot be read.

    Args:
        folder: The output folder.
        kind: `TRAINING` or `EVALUATION`.
    """
    entry = _read(Path(folder, RECORD)).get(kind)
    return dict(entry) if isinstance(entry, dict) else {}


def update_record(folder: str | Path, kind: str, facts: Mapping[str, object]) -> None:
    """Set some facts of an entry of the record, and keep the others.

    Args:
        folder: The output folder.
        kind: `TRAINING` or `EVALUATION`.
        facts: Name -> plain value.
    """
    _write(folder, kind, {**read_record(folder, kind), **facts})


def record_start(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Record method, versions and where the settings of a run come from, before it begins.

    Args:
        cfg: The configuration.
        args: The command line, as `rskt_seg.commands.train.parse_args` returns it.
    """
    kind = EVALUATION if args.eval_only else TRAINING
    facts = {
        "method": method_of(cfg).method.title,
        "versions": versions(cfg.MODEL.DEVICE),
        "processes": comm.get_world_size(),
        "config_file": args.config_file,
        "file_sets": {key: str(value) for key, value in leaves(read_config(args.config_file))},
        "changes": _changes(cfg, args.config_file),
    }
    if not args.resume:  # what an earlier run has recorded is not of this one
        _write(cfg.OUTPUT_DIR, kind, {})
    update_record(cfg.OUTPUT_DIR, kind, facts)


def _changes(cfg: CfgNode, config_file: str) -> dict[str, list[str]]:
    """Return key -> [value of the configuration file, value of the run] of the settings that differ."""
    base = get_cfg()
    add_rskt_seg_config(base)
    base.merge_from_other_cfg(CfgNode(read_config(config_file)))
    before = dict(leaves(settings(base)))
    now = leaves(settings(cfg))
    return {key: [str(before.get(key)), str(value)] for key, value in now if value != before.get(key)}


class TimeRecord(EventWriter):
    """Writer of how far a training is, and how long it took, with the time of the runs that it continues.

    Args:
        folder: The output folder.
        start: First iteration.
        max_iter: `SOLVER.MAX_ITER`.
    """

    def __init__(self, folder: str, start: int, max_iter: int) -> None:
        self._folder, self._max_iter = folder, max_iter
        before = read_record(folder, TRAINING).get("seconds") if start else None
        self._before = float(before) if isinstance(before, int | float) else 0.0
        self._begun = time.monotonic()

    def write(self) -> None:
        """Update the record."""
        seconds = round(self._before + time.monotonic() - self._begun, 1)
        done = min(get_event_storage().iter + 1, self._max_iter)
        facts = {"seconds": seconds, "iterations": done, "max_iter": self._max_iter}
        update_record(self._folder, TRAINING, facts)


def _write(folder: str | Path, kind: str, entry: Mapping[str, object]) -> None:
    path = Path(folder, RECORD)
    replace_text(path, json.dumps(_read(path) | {kind: entry}, indent=1, sort_keys=True) + "\n")


def _read(path: Path) -> dict[str, object]:
    try:
        content = parse_json(read_text(path))
    except (FileNotFoundError, UnreadableError):
        return {}
    return content if isinstance(content, dict) else {}
