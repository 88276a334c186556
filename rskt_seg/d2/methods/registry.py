"""The Detectron2 sides of the registered methods."""

from importlib import import_module

from detectron2.config import CfgNode

from rskt_seg.d2.methods.record import Chain, DetectronMethod
from rskt_seg.errors import ConfigError
from rskt_seg.methods.registry import registered_methods


def detectron_methods() -> dict[str, DetectronMethod]:
    """Return all registered methods with a Detectron2 side, by `MODEL.SEM_SEG_HEAD.NAME`.

    Raises:
        ConfigError: the Detectron2 side that a method names is no `DetectronMethod` of that method.
    """
    records: dict[str, DetectronMethod] = {}
    for method in registered_methods():
        if not method.detectron2:
            continue
        module, _, attribute = method.detectron2.partition(":")
        record = getattr(import_module(module), attribute, None)
        if not isinstance(record, DetectronMethod) or record.method is not method:
            raise ConfigError(
                f"method {method.name!r}: {method.detectron2!r} must name, as module:attribute, its "
                "rskt_seg.d2.methods.DetectronMethod"
            )
        records[record.name] = record
    return records


def method_of(cfg: CfgNode) -> DetectronMethod:
    """Return the method that a configuration chooses.

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
