"""Whether the keys of a configuration agree: every changed key is read by what the configuration chooses."""

from collections.abc import Mapping

from detectron2.config import CfgNode

from rskt_seg.d2.specs import METHODS, Method, method_of, model_spec
from rskt_seg.errors import ConfigError
from rskt_seg.inference.views import VIEWS
from rskt_seg.metrics.protocols import PROTOCOLS
from rskt_seg.models.wsss.classes import IGNORE_LABEL

_HEAD, _CHAIN = "MODEL.SEM_SEG_HEAD.NAME", "INPUT.AUGMENTATION"
_SCHEDULE = "SOLVER.LR_SCHEDULER_NAME"
_RSKT, _BICOR, _FCTL, _WSSS = ("RSKTSegHead",), ("BiCoRHead",), ("FCtLHead",), ("PriorWSSSHead",)
_CLOSED = (*_BICOR, *_FCTL, *_WSSS)
_TILED = (*_BICOR, *_WSSS)
READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "TEST.SLIDING_WINDOW": (_HEAD, _RSKT),
    "TEST.ROTATE_NAMES": (_HEAD, _RSKT),
    "SOLVER.CLIP_MULTIPLIER": (_HEAD, _RSKT),
    "MODEL.ENCODERS.CLIP": (_HEAD, (*_RSKT, *_WSSS)),
    **{f"MODEL.ENCODERS.{role}": (_HEAD, _RSKT) for role in ("REMOTE_CLIP", "DINO")},
    "MODEL.ENCODERS.DINOV2": (_HEAD, _WSSS),
    "MODEL.SAVE_FROZEN": (_HEAD, _WSSS),
    **{f"TEST.{key}": (_HEAD, _WSSS) for key in ("SCALES", "SCALES_FLIP", "CRF", "CAM")},
    "MODEL.ENCODERS.CONVNEXT": (_HEAD, _BICOR),
    "TEST.TILE": (_HEAD, _TILED),
    "TEST.TILE_OVERLAP": (_HEAD, _TILED),
    **{f"MODEL.ENCODERS.{role}": (_HEAD, _FCTL) for role in ("LOCAL", "MEDIUM", "LARGE")},
    "MODEL.START_FROM": (_HEAD, _FCTL),
    "INPUT.PATCH_OVERLAP": (_HEAD, _FCTL),
    "SOLVER.SUB_BATCH": (_HEAD, _FCTL),
    "TEST.AUG.VIEWS": (_HEAD, _CLOSED),
    **{f"TEST.AUG.{key}": (_HEAD, _RSKT) for key in ("FLIP", "MIN_SIZES", "MAX_SIZE")},
    "INPUT.RANDOM_FLIP": (_CHAIN, ("ovrsis",)),
    **{f"INPUT.{key}": (_CHAIN, ("geoseg",)) for key in ("SCALES", "MOSAIC", "MOSAIC_SIDE")},
    **{f"INPUT.{key}": (_CHAIN, ("geoseg", "fctl", "wsss")) for key in ("HFLIP", "ROTATE90")},
    "INPUT.VFLIP": (_CHAIN, ("geoseg", "wsss")),
    "INPUT.SCALE_RANGE": (_CHAIN, ("wsss",)),
    "DATASETS.MIN_LABEL_PIXELS": (_HEAD, _WSSS),
    **{f"SOLVER.{key}": (_SCHEDULE, ("EpochCosineLR",)) for key in ("EPOCHS", "LR_FLOOR")},
    **{f"SOLVER.{key}": (_SCHEDULE, ("PolyLR",)) for key in ("POLY_POWER", "POLY_START")},
}
"""Key -> the key that decides whether it is read, and the values with which it is."""


def defaults_of(method: Method) -> dict[str, object]:
    """Key below `MODEL.<section>` -> its default."""
    return {name.upper(): method.spec.__dataclass_fields__[name].default for name in method.fields}


