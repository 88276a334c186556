"""Every key that this project adds to Detectron2's configuration, and how a configuration is checked."""

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem

from detectron2.config import CfgNode, get_cfg

from rskt_seg.checkpoints.manifest import config_key
from rskt_seg.d2.agreement import CHAIN, HEAD, adopt_chain, adopt_method, check_agreement
from rskt_seg.d2.config_files import read_config, user_keys
from rskt_seg.d2.evaluations import adopt_own_data, check_choice
from rskt_seg.d2.habits import instead_of, with_lists
from rskt_seg.d2.methods.registry import detectron_methods
from rskt_seg.d2.ranges import check_given, check_values, leaves, literal
from rskt_seg.devices import default_device
from rskt_seg.errors import ConfigError
from rskt_seg.quoting import printable
from rskt_seg.reading import brief

_MERGE_ERRORS = (
    ValueError, AssertionError, KeyError, TypeError, AttributeError, SyntaxError, RecursionError, MemoryError,
)  # fmt: skip
"""What merging values raises; the last three come from texts that Detectron2 reads as nested literals."""


def add_rskt_seg_config(cfg: CfgNode) -> None:
    """Add this project's keys, with their defaults, to a Detectron2 configuration.

    Args:
        cfg: A configuration of `detectron2.config.get_cfg`, changed in place.
    """
    # YAML files of datasets of your own (datasets/README.md), relative to the working directory. One file, as
    # one name in DATASETS.TRAIN and DATASETS.TEST, needs no tuple.
    cfg.DATASETS.OWN = ()
    # Image-level labels: the number of pixels of a mask from which on a class is in the label of its image.
    cfg.DATASETS.MIN_LABEL_PIXELS = 1
    cfg.MODEL.DEVICE = default_device()
    # Where the pretrained encoders come from, unless MODEL.WEIGHTS is a whole checkpoint: a file, for some
    # roles also a name (see `rskt_seg.load_encoder`). "random" asks for noise on purpose; "" is refused.
    cfg.MODEL.ENCODERS = CfgNode()
    # Words that the text encoder of a tiny configuration never saw: "refused", or "noise": each reads as
    # noise of its own, so that names can be told apart and mean nothing. For runs that show that they run.
    cfg.MODEL.UNKNOWN_WORDS = "refused"
    # Precision of evaluation: "fp32", or "bf16" and, on GPUs, "fp16" for the matrix products of encoders and
    # layers (see `rskt_seg.optimize_for_inference`). SOLVER.AMP is that of training.
    cfg.MODEL.PRECISION = "fp32"
    # Methods with frozen encoders: write these into checkpoints too. Without it those that come from a file
    # or by name are left out, and a checkpoint states which they were.
    cfg.MODEL.SAVE_FROZEN = False
    # Methods that see images in tiles: side (px) above which an image is evaluated in tiles; their overlap.
    cfg.TEST.TILE = 1024
    cfg.TEST.TILE_OVERLAP = 0
    # Closed sets, with TEST.AUG.ENABLED: which views of an image are averaged (lr, dihedral, d4_loveda,
    # d4_potsdam, d4_vaihingen; see rskt_seg/inference/views.py).
    cfg.TEST.AUG.VIEWS = "lr"
    # The protocol (docs/closed_set.md) in place of that of the dataset.
    cfg.TEST.PROTOCOL = ""
    # A control, never a result: ask for class k by the name of class k + this many. A model that reads its
    # vocabulary falls to chance.
    cfg.TEST.ROTATE_NAMES = 0
    # Keep the label map of every test image: OUTPUT_DIR/inference/<dataset>/<stem>.png, uint8 class ids, 255
    # where the image has no data.
    cfg.TEST.SAVE_PREDICTIONS = False
    _add_watching_keys(cfg)
    _add_input_keys(cfg)
    _add_solver_keys(cfg)
    _add_method_keys(cfg)


def _add_watching_keys(cfg: CfgNode) -> None:
    # Iterations between two lines on the console and in metrics.json.
    cfg.LOG_PERIOD = 20
    # TEST.EVAL_PERIOD: iterations between two evaluations of a training; 0: only the last is evaluated; -1:
    # one after each epoch, at most 100 in all, which is the default with data of DATASETS.OWN.
    # The score ("mIoU", "mACC", "fwIoU", "pACC"; the mean over several sets) whose greatest value
    # model_best.pth has; "": no such file. With data of DATASETS.OWN it is mIoU.
    cfg.TEST.BEST_BY = ""
    # Stop a training after so many evaluations without a greater TEST.BEST_BY; 0: never.
    cfg.TEST.PATIENCE = 0
    # Images of each test set of which inference/<dataset>.png shows image, truth and prediction.
    cfg.TEST.PICTURES = 4
    # Send curves and pictures to Weights & Biases (extra `wandb`), to a project of this name.
    cfg.WANDB = CfgNode({"ENABLED": False, "PROJECT": "rskt_seg"})


