"""Every key that this project adds to Detectron2's configuration, and how a configuration is read."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from detectron2.config import CfgNode, get_cfg

from rskt_seg.d2.agreement import check_agreement, defaults_of
from rskt_seg.d2.authors_keys import advice
from rskt_seg.d2.devices import default_device
from rskt_seg.d2.specs import METHODS
from rskt_seg.errors import ConfigError


def add_rskt_seg_config(cfg: CfgNode) -> None:
    """Add this project's keys, with their defaults, to a Detectron2 configuration."""
    # YAML files of datasets of your own (datasets/README.md), relative to the working directory.
    cfg.DATASETS.OWN = ()
    # Weakly supervised: from how many pixels of a mask on a class is in the image-level label of its image.
    cfg.DATASETS.MIN_LABEL_PIXELS = 1
    _add_model_keys(cfg)
    _add_input_keys(cfg)
    _add_solver_keys(cfg)
    _add_test_keys(cfg)


def _add_model_keys(cfg: CfgNode) -> None:
    cfg.MODEL.DEVICE = default_device()
    # MODEL.RSKT, MODEL.BICOR, MODEL.FCTL, MODEL.WSSS: options of the model behind MODEL.SEM_SEG_HEAD.NAME
    # (RSKTSegHead, BiCoRHead, FCtLHead, PriorWSSSHead); documented in rskt_seg/models/*/spec.py, one field a
    # key.
    for method in METHODS.values():
        cfg.MODEL[method.section] = CfgNode(defaults_of(method))

    # Where the pretrained encoders come from, unless MODEL.WEIGHTS is a whole checkpoint. "random" asks
    # for noise on purpose; "" is refused.
    cfg.MODEL.ENCODERS = CfgNode()
    # A file (OpenAI archive, open_clip, safetensors), an open_clip name MODEL/TAG, or "tiny".
    cfg.MODEL.ENCODERS.CLIP = ""
    # The RemoteCLIP ViT-B/32 file, or as above.
    cfg.MODEL.ENCODERS.REMOTE_CLIP = ""
    # The RS-DINO file (RSIB.pth), or any DINO ViT-B/8.
    cfg.MODEL.ENCODERS.DINO = ""
    # BiCoR-Seg: ConvNeXt-B as torchvision or timm save it.
    cfg.MODEL.ENCODERS.CONVNEXT = ""
    # Weakly supervised: DINOv2 ViT-B/14 or ViT-S/14 as published by its authors, or by timm.
    cfg.MODEL.ENCODERS.DINOV2 = ""
    # FCtL: ImageNet weights of the patch encoder (VGG16 of torchvision, or MiT).
    cfg.MODEL.ENCODERS.LOCAL = ""
    # FCtL with context encoders of its own: the checkpoint of the stage each was trained in, whose patch
    # encoder is taken; without MODEL.START_FROM ImageNet weights.
    cfg.MODEL.ENCODERS.MEDIUM = ""
    cfg.MODEL.ENCODERS.LARGE = ""
    # FCtL: the checkpoint of the stage before this one; what is new in this stage starts untrained.
    cfg.MODEL.START_FROM = ""
    # Weakly supervised: write frozen encoders into checkpoints too. Without it those that come from a file or
    # by name are left out, and a checkpoint states which they were.
    cfg.MODEL.SAVE_FROZEN = False


