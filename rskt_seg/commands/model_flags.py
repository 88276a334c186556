"""The flags that name a model, and the model that they name; of `segment` and `export`."""

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

from rskt_seg.errors import CheckpointError, ConfigError, OtherModelError, VocabularyError
from rskt_seg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from rskt_seg.typing import SegmentationModel

_NO_NAMES = "open-vocabulary models need class names: pass --vocabulary"


class Chosen(NamedTuple):
    """The model that a command line names.

    Attributes:
        model: The model, on the CPU or where its configuration puts it.
        options: Options of `Segmenter` that its checkpoint or configuration states.
        device: Where it should compute; None: where it is.
        precision: As which it should compute.
    """

    model: "SegmentationModel"
    options: dict[str, Any]
    device: str | None
    precision: str


def add_model_flags(parser: argparse.ArgumentParser, kinds: str = "") -> None:
    """Add the flags that name a model and its classes.

    Args:
        parser: The parser.
        kinds: What --model takes besides names, for its help.
    """
    add = parser.add_argument
    add(
        "--model", metavar="NAME",
        help="a model by name, such as tiny, which comes with the package (docs/weights.md has them all), or "
        f"a trained checkpoint{kinds}",
    )  # fmt: skip
    add("--weights", metavar="FILE", help="trained checkpoint, which states its model, classes and sizes")
    add("--preset", metavar="NAME", help="with a published checkpoint, which states no model: its model")
    add(
        "--config-file",
        metavar="FILE",
        help="in place of --model: YAML file, with --opts MODEL.WEIGHTS FILE",
    )
    add(
        "--vocabulary", "--vocab", "--class-names", metavar="NAMES",
        help='"building, road, tree", or a .txt (one class a line, synonyms after commas), .json or .csv '
        "list; closed-set models know their classes and need none",
    )  # fmt: skip


def add_opts(parser: argparse.ArgumentParser) -> None:
    """Add --opts, which takes all that is behind it."""
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="overrides of the YAML file"
    )


def check_model_flags(args: argparse.Namespace, without_config: tuple[str, ...]) -> None:
    """Check that the flags name one model.

    Args:
        args: The parsed command line.
        without_config: Flags that a configuration takes the place of, besides --preset.

    Raises:
        ConfigError: They do not.
    """
    if sum(map(bool, (args.model, args.weights, args.config_file))) != 1:
        raise ConfigError(
            "give either --weights FILE, a trained checkpoint, or --model NAME, such as tiny, or "
            "--config-file FILE"
        )
    for flag in ("preset", *without_config) if args.config_file else ("opts",):
        if getattr(args, flag):
            other = "--weights or --model" if args.config_file else "--config-file"
            raise ConfigError(f"--{flag} goes with {other}; leave it out")


def choose_model(args: argparse.Namespace, vocabulary: Vocabulary | None) -> Chosen:
    """Build the model that the command line names.

    Args:
        args: The parsed command line.
        vocabulary: The classes, or None.

    Returns:
        The model, with its weights.

    Raises:
        RSKTSegError: The configuration or the weights are wrong, or class names are missing.
    """
    return _from_config(args, vocabulary) if args.config_file else _from_weights(args, vocabulary)


def _from_weights(args: argparse.Namespace, vocabulary: Vocabulary | None) -> Chosen:
    """Build the model that a checkpoint states, or that has a name."""
    from rskt_seg.devices import default_device
    from rskt_seg.methods import find_preset, load
    from rskt_seg.methods.load import is_closed_set
    from rskt_seg.methods.named import find_named

    source = args.model or args.weights
    named = find_named(source)
    preset = named.preset if named else args.preset
    closed = preset is not None and find_preset(preset)[0].is_closed
    names = vocabulary.names if closed and vocabulary else None
    try:
        trained = load(source, args.preset, class_names=names)
    except OtherModelError as error:
        presets = " or ".join(error.presets)
        raise CheckpointError(f"{error.finding}; give --preset {presets}, or --config-file") from error
    if vocabulary is None and not is_closed_set(trained.model):
        raise VocabularyError(_NO_NAMES)
    return Chosen(trained.model, dict(trained.options), default_device(), "fp32")


def _from_config(args: argparse.Namespace, vocabulary: Vocabulary | None) -> Chosen:
    """Build the model of a configuration."""
    from rskt_seg.d2 import build_model, load_config
    from rskt_seg.d2.devices import check_devices
    from rskt_seg.d2.methods import method_of
    from rskt_seg.d2.weights import check_trained

    cfg = load_config(args.config_file, args.opts)
    record = method_of(cfg)
    if vocabulary is None and not record.method.is_closed:
        raise VocabularyError(_NO_NAMES)
    check_devices(cfg.MODEL.DEVICE)
    check_trained(cfg)
    return Chosen(build_model(cfg), record.segmenter_options(cfg), None, cfg.MODEL.PRECISION)