def _add_input_keys(cfg: CfgNode) -> None:
    # How training images are augmented: a chain of a method, such as "ovrsis" (resize, crop, colour, flip),
    # "geoseg" (mosaic, scale, crop, turn, flip), "fctl" (whole images mirrored and turned), "wsss" (without
    # masks: scale, flip, turn, crop of INPUT.CROP.SIZE). Each reads its own of the following keys.
    cfg.INPUT.AUGMENTATION = "ovrsis"
    # One of these factors resizes the image before the crop (INPUT.CROP.SIZE).
    cfg.INPUT.SCALES = (0.75, 1.0, 1.25, 1.5)
    # Bounds of the factor, each as likely, that resizes the image before the crop.
    cfg.INPUT.SCALE_RANGE = (0.625, 1.25)
    # Probability of a turn by 90, 180 or 270 degrees, each as likely (geoseg: or by 0).
    cfg.INPUT.ROTATE90 = 0.5
    # Probability of mirroring left-right and up-down.
    cfg.INPUT.HFLIP = 0.5
    cfg.INPUT.VFLIP = 0.5
    # Probability that parts of four images are put together, and the side (px) of the result.
    cfg.INPUT.MOSAIC = 0.25
    cfg.INPUT.MOSAIC_SIDE = 1024
    # Change brightness, contrast, saturation and hue of training images.
    cfg.INPUT.COLOR_AUG_SSD = False
    # Largest share of a training crop that one class may cover; 1.0 takes any crop.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Pad training images (128) and labels (ignored) to multiples of this many pixels; -1 does not.
    cfg.INPUT.SIZE_DIVISIBILITY = -1


def _add_solver_keys(cfg: CfgNode) -> None:
    # SOLVER.AMP.ENABLED: the dtype of mixed precision, "float16" or "bfloat16"; "auto" is bfloat16 on the CPU
    # and float16 on GPUs. Evaluation is in float32.
    cfg.SOLVER.AMP.DTYPE = "auto"
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
    # Weight decay of embedding tables (SOLVER.WEIGHT_DECAY_NORM is Detectron2's key for norms).
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0


def _add_method_keys(cfg: CfgNode) -> None:
    """Add the options of every method, the sources of its encoders, and its own keys."""
    for record in detectron_methods().values():
        if record.section in cfg.MODEL:
            raise ConfigError(
                f"{record.method.title}: MODEL.{record.section} exists already; choose another section"
            )
        cfg.MODEL[record.section] = CfgNode(record.options)
        encoders = {config_key(role): "" for role in record.method.encoders}
        for name, default in {**encoders, **record.keys}.items():
            *path, key = name.split(".")
            try:
                node = reduce(getitem, path, cfg)
            except KeyError:
                raise ConfigError(f"{record.method.title}: {name} is in no section of Detectron2") from None
            if node.setdefault(key, default) != default:
                raise ConfigError(f"{record.method.title}: {name} is a key already, with another default")