def _add_input_keys(cfg: CfgNode) -> None:
    # How training images are augmented: "ovrsis" (resize, crop, colour, flip), "geoseg" (BiCoR-Seg: mosaic,
    # scale, crop, turn, flip), "fctl" (whole images mirrored and turned), "wsss" (weakly supervised, without
    # labels: scale, flip, turn, crop of INPUT.CROP.SIZE). Each reads the keys named for it.
    cfg.INPUT.AUGMENTATION = "ovrsis"
    # geoseg: one of these factors resizes the image before the crop (INPUT.CROP.SIZE).
    cfg.INPUT.SCALES = (0.75, 1.0, 1.25, 1.5)
    # wsss: bounds of the factor, each as likely, that resizes the image before the crop.
    cfg.INPUT.SCALE_RANGE = (0.625, 1.25)
    # geoseg, fctl, wsss: probability of a turn by 90, 180 or 270 degrees (geoseg: or by 0), each as likely.
    cfg.INPUT.ROTATE90 = 0.5
    # geoseg, fctl, wsss: probability of mirroring left-right; geoseg, wsss: up-down.
    cfg.INPUT.HFLIP = 0.5
    cfg.INPUT.VFLIP = 0.5
    # geoseg: probability that parts of four images are put together, and the side (px) of the result.
    cfg.INPUT.MOSAIC = 0.25
    cfg.INPUT.MOSAIC_SIDE = 1024
    # FCtL: least overlap (px) of neighbouring patches, in training and evaluation.
    cfg.INPUT.PATCH_OVERLAP = 50
    # ovrsis: change brightness, contrast, saturation and hue of training images.
    cfg.INPUT.COLOR_AUG_SSD = False
    # Largest share of a training crop that one class may cover; 1.0 takes any crop.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Pad training images (128) and labels (ignored) to multiples of this many pixels; -1 does not.
    cfg.INPUT.SIZE_DIVISIBILITY = -1


def _add_solver_keys(cfg: CfgNode) -> None:
    # "ADAMW", "ADAM" (weight decay as L2 in the gradient) or "SGD".
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    # Lookahead around the optimiser: every so many steps (0: never) the weights go back to this share of the
    # way from where they were then.
    cfg.SOLVER.LOOKAHEAD_STEPS = 0
    cfg.SOLVER.LOOKAHEAD_ALPHA = 0.5
    # SOLVER.LR_SCHEDULER_NAME "EpochCosineLR": cosine to LR_FLOOR in EPOCHS equal steps over MAX_ITER.
    cfg.SOLVER.EPOCHS = 1
    cfg.SOLVER.LR_FLOOR = 1e-6
    # SOLVER.LR_SCHEDULER_NAME "PolyLR": (1 - t) ** POLY_POWER, where t goes from POLY_START to 1; a linear
    # warm-up of WARMUP_ITERS iterations from WARMUP_FACTOR comes first.
    cfg.SOLVER.POLY_POWER = 0.9
    cfg.SOLVER.POLY_START = 0.0
    # FCtL: patches of one image that go through the model at a time in training; the gradients of all of them
    # and of all images are added up before the step, as published.
    cfg.SOLVER.SUB_BATCH = 4
    # Learning rate of CLIP's trainable weights as a multiple of SOLVER.BASE_LR.
    cfg.SOLVER.CLIP_MULTIPLIER = 0.01
    # Weight decay of embedding tables (SOLVER.WEIGHT_DECAY_NORM is Detectron2's key for norms).
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0


def _add_test_keys(cfg: CfgNode) -> None:
    # Evaluate overlapping windows and one global view instead of the whole image at once.
    cfg.TEST.SLIDING_WINDOW = False
    # BiCoR-Seg, weakly supervised: images larger than a tile of this side (px) are evaluated in tiles that
    # overlap this much.
    cfg.TEST.TILE = 1024
    cfg.TEST.TILE_OVERLAP = 0
    # Weakly supervised: scales of an image whose logits are averaged, each also mirrored with SCALES_FLIP;
    # dense CRF after them (package pydensecrf2); and a further pass that scores the CAMs for the
    # image-level labels of the truth, whose results end in _CAM.
    cfg.TEST.SCALES = (0.75, 1.0, 1.25)
    cfg.TEST.SCALES_FLIP = True
    cfg.TEST.CRF = False
    cfg.TEST.CAM = False
    # Closed sets, with TEST.AUG.ENABLED: which views of an image are averaged (lr, dihedral, d4_loveda,
    # d4_potsdam, d4_vaihingen; see rskt_seg/inference/views.py).
    cfg.TEST.AUG.VIEWS = "lr"
    # The protocol (docs/closed_set.md) in place of that of the dataset, such as fctl_deepglobe_known.
    cfg.TEST.PROTOCOL = ""
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
    defaults = cfg.clone()
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
    check_agreement(cfg, defaults)
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
