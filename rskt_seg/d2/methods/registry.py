"""The Detectron2 sides of the registered methods."""

import logging
from functools import cache
from importlib import import_module

from detectron2.config import CfgNode

from rskt_seg.d2.methods.record import Chain, DetectronMethod
from rskt_seg.errors import ConfigError
from rskt_seg.methods.registry import registered_methods

logger = logging.getLogger(__name__)


@cache
def _import(path: str) -> object:
    """Import "module:attribute", None if there is no such attribute; return the error of a broken module.

    Cached as modules are: what was imported, or failed to be, stays so for the process.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute, None)
    except Exception as error:  # a defect of another package must not stop this one
        reason = " ".join(str(error).split()) or type(error).__name__
        logger.warning("%s cannot be imported, so its method has no Detectron2 side: %s", path, reason)
        return error


def detectron_methods() -> dict[str, DetectronMethod]:
    """Return all registered methods with a Detectron2 side, by `MODEL.SEM_SEG_HEAD.NAME`.

    A Detectron2 side that cannot be imported is left out, and a warning says so once.

    Raises:
        ConfigError: The Detectron2 side that a method names is no `DetectronMethod` of that method.
    """
    records: dict[str, DetectronMethod] = {}
    for method in registered_methods():
        if not method.detectron2 or isinstance(record := _import(method.detectron2), Exception):
            continue
        if not isinstance(record, DetectronMethod) or record.method is not method:
            raise ConfigError(
                f"method {method.name!r}: {method.detectron2!r} must name, as module:attribute, its "
                "rskt_seg.d2.methods.DetectronMethod"
            )
        records[record.name] = record
    return records


def method_of(cfg: CfgNode) -> DetectronMethod:
    """Return the method that a configuration chooses.

    Args:
        cfg: The whole configuration; `MODEL.SEM_SEG_HEAD.NAME` is read.

    Returns:
        The Detectron2 side of the method's record.

    Raises:
        ConfigError: `MODEL.SEM_SEG_HEAD.NAME` is no head of a registered method.
    """
    name, methods = cfg.MODEL.SEM_SEG_HEAD.NAME, detectron_methods()
    if name not in methods:
        raise ConfigError(f"MODEL.SEM_SEG_HEAD.NAME must be one of {', '.join(methods)}; found {name!r}")
    return methods[name]


def chains() -> dict[str, Chain]:
    """Return the augmentation chains of all methods, by `INPUT.AUGMENTATION`."""
    return {name: chain for record in detectron_methods().values() for name, chain in record.chains.items()}