def load_config(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """Return the frozen configuration of a YAML file, or a row of one, with overrides.

    Args:
        config_file: A file, or a row of a file of ablation tables as "FILE.yaml:ROW". A path, or a name
            within the configurations of this project (`rskt_seg.d2.config_files.find_config`).
        opts: Overrides from the command line, `KEY VALUE` pairs.

    Returns:
        The complete configuration: defaults, file, overrides and the keys that the method decides.

    Raises:
        ConfigError: In one line: a missing or malformed file, an unknown key or row (with near matches), a
            key of the authors' files (with the key that stands for it), or a value that cannot be used.
    """
    cfg = get_cfg()
    add_rskt_seg_config(cfg)
    defaults = cfg.clone()
    tree = read_config(config_file)
    if isinstance(datasets := tree.get("DATASETS"), dict):
        names = with_lists({f"DATASETS.{key}": value for key, value in datasets.items()})
        tree["DATASETS"] = {key.removeprefix("DATASETS."): value for key, value in names.items()}
    _check_keys(tree, cfg, config_file)
    pairs = {key: str(value) for key, value in with_lists(override_pairs(opts)).items()}
    _check_keys(pairs, cfg, "command line")
    check_given(dict(leaves(tree)), config_file)
    check_given(pairs, "command line")
    if tree.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise ConfigError(f"{config_file}: VERSION must be {cfg.VERSION}; found {tree['VERSION']}")
    try:
        cfg.merge_from_other_cfg(CfgNode(tree))
        head = cfg.MODEL.SEM_SEG_HEAD.NAME
        cfg.merge_from_list([word for pair in pairs.items() for word in pair])
    except _MERGE_ERRORS as error:
        raise ConfigError(f"{config_file} or an override of it: {_shortened(error)}") from error
    check_values(cfg)
    if cfg.MODEL.META_ARCHITECTURE != "RSSegmentor":
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE must be RSSegmentor; found {cfg.MODEL.META_ARCHITECTURE!r}"
        )
    if pairs.get(HEAD, head) != head:
        adopt_method(cfg, defaults, pairs)
    if CHAIN not in {**dict(leaves(tree)), **pairs}:
        adopt_chain(cfg)
    check_agreement(cfg, defaults)
    if cfg.DATASETS.OWN:
        adopt_own_data(cfg, (*user_keys(config_file), *pairs))
    check_choice(cfg)
    cfg.freeze()
    return cfg


def names_key(config_file: str, opts: Sequence[str], key: str) -> bool:
    """Return whether the user set `key`, in the file, its bases or the overrides.

    Args:
        config_file: As in `load_config`.
        opts: As in `load_config`.
        key: Full name of the key, such as "MODEL.DEVICE".

    Returns:
        True also if the user set the key to its default.
    """
    return key in dict(leaves(read_config(config_file))) or key in override_pairs(opts)


def _shortened(error: BaseException) -> str:
    text = " ".join(str(error).split()) or f"a value nests too deeply ({type(error).__name__})"
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-80:]}"


def override_pairs(opts: Sequence[str]) -> dict[str, str]:
    """Return key -> value of the overrides of a command line; of a repeated key the last counts.

    Args:
        opts: The words after all flags.

    Returns:
        The values as they were typed.

    Raises:
        ConfigError: A flag is among them, the words are no pairs, or have characters that cannot be used.
    """
    if flags := [word for word in opts if word.startswith("--")]:
        raise ConfigError(f"{' '.join(flags)} must stand before the KEY VALUE overrides")
    if assigned := [word for word in opts[::2] if re.fullmatch(r"[A-Z][A-Z0-9_.]*=.*", word, re.DOTALL)]:
        key, _, value = assigned[0].partition("=")
        raise ConfigError(f"overrides are KEY VALUE pairs, without '=': write {key} {value}")
    if len(opts) % 2:
        raise ConfigError(f"overrides must be KEY VALUE pairs; found {len(opts)} words: {' '.join(opts)}")
    if odd := [word for word in opts if printable(word) != word]:
        raise ConfigError(
            f"command line: {printable(odd[0])} has characters that are not UTF-8, or that the locale "
            "does not know; rename the file or folder, or set LC_ALL=C.UTF-8"
        )
    return dict(zip(opts[::2], opts[1::2], strict=True))


def _check_keys(tree: Mapping[str, object], cfg: CfgNode, source: str) -> None:
    known, records = dict(leaves(cfg)), detectron_methods().values()
    faults = []
    for key, value in leaves(tree):
        instead = next(filter(None, (record.advice(key) for record in records)), None)
        # A dumped configuration repeats Detectron2's own defaults, which nobody asked for: YAML has lists for
        # tuples, and overrides of the command line are strings.
        default = known.get(key)
        listed = list(default) if isinstance(default, tuple) else default
        if instead is not None and not (key in known and value in (default, listed, str(default))):
            faults.append(f"{key} is a key of the authors' files; use {instead}")
        elif key not in known:
            instead = instead_of(key, known)
            faults.append(f"unknown key {key}" + (f"; {instead}" if instead else ""))
        elif isinstance(default, tuple | list) and not isinstance(literal(value), tuple | list | None):
            form = """"('a', 'b')", or "('a',)" for one"""
            faults.append(f"{key} takes several values, {form}; found {brief(value)}")
    if faults:
        raise ConfigError(f"{source}: " + " | ".join(faults))