def check_agreement(cfg: CfgNode, defaults: CfgNode) -> None:
    """Raise `ConfigError` for options that the chosen method refuses or does not read.

    `defaults`: the configuration before a file or an override changed it.
    """
    method = method_of(cfg)
    spec = model_spec(cfg)
    for other in METHODS.values():
        own = cfg.MODEL[other.section]
        changed = [key for key, value in defaults_of(other).items() if own[key] != value]
        if other is not method and changed:
            raise ConfigError(
                f"MODEL.{other.section}.{changed[0]} has no effect with {cfg.MODEL.SEM_SEG_HEAD.NAME}; its "
                f"options are MODEL.{method.section}.*"
            )
    for key, (decider, values) in READERS.items():
        if _value(cfg, key) != _value(defaults, key) and _value(cfg, decider) not in values:
            raise ConfigError(
                f"{key} has no effect with {decider} {_value(cfg, decider)}; it is read with "
                f"{' and '.join(values)}"
            )
    if method.weak != (cfg.INPUT.AUGMENTATION == "wsss"):
        raise ConfigError(
            "INPUT.AUGMENTATION wsss, which has no labels, goes with the head PriorWSSSHead alone, and that "
            f"head with nothing else; found {cfg.INPUT.AUGMENTATION} and {cfg.MODEL.SEM_SEG_HEAD.NAME}"
        )
    if method.weak and cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE != IGNORE_LABEL:
        raise ConfigError(
            f"pseudo labels ignore {IGNORE_LABEL}: MODEL.SEM_SEG_HEAD.IGNORE_VALUE must be {IGNORE_LABEL} "
            f"with {cfg.MODEL.SEM_SEG_HEAD.NAME}; found {cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE}"
        )
    _check_ranges(cfg, getattr(spec, "patch_side", None))


def _value(cfg: Mapping, key: str) -> object:
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def _check_ranges(cfg: CfgNode, patch_side: int | None) -> None:
    if cfg.TEST.AUG.VIEWS not in VIEWS:
        raise ConfigError(f"TEST.AUG.VIEWS must be one of {', '.join(VIEWS)}; found {cfg.TEST.AUG.VIEWS!r}")
    if cfg.TEST.PROTOCOL and cfg.TEST.PROTOCOL not in PROTOCOLS:
        raise ConfigError(f"TEST.PROTOCOL must be one of {', '.join(PROTOCOLS)}; found {cfg.TEST.PROTOCOL!r}")
    numbers = all(isinstance(scale, int | float) for scale in cfg.TEST.SCALES)
    if not cfg.TEST.SCALES or not numbers or min(cfg.TEST.SCALES) <= 0:
        raise ConfigError(f"TEST.SCALES must be one or more factors above 0; found {tuple(cfg.TEST.SCALES)}")
    share = cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA
    if not 0 < share <= 1:
        raise ConfigError(f"INPUT.CROP.SINGLE_CATEGORY_MAX_AREA must be above 0, at most 1; found {share}")
    if cfg.DATASETS.MIN_LABEL_PIXELS < 1:
        found = cfg.DATASETS.MIN_LABEL_PIXELS
        raise ConfigError(f"DATASETS.MIN_LABEL_PIXELS must be at least 1; found {found}")
    if cfg.SOLVER.MAX_ITER < 1:
        raise ConfigError(f"SOLVER.MAX_ITER must be at least 1; found {cfg.SOLVER.MAX_ITER}")
    if cfg.SOLVER.SUB_BATCH < 1:
        raise ConfigError(f"SOLVER.SUB_BATCH must be at least 1; found {cfg.SOLVER.SUB_BATCH}")
    tile, overlap = cfg.TEST.TILE, cfg.TEST.TILE_OVERLAP
    if not 0 <= overlap < tile:
        raise ConfigError(f"0 <= TEST.TILE_OVERLAP < TEST.TILE expected; found {overlap} and {tile}")
    if patch_side is not None and not 0 <= cfg.INPUT.PATCH_OVERLAP < patch_side:
        raise ConfigError(
            f"0 <= INPUT.PATCH_OVERLAP < MODEL.FCTL.PATCH_SIDE expected; found {cfg.INPUT.PATCH_OVERLAP} and "
            f"{patch_side}"
        )
