"""Trainings in stages: which configurations write what a configuration starts from, and which are done.

A stage is a configuration whose `OUTPUT_DIR` holds a file that another one starts from (`MODEL.START_FROM`,
`MODEL.ENCODERS.*`). So the stages of a row are those that it names, and no list of them stands anywhere else.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer

from rskt_seg.checkpoints.fetch import sha256_of
from rskt_seg.d2.checkpointer import FINAL, last_checkpoint
from rskt_seg.d2.config import load_config, override_pairs
from rskt_seg.d2.config_files import output_folders
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.resuming import RunFacts, compare_runs
from rskt_seg.d2.tta import SUFFIX
from rskt_seg.d2.weights import check_weights, starting_files
from rskt_seg.errors import ConfigError, UnreadableError
from rskt_seg.reading import brief, parse_json, read_text
from rskt_seg.writing import replace_text

logger = logging.getLogger(__name__)

_RECORD = "stage.json"
"""File in the folder of a stage with the digests of the files that it started from."""
_OF_EACH_STAGE = ("MODEL.START_FROM", "MODEL.WEIGHTS")
"""Keys with which every stage would start from the same."""
_WHERE = ("MODEL.DEVICE",)
"""Settings that say where a stage was trained, not how; those may change from one stage to the next."""


@dataclass(frozen=True)
class Stage:
    """One of the runs of a training in stages.

    Attributes:
        config: Its configuration, as `load_config` takes it.
        opts: Its overrides: those of the command line, its folder, and the files of the stages before it.
        folder: Its `OUTPUT_DIR`.
        sources: Key -> file of an earlier stage that it starts from.
    """

    config: str
    opts: tuple[str, ...]
    folder: Path
    sources: Mapping[str, Path]

    @property
    def result(self) -> Path:
        """The file that it is there for."""
        return self.folder / f"{FINAL}.pth"


def plan_stages(config_file: str, opts: Sequence[str]) -> list[Stage]:
    """Return the stages of a configuration in an order in which they can run; it is the last itself.

    Args:
        config_file: As in `load_config`.
        opts: Overrides of the command line, which every stage gets. `OUTPUT_DIR` is the folder of the folders
            of all stages, each of which then has the last part of its own name.

    Returns:
        At least one stage.

    Raises:
        ConfigError: A configuration is invalid; two of them write to one folder; stages start from each
            other; or an override would let every stage start from the same file.
        WeightsNotFoundError: A file that no stage writes is missing.
    """
    given = override_pairs(opts)
    if fixed := [key for key in _OF_EACH_STAGE if given.get(key)]:
        raise ConfigError(
            f"--stages: {fixed[0]} {given[fixed[0]]} would be where every stage starts from; leave it out, "
            "or train the last stage alone"
        )
    plan: dict[str, Stage] = {}
    _plan(config_file, opts, given.get("OUTPUT_DIR"), plan, ())
    stages = list(plan.values())
    results = {str(stage.result) for stage in stages}
    if len(results) < len(stages):
        raise ConfigError(
            f"--stages: two stages of {config_file} would write to one folder: "
            f"{', '.join(f'{stage.config} to {stage.folder}' for stage in stages)}"
        )
    for stage in stages:
        check_weights(load_config(stage.config, stage.opts), later=results)
    return stages


def _plan(
    config: str, opts: Sequence[str], parent: str | None, plan: dict[str, Stage], above: tuple[str, ...]
) -> Stage:
    """Add a stage to the plan, after those that it starts from; return it."""
    if config in above:
        raise ConfigError(f"--stages: {' -> '.join((*above, config))} start from each other")
    if config in plan:
        return plan[config]
    given = {key: value for key, value in override_pairs(opts).items() if key != "OUTPUT_DIR"}
    shared = [word for pair in given.items() for word in pair]
    try:
        cfg = load_config(config, shared)
    except ConfigError as error:
        raise ConfigError(f"--stages, {config}: {error}") from error
    folders, sources = output_folders(config), {}
    for key, file in starting_files(cfg).items():
        writers = folders.get(str(Path(file).parent), [])
        if Path(file).name != f"{FINAL}.pth" or not writers:
            continue
        if len(writers) > 1:
            raise ConfigError(
                f"--stages: {config} starts from {file}, and {' and '.join(map(str, writers))} have that "
                "OUTPUT_DIR: give them folders of their own"
            )
        sources[key] = _plan(str(writers[0]), opts, parent, plan, (*above, config)).result
    folder = Path(cfg.OUTPUT_DIR) if parent is None else Path(parent, Path(cfg.OUTPUT_DIR).name)
    paths = {"OUTPUT_DIR": folder, **sources}
    own = [str(word) for pair in paths.items() for word in pair]
    plan[config] = Stage(config, (*shared, *own), folder, sources)
    return plan[config]


def is_done(stage: Stage, cfg: CfgNode, processes: int) -> bool:
    """Return whether a stage has been trained and evaluated; note in its folder what a new one starts from.

    Args:
        stage: The stage.
        cfg: Its configuration; its datasets are registered.
        processes: Number of processes.

    Returns:
        False also if it was begun and can be resumed.

    Raises:
        ConfigError: It was trained with other settings, or from other results of the stages before it.
        CheckpointError: Its checkpoint cannot be read.
    """
    last = last_checkpoint(stage.folder)
    digests = {key: sha256_of(path) for key, path in stage.sources.items()}
    record = stage.folder / _RECORD
    if last is None:
        replace_text(record, json.dumps(digests, indent=1) + "\n")
        return False
    _compare_starts(stage, digests, record)
    if last != stage.result:
        return False
    _compare_settings(last, DefaultTrainer.auto_scale_workers(cfg, processes))
    return all(_is_newer(path, last) for path in _score_files(cfg))


def _compare_starts(stage: Stage, digests: Mapping[str, str], record: Path) -> None:
    """Refuse a begun stage that started from other files than are there now."""
    if not stage.sources:
        return
    try:
        noted = parse_json(read_text(record))
        if not isinstance(noted, dict):
            raise UnreadableError(f"it holds {brief(noted)}")
    except FileNotFoundError:
        logger.warning(
            "%s was not begun by --stages: whether it started from %s cannot be told",
            stage.folder,
            " and ".join(map(str, stage.sources.values())),
        )
        return
    except UnreadableError as error:
        raise ConfigError(
            f"{record} cannot be read ({error}); remove {stage.folder} to train it anew"
        ) from error
    if changed := [key for key, digest in digests.items() if noted.get(key) != digest]:
        raise ConfigError(
            f"--stages: {stage.folder} was trained from another {changed[0]} than "
            f"{stage.sources[changed[0]]} is now: remove {stage.folder} to train it anew, or choose another "
            "OUTPUT_DIR"
        )


def _compare_settings(last: Path, cfg: CfgNode) -> None:
    """Refuse a complete stage that another configuration trained."""
    stated = RunFacts.stated(last)
    if stated is None:
        raise ConfigError(
            f"--stages: {last} was written by an earlier version and states no settings; remove its folder "
            "to train it anew, or train the following stages by themselves"
        )
    changes = compare_runs(stated, RunFacts.of(cfg, stated.processes), last)
    if departing := [each for each in changes.departing if not each.startswith(_WHERE)]:
        raise ConfigError(
            f"--stages: {last} is complete, and was trained with another {'; '.join(departing)}: put back "
            "what was, or choose another OUTPUT_DIR"
        )


def _score_files(cfg: CfgNode) -> list[Path]:
    """Return the files that the evaluation at the end of a training writes last, one a set and pass."""
    suffixes = ["", *([SUFFIX] if cfg.TEST.AUG.ENABLED else [])]
    suffixes += [each.suffix for each in method_of(cfg).evaluation_passes(cfg)]
    folder = Path(cfg.OUTPUT_DIR, "inference")
    return [folder / f"{name}{suffix}.json" for suffix in suffixes for name in cfg.DATASETS.TEST]


def _is_newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime_ns >= than.stat().st_mtime_ns
