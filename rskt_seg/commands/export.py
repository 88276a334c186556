"""Write a model with its class names as one file, which computes without this package and its weights.

    rskt-seg export --model tiny --vocabulary "water, road, building" --output scene.onnx
    rskt-seg export --weights model_final.pth --resolution 0.3 --output land.onnx
    rskt-seg segment scene.tif --model scene.onnx --output results

An .onnx file takes windows of float32 RGB in 0..255, any number of them, and returns the scores of the
classes at their pixels. It opens in ONNX Runtime, in QGIS (plug-in Deepness) and in `rskt-seg segment
--model`. A .pt2 file is the same for PyTorch (`torch.export.load`). docs/export.md says what the files hold.
"""

import argparse
import logging
from collections.abc import Sequence
from functools import partial

from rskt_seg.commands.entry import command_parser, log_to_stderr, place, positive, run
from rskt_seg.commands.model_flags import add_model_flags, add_opts, check_model_flags, choose_model
from rskt_seg.vocabulary import SYNONYM_RULES, parse_vocabulary

PROGRAM = "rskt-seg export"
logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg export`. Return the exit status."""
    return run(partial(export, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the flags: the model, its classes, and what the graph sees."""
    parser = command_parser(PROGRAM, __doc__, allow_abbrev=False)
    add = parser.add_argument
    add_model_flags(parser)
    add("--output", required=True, type=place, metavar="FILE", help="the file to write, .onnx or .pt2")
    add("--background", metavar="NAMES", help="names that compete with the classes and are no class of a map")
    add("--threshold", type=float, metavar="P", help="score (0..1) below which a pixel has no class")
    add(
        "--synonyms", default="first", choices=SYNONYM_RULES,
        help="open vocabulary: use the first name of a class (default) or merge all",
    )  # fmt: skip
    add(
        "--padding", default="aligned", choices=("aligned", "published"),
        help="as for rskt-seg segment (default: aligned)",
    )  # fmt: skip
    add("--window", type=positive, metavar="SIDE", help="px of a window (default: what suits the model)")
    add("--overlap", type=float, metavar="SHARE", help="of neighbouring windows, 0..0.75")
    add(
        "--resolution", type=float, metavar="METRES",
        help="a pixel of the scenes that the file is meant for; QGIS resamples to it (default: unknown)",
    )  # fmt: skip
    add_opts(parser)
    return parser.parse_args(argv)


def export(args: argparse.Namespace) -> int:
    """Check the command line, build the model and write the file.

    Args:
        args: The parsed command line.

    Returns:
        0.

    Raises:
        RSKTSegError: The command line, the configuration or the weights are wrong, or a package is missing.
    """
    log_to_stderr()
    check_model_flags(args, ())
    vocabulary = None
    if args.vocabulary is not None:
        vocabulary = parse_vocabulary(args.vocabulary)
        vocabulary.prompts(args.synonyms)
    # The libraries of models are imported once the command line is known to be right.
    from rskt_seg.commands.scene_flags import names_options
    from rskt_seg.exporting import check_export
    from rskt_seg.segmenter import Segmenter

    check_export(args.output, args.resolution)
    chosen = choose_model(args, vocabulary)
    options = {"padding": args.padding, "synonyms": args.synonyms, **chosen.options}
    segmenter = Segmenter(chosen.model, vocabulary, device="cpu", **names_options(args), **options)
    for notice in segmenter.strategy.notices:
        logger.warning("%s", notice)
    segmenter.export(args.output, window=args.window, overlap=args.overlap, resolution=args.resolution)
    size = args.output.stat().st_size / 1e6
    names = segmenter.vocabulary.names
    logger.info("wrote %s: %d classes, %.1f MB", args.output, len(names), size)
    return 0
