"""Every key that this project adds to Detectron2's configuration, and how a configuration is read."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import yaml
from detectron2.config import CfgNode, get_cfg

from rskt_seg.d2.authors_keys import advice
from rskt_seg.d2.devices import default_device
from rskt_seg.d2.specs import rskt_spec
from rskt_seg.errors import ConfigError
from rskt_seg.models.rskt import RSKTSpec


def add_rskt_seg_config(cfg: CfgNode) -> None:
    """Add this project's keys, with their defaults, to a Detectron2 configuration."""
    cfg.MODEL.DEVICE = default_device()
    # Options of the model; documented in rskt_seg/models/rskt/spec.py, one field a key.
    cfg.MODEL.RSKT = CfgNode({field.name.upper(): field.default for field in fields(RSKTSpec)})

    # Where the pretrained encoders come from, unless MODEL.WEIGHTS is a whole checkpoint. "random" asks
    # for noise on purpose; "" is refused.
    cfg.MODEL.ENCODERS = CfgNode()
    # A file (OpenAI archive, open_clip, safetensors), an open_clip name MODEL/TAG, or "tiny".
    cfg.MODEL.ENCODERS.CLIP = ""
    # The RemoteCLIP ViT-B/32 file, or as above.
    cfg.MODEL.ENCODERS.REMOTE_CLIP = ""
    # The RS-DINO file (RSIB.pth), or any DINO ViT-B/8.
    cfg.MODEL.ENCODERS.DINO = ""

    # YAML files of datasets of your own (datasets/README.md), relative to the working directory.
    cfg.DATASETS.OWN = ()

    # Change brightness, contrast, saturation and hue of training images.
    cfg.INPUT.COLOR_AUG_SSD = False
    # Largest share of a training crop that one class may cover; 1.0 takes any crop.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Pad training images (128) and labels (ignored) to multiples of this many pixels; -1 does not.
    cfg.INPUT.SIZE_DIVISIBILITY = -1

    # "ADAMW" or "SGD".
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    # Learning rate of CLIP's trainable weights as a multiple of SOLVER.BASE_LR.
    cfg.SOLVER.CLIP_MULTIPLIER = 0.01
    # Weight decay of embedding tables (SOLVER.WEIGHT_DECAY_NORM is Detectron2's key for norms).
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0

    # Evaluate overlapping windows and one global view instead of the whole image at once.
    cfg.TEST.SLIDING_WINDOW = False
    # A control, never a result: ask for class k by the name of class k + this many. A model that reads its
    # vocabulary falls to chance.
    cfg.TEST.ROTATE_NAMES = 0


def load_config(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """The frozen configuration of a YAML file and command-line overrides (`KEY VALUE` pairs).

    Raises `ConfigError`, in one line, for a missing or malformed file, an unknown key (with near
    matches), a key of the authors' files (with the key that stands for it), and a value that cannot be
    used.
    """
    cfg = get_cfg()
    add_rskt_seg_config(cfg)
    tree = _read_yaml(config_file)
    _check_keys(tree, cfg, config_file)
    pairs = _pairs(opts)
    _check_keys(pairs, cfg, "command line")
    if tree.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise ConfigError(f"{config_file}: VERSION must be {cfg.VERSION}; found {tree['VERSION']}")
    try:
        cfg.merge_from_other_cfg(CfgNode(tree))
        cfg.merge_from_list(list(opts))
    except (ValueError, AssertionError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{config_file} or an override of it: {error}") from error
    if cfg.MODEL.META_ARCHITECTURE != "RSSegmentor":
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE must be RSSegmentor; found {cfg.MODEL.META_ARCHITECTURE!r}"
        )
    rskt_spec(cfg)
    cfg.freeze()
    return cfg


def names_key(config_file: str, opts: Sequence[str], key: str) -> bool:
    """Whether the user set `key`, in the file, its bases or the overrides."""
    return key in dict(_leaves(_read_yaml(config_file))) or key in _pairs(opts)


def _read_yaml(config_file: str) -> dict:
    if not Path(config_file).is_file():
        raise ConfigError(f"--config-file {config_file!r} does not exist; see configs/ for those that do")
    try:
        # Without its unsafe mode a file cannot run code.
        return CfgNode.load_yaml_with_base(config_file, allow_unsafe=False)
    except FileNotFoundError as error:
        raise ConfigError(f"{config_file}: its _BASE_ {error.filename} does not exist") from error
    except (yaml.YAMLError, AssertionError, TypeError) as error:
        raise ConfigError(f"{config_file} cannot be read as a configuration: {error}") from error


def _pairs(opts: Sequence[str]) -> dict[str, str]:
    if flags := [word for word in opts if word.startswith("--")]:
        raise ConfigError(f"{' '.join(flags)} must stand before the KEY VALUE overrides")
    if len(opts) % 2:
        raise ConfigError(f"overrides must be KEY VALUE pairs; found {len(opts)} words: {' '.join(opts)}")
    return dict(zip(opts[::2], opts[1::2], strict=True))


def _leaves(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, name + ".")
        else:
            yield name, value


def _check_keys(tree: Mapping, cfg: CfgNode, source: str) -> None:
    known = dict(_leaves(cfg))
    faults = []
    for key, value in _leaves(tree):
        instead = advice(key)
        # A dumped configuration repeats Detectron2's own defaults, which nobody asked for.
        if instead is not None and not (key in known and _same(known[key], value)):
            faults.append(f"{key} is a key of the authors' files; use {instead}")
        elif key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.8) or _same_last_word(key, known)
            faults.append(f"unknown key {key}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    if faults:
        raise ConfigError(f"{source}: " + " | ".join(faults))


def _same(default: object, value: object) -> bool:
    return (
        value == default or (isinstance(default, tuple) and value == list(default)) or value == str(default)
    )


def _same_last_word(key: str, known: Mapping[str, object]) -> list[str]:
    return [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]][:3]
