"""Consistency of a configuration: every changed key is read by the method and options that it chooses."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from detectron2.config import CfgNode

from rskt_seg.d2.chains import chosen_chain
from rskt_seg.d2.methods.record import DetectronMethod
from rskt_seg.d2.methods.registry import chains, detectron_methods, method_of
from rskt_seg.d2.specs import model_spec
from rskt_seg.errors import ConfigError
from rskt_seg.inference.views import VIEWS
from rskt_seg.metrics.protocols import PROTOCOLS

HEAD = "MODEL.SEM_SEG_HEAD.NAME"
CHAIN, _SCHEDULE = "INPUT.AUGMENTATION", "SOLVER.LR_SCHEDULER_NAME"
_AMP = "SOLVER.AMP.ENABLED"
_SCHEDULE_KEYS = {
    **{f"SOLVER.{key}": ("EpochCosineLR",) for key in ("EPOCHS", "LR_FLOOR")},
    **{f"SOLVER.{key}": ("PolyLR",) for key in ("POLY_POWER", "POLY_START")},
}
_INSTEAD = {"SOLVER.EPOCHS": " (the length of a training is SOLVER.MAX_ITER, in iterations)"}
"""Key -> what to say of it where nothing reads it."""
logger = logging.getLogger(__name__)


def readers() -> dict[str, tuple[str, tuple[object, ...]]]:
    """Return which values of which other key make a key effective.

    Returns:
        Key -> (the other key, its values with which the key is read). Keys that are always read are left out.
    """
    methods = detectron_methods()
    by_head: dict[str, list[str]] = {}
    for name, record in methods.items():
        for key in record.read_keys:
            by_head.setdefault(key, []).append(name)
    by_chain: dict[str, list[str]] = {}
    for name, chain in chains().items():
        for key in chain.reads:
            by_chain.setdefault(key, []).append(name)
    return {
        **{key: (HEAD, tuple(names)) for key, names in by_head.items() if len(names) < len(methods)},
        **{key: (CHAIN, tuple(names)) for key, names in by_chain.items()},
        **{key: (_SCHEDULE, names) for key, names in _SCHEDULE_KEYS.items()},
        "SOLVER.AMP.DTYPE": (_AMP, (True,)),
    }


def check_agreement(cfg: CfgNode, defaults: CfgNode) -> None:
    """Check that every changed key is read, and that values are compatible.

    Args:
        cfg: The configuration.
        defaults: The configuration before a file or an override changed it.

    Raises:
        ConfigError: Nothing reads a changed key, a value is out of range, or the method refuses it.
    """
    record, chain = method_of(cfg), chosen_chain(cfg)
    spec = model_spec(cfg)
    for other, key in _changed_options(cfg):
        if other is not record:
            raise ConfigError(
                f"MODEL.{other.section}.{key} has no effect with {record.name}; its options are "
                f"MODEL.{record.section}.*"
            )
    for key, (decider, values) in readers().items():
        if value_of(cfg, key) != value_of(defaults, key) and value_of(cfg, decider) not in values:
            raise ConfigError(
                f"{key} has no effect with {decider} {value_of(cfg, decider)}{_INSTEAD.get(key, '')}; it "
                f"is read with {' and '.join(map(str, values))}"
            )
    if chain.uses_masks == record.method.is_weak:
        fitting = [name for name, chain in chains().items() if chain.uses_masks != record.method.is_weak]
        raise ConfigError(
            f"{record.name} learns from {record.method.supervision}: INPUT.AUGMENTATION must be "
            f"{' or '.join(fitting)}; found {cfg.INPUT.AUGMENTATION}"
        )
    _check_ranges(cfg)
    record.check_config(cfg, spec)


def adopt_method(cfg: CfgNode, defaults: CfgNode, typed: Mapping[str, Any]) -> None:
    """Adapt the configuration of a file to another method, if an override of the head chooses one.

    Keys that the file sets and the new method does not read are reset to their defaults; if the new method
    cannot use the file's augmentation, its own is used. Both are logged in one line.

    Args:
        cfg: The configuration of the file with the overrides; changed in place.
        defaults: The configuration before the file.
        typed: The overrides, which are never reset.
    """
    record = method_of(cfg)
    dropped = [f"MODEL.{other.section}.{key}" for other, key in _changed_options(cfg) if other is not record]
    for key, (decider, values) in readers().items():
        if decider == HEAD and record.name not in values and value_of(cfg, key) != value_of(defaults, key):
            dropped.append(key)
    changes = [(key, value_of(defaults, key)) for key in dropped if key not in typed]
    if CHAIN not in typed and chosen_chain(cfg).uses_masks == record.method.is_weak:
        changes.append((CHAIN, record.chain))
        for key, (decider, values) in readers().items():
            changed = value_of(cfg, key) != value_of(defaults, key)
            if decider == CHAIN and record.chain not in values and changed and key not in typed:
                changes.append((key, value_of(defaults, key)))
    if changes:
        cfg.merge_from_list([item for change in changes for item in change])
        logger.warning(
            "%s %s in place of the file's method: %s",
            HEAD,
            record.name,
            ", ".join(
                f"{key} becomes {value}" if key == CHAIN else f"{key} does not apply"
                for key, value in changes
            ),
        )


def adopt_chain(cfg: CfgNode) -> None:
    """Use the method's own augmentation in a configuration that names none, if the default does not fit.

    Args:
        cfg: A configuration that leaves `INPUT.AUGMENTATION` at its default; changed in place.
    """
    record = method_of(cfg)
    if chosen_chain(cfg).uses_masks == record.method.is_weak:
        logger.info("%s is not set: it becomes %s, that of %s", CHAIN, record.chain, record.name)
        cfg.merge_from_list([CHAIN, record.chain])


def value_of(cfg: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key such as "MODEL.WEIGHTS".

    Args:
        cfg: A configuration, or a part of one.
        key: Full name below `cfg`, such as "SOLVER.BASE_LR".

    Returns:
        The value, of whatever type the key has.
    """
    value: Any = cfg
    for part in key.split("."):
        value = value[part]
    return value


def _changed_options(cfg: CfgNode) -> Iterator[tuple[DetectronMethod, str]]:
    for record in detectron_methods().values():
        for key, default in record.options.items():
            if cfg.MODEL[record.section][key] != default:
                yield record, key


def _check_ranges(cfg: CfgNode) -> None:
    if cfg.TEST.AUG.VIEWS not in VIEWS:
        raise ConfigError(f"TEST.AUG.VIEWS must be one of {', '.join(VIEWS)}; found {cfg.TEST.AUG.VIEWS!r}")
    if cfg.TEST.PROTOCOL and cfg.TEST.PROTOCOL not in PROTOCOLS:
        raise ConfigError(f"TEST.PROTOCOL must be one of {', '.join(PROTOCOLS)}; found {cfg.TEST.PROTOCOL!r}")
    tile, overlap = cfg.TEST.TILE, cfg.TEST.TILE_OVERLAP
    if not 0 <= overlap < tile:
        raise ConfigError(
            f"TEST.TILE_OVERLAP must be at least 0 and below TEST.TILE; found {overlap} and {tile}"
        )
