"""Advice on checkpoints of another model: the configurations and keys that fit them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from detectron2.config import CfgNode

from rskt_seg.d2.agreement import HEAD
from rskt_seg.d2.config import load_config
from rskt_seg.d2.config_files import config_names, read_config
from rskt_seg.d2.methods.record import DetectronMethod
from rskt_seg.d2.methods.registry import detectron_methods, method_of
from rskt_seg.d2.ranges import leaves
from rskt_seg.errors import CheckpointError, ConfigError, OtherModelError
from rskt_seg.methods import find_preset

_MOST = 3
"""Configurations that a message names."""


@contextmanager
def configuration_advice(cfg: CfgNode) -> Iterator[None]:
    """Tell the user of a configuration which other one a checkpoint belongs to.

    Args:
        cfg: The configuration of the model that the checkpoint is loaded into.

    Raises:
        CheckpointError: In place of an `OtherModelError`, with advice on configurations.
    """
    try:
        yield
    except OtherModelError as error:
        advice = ", or ".join(_advice(cfg, preset, error.options) for preset in error.presets)
        raise CheckpointError(f"{error.finding}; {advice}") from error


def _advice(cfg: CfgNode, preset: str, options: Mapping[str, object]) -> str:
    """Return which configuration of the method of a preset has a model with these options."""
    method, _ = find_preset(preset)
    record = next((each for each in detectron_methods().values() if each.method is method), None)
    if record is None:
        return f"load it in Python: {method.title} is not used through configurations"
    # The number of classes is no key: it follows from the data.
    wanted = {
        f"MODEL.{record.section}.{name.upper()}": value
        for name, value in options.items()
        if name.upper() in record.options
    }
    if record is method_of(cfg):
        return f"set {_overrides(wanted)}" if wanted else "choose DATASETS.TRAIN with its classes"
    names, differing = _configurations(record, wanted, cfg)
    if not names:
        return f"use a configuration with MODEL.SEM_SEG_HEAD.NAME {record.name}"
    besides = f" with {_overrides(differing)}" if differing else ""
    return f"use the configuration {' or '.join(names[:_MOST])}{besides}"


def _overrides(wanted: Mapping[str, object]) -> str:
    """Return keys and values as they are typed on the command line."""
    quoted = (
        (key, f'"{value}"' if isinstance(value, tuple | list) else str(value))
        for key, value in wanted.items()
    )
    return " ".join(f"{key} {value}" for key, value in quoted)


def _configurations(
    record: DetectronMethod, wanted: Mapping[str, object], cfg: CfgNode
) -> tuple[list[str], dict[str, object]]:
    """Return this project's configurations of a method that are nearest to what is wanted.

    Nearest are those in which the fewest options differ; of these, those with the test sets of `cfg`, then
    those with its training sets.

    Args:
        record: The method.
        wanted: Key -> value of its options.
        cfg: The configuration that was used.

    Returns:
        Their names, and the options in which they differ all the same.
    """
    found: dict[str, tuple[dict[str, object], tuple[int, bool, bool]]] = {}
    for name in config_names():
        other = _read(name, record)
        if other is None:
            continue
        section = other.MODEL[record.section]
        differing = {
            key: value for key, value in wanted.items() if _plain(section[key.rpartition(".")[2]]) != value
        }
        elsewhere = (other.DATASETS.TEST != cfg.DATASETS.TEST, other.DATASETS.TRAIN != cfg.DATASETS.TRAIN)
        found[name] = differing, (len(differing), *elsewhere)
    if not found:
        return [], {}
    nearest = min(rank for _, rank in found.values())
    names = [name for name, (_, rank) in found.items() if rank == nearest]
    return names, found[names[0]][0]


def _read(name: str, record: DetectronMethod) -> CfgNode | None:
    """Return a configuration of this project; None if it is of another method, a base or a file of tables."""
    if name.rpartition("/")[2].startswith("Base"):
        return None
    try:
        head = dict(leaves(read_config(name))).get(HEAD)
        return load_config(name) if head == record.name else None
    except ConfigError:
        return None


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
