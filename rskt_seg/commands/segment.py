r"""Segment images by class names, or into the classes that a closed-set model was trained for.

    rskt-seg segment scene.png --model tiny --vocabulary "buildings, grass, water" --output results
    rskt-seg segment scene.tif photos/*.jpg --weights model_final.pth \
        --vocabulary "building, road, tree, water" --output results
    rskt-seg segment scene.tif --model scene.onnx --output results
    rskt-seg segment --config-file configs/bicor/loveda.yaml --input tile.png --heatmaps --tta lr \
        --output results --opts MODEL.WEIGHTS model_final.pth
    rskt-seg segment --config-file configs/wsss/vitb_isaid.yaml --input tile.png --cams \
        --present "ship, harbor" --output results --opts MODEL.WEIGHTS model_final.pth

For each image NAME the output folder gets NAME_overlay.png, NAME_labels.png (with a legend), NAME_legend.png,
NAME_ids.png (class ids; 255 = nodata), NAME_area.csv and NAME_area.json; for a GeoTIFF also NAME_ids.tif on
the same grid; with ground truth (--gt) NAME_truth.png and NAME_errors.png (false positives and negatives).
The EXIF orientation of images is applied.

An image over twice the side that the model sees is a scene: it is segmented in windows at its own resolution,
whatever its size, and goes on where it was after an interruption (docs/scenes.md). It gets NAME_ids.tif and
NAME_confidence.tif (Cloud Optimized GeoTIFFs), NAME_area.csv, NAME_area.json and NAME_provenance.json, and up
to 16 million pixels the pictures above. --whole reduces such images to what the model sees in place of that.
"""

import argparse
import logging
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rskt_seg.commands.entry import command_parser, log_to_stderr, place, run
from rskt_seg.commands.model_flags import add_model_flags, add_opts, check_model_flags, choose_model
from rskt_seg.commands.scene_flags import (
    add_scene_flags,
    expand,
    names_options,
    refuse_scene_flags,
    wants_windows,
)
from rskt_seg.commands.segment_flags import FlagFacts, flag_facts
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.vocabulary import SYNONYM_RULES, Vocabulary, check_names, parse_vocabulary

if TYPE_CHECKING:
    from rskt_seg.scenes.options import SceneOptions
    from rskt_seg.segmenter import Segmenter

PROGRAM = "rskt-seg segment"
GRAPH = ".onnx"
"""Ending of files of `rskt-seg export`, which are models as well."""


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run `rskt-seg segment`, as a program of this name. Return the exit status."""
    return run(partial(segment, parse_args(argv, program)), program)


def parse_args(argv: Sequence[str] | None = None, program: str = PROGRAM) -> argparse.Namespace:
    """Parse the flags: those of Detectron2's demo, a vocabulary, and what to draw."""
    parser, facts = command_parser(program, __doc__, allow_abbrev=False), flag_facts()
    add = parser.add_argument
    add_model_flags(parser, ", or an .onnx file of rskt-seg export")
    add("--device", help="without --config-file: where to compute (default: the GPU, or cpu without one)")
    add(
        "images", nargs="*", default=[], metavar="SCENE",
        help="images and rasters of any kind and size, their folders, quoted globs, .txt lists of them, or "
        "names of GDAL's own such as /vsizip/a.zip/b.tif",
    )  # fmt: skip
    add("--input", nargs="+", default=[], metavar="SCENE", help="the same")
    add("--output", required=True, type=place, metavar="DIR", help="folder of the results")
    _add_inference_flags(parser, facts)
    add_scene_flags(parser)
    add(
        "--bands",
        metavar="R,G,B",
        help="band numbers from 1, such as 4,3,2 (default: declared or named)",
    )
    add("--stretch", default="auto", help="to 8 bit: auto (default), none, pLOW-HIGH, or MIN,MAX")
    add(
        "--nodata",
        type=float,
        metavar="VALUE",
        help="value of pixels without data (files declare more)",
    )
    add("--no-alpha", action="store_true", help="a band that is declared alpha is data, such as infrared")
    add(
        "--gt", nargs="+", type=place, default=[], metavar="FILE",
        help="label images of class ids, or their folder; draws the errors",
    )  # fmt: skip
    for name, drawing in facts.drawings.items():
        add(f"--{name.replace('_', '-')}", action="store_true", help=drawing.help)
    add(
        "--present", metavar="NAMES",
        help=f'classes of {_flags_taking(facts, "present")}, such as "ship, harbor" (default: those of '
        "--gt in the tile, without it those predicted there)",
    )  # fmt: skip
    add("--at", metavar="ROW,COLUMN", help=f"pixel of {_flags_taking(facts, 'at')} (default: the centre)")
    add_opts(parser)
    return parser.parse_args(argv)


def _add_inference_flags(parser: argparse.ArgumentParser, facts: FlagFacts) -> None:
    add = parser.add_argument
    add(
        "--sliding", action="store_true",
        help=f"{_readers(facts, 'sliding')}: sliding window, finer, about five times slower",
    )  # fmt: skip
    add(
        "--tta", metavar="NAME",
        help=f"{_readers(facts, 'views')}: average the views lr, dihedral, d4_loveda, d4_potsdam, ...",
    )  # fmt: skip
    add(
        "--precision", choices=facts.precisions,
        help="precision of matrix products: fp32 (default), bf16 (faster, nearly the same), or on GPUs "
        "fp16",
    )  # fmt: skip
    add(
        "--crf", action="store_true",
        help=f"{_readers(facts, 'crf')}: refine by a dense CRF (needs the optional package pydensecrf2)",
    )  # fmt: skip
    add(
        "--synonyms", default="first", choices=SYNONYM_RULES,
        help=f"{_readers(facts, 'synonyms')}: use the first name of a class (default) or merge all",
    )  # fmt: skip
    add(
        "--padding", default="aligned", choices=("aligned", "published"),
        help=f"{_readers(facts, 'padding')}: published: as in the benchmark (default: aligned)",
    )  # fmt: skip


def _readers(facts: FlagFacts, option: str) -> str:
    """Name the methods whose models read an option of `Segmenter`."""
    return ", ".join(facts.readers[option])


def _flags_taking(facts: FlagFacts, field: str) -> str:
    """Name the drawing flags whose explanation reads a field of a request."""
    able = (name for name, drawing in facts.drawings.items() if field in drawing.takes)
    return " or ".join(f"--{name.replace('_', '-')}" for name in able)


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """Parse the value of --bands.

    Args:
        text: One or three numbers such as "4,3,2", or None.

    Returns:
        The numbers, from 1; None for None.

    Raises:
        ConfigError: Anything else.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*,\s*[1-9]\d*\s*)?", text):
        raise ConfigError(f"--bands expects one or three numbers from 1, such as 4,3,2; found {text!r}")
    return tuple(int(number) for number in text.split(","))


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """Parse the value of --present.

    Args:
        text: Class names such as "ship, harbor", or None.

    Returns:
        The names; None for None.

    Raises:
        VocabularyError: As `check_names`.
    """
    return None if text is None else check_names(text.split(","))


def parse_point(text: str | None) -> tuple[int, int] | None:
    """Parse the value of --at.

    Args:
        text: A pixel "ROW,COLUMN", counted from 0, or None.

    Returns:
        (row, column); None for None.

    Raises:
        ConfigError: Anything else.
    """
    if text is None:
        return None
    if not re.fullmatch(r"\s*\d+\s*,\s*\d+\s*", text):
        raise ConfigError(f"--at expects ROW,COLUMN from 0, such as 120,80; found {text!r}")
    row, column = map(int, text.split(","))
    return row, column


def pair_truths(images: Sequence[Path | str], truths: Sequence[Path]) -> dict[Path | str, Path]:
    """Find the label file of each image: the one of the same stem, or of that stem followed by `_...`.

    Args:
        images: Image files.
        truths: Label files, and folders of them. A single image and a single label are paired whatever their
            names.

    Returns:
        Image file -> label file.

    Raises:
        DatasetError: Unless every image has exactly one label, which is a file.
    """
    truths = [file for path in truths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    for each in truths:
        if each.exists() and not each.is_file():  # opening a pipe would wait for a writer
            raise DatasetError(f"--gt: expected label images; {each} is a pipe or a device")
    if len(images) == len(truths) == 1:
        return {images[0]: truths[0]}
    pairs: dict[Path | str, Path] = {}
    for image in images:
        stem = Path(image).stem
        same = [truth for truth in truths if truth.stem == stem and truth != image]
        longer = [truth for truth in truths if truth.stem.startswith(f"{stem}_") and truth != image]
        found = same or longer
        if len(found) != 1:
            listed = ", ".join(map(str, found)) or "none"
            raise DatasetError(f"--gt: expected one label with the stem {stem} for {image}; found {listed}")
        pairs[image] = found[0]
    return pairs


def segmenter_options(args: argparse.Namespace, configured: dict[str, Any]) -> dict[str, Any]:
    """Return the options of `Segmenter`: those of the configuration, and the flags where they are given.

    Args:
        args: The parsed command line.
        configured: Options that the configuration sets.

    Returns:
        Name -> value, keyword arguments of `Segmenter`.
    """
    flags = {"sliding": args.sliding, "padding": args.padding, "synonyms": args.synonyms}
    crf = {"crf": True} if args.crf else {}
    return {**flags, **configured, **crf, "views": args.tta or "none"}


def segment(args: argparse.Namespace) -> int:
    """Check the command line, build the model and segment.

    Args:
        args: The parsed command line.

    Returns:
        The exit status, as `segment_files`.

    Raises:
        RSKTSegError: The command line, the configuration or the weights are wrong.
    """
    # The libraries that read images and draw are imported once the command line is known to be right.
    from rskt_seg.commands.scene_run import make_engine, report_names, scene_options
    from rskt_seg.commands.segment_files import SegmentOptions, segment_files

    log_to_stderr()
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # what it reports is raised as well
    logging.getLogger("pyogrio").setLevel(logging.WARNING)  # it counts records
    if not args.images and not args.input:
        raise ConfigError("no image is given: rskt-seg segment SCENE... --output DIR")
    check_model_flags(args, ("device",))
    vocabulary = None
    if args.vocabulary is not None:
        vocabulary = parse_vocabulary(args.vocabulary)
        vocabulary.prompts(args.synonyms)
    options = SegmentOptions(
        args.output,
        parse_bands(args.bands),
        args.stretch,
        args.nodata,
        not args.no_alpha,
        tuple(name for name in flag_facts().drawings if getattr(args, name)),
        present=parse_names(args.present),
        at=parse_point(args.at),
        in_windows=wants_windows(args),
    )
    scenes: SceneOptions | None = scene_options(args, options.bands)
    images = expand([*args.images, *args.input], args.output)
    truths = pair_truths(images, args.gt) if args.gt else {}
    if args.whole or args.sliding or args.crf or options.explanations or truths:
        refuse_scene_flags(args)
        scenes = None
    make = partial(build_segmenter, args, vocabulary)
    segmenter = make()
    report_names(segmenter)
    engine = None if scenes is None else make_engine(args, segmenter, make)
    return segment_files(segmenter, images, truths, options, scenes, engine)


def build_segmenter(
    args: argparse.Namespace, vocabulary: Vocabulary | None, device: str | None = None
) -> "Segmenter":
    """Build the model that the command line asks for.

    Args:
        args: The parsed command line.
        vocabulary: The classes, or None.
        device: Where to compute; None: as the command line says.

    Returns:
        The model with its classes.

    Raises:
        RSKTSegError: The configuration or the weights are wrong.
    """
    from rskt_seg.segmenter import Segmenter

    if (args.model or args.weights or "").endswith(GRAPH):
        return _from_graph(args, vocabulary)
    chosen = choose_model(args, vocabulary)
    return Segmenter(
        chosen.model,
        vocabulary,
        device=device or args.device or chosen.device,
        precision=args.precision or chosen.precision,
        release=True,
        **names_options(args),
        **segmenter_options(args, chosen.options),
    )


def _from_graph(args: argparse.Namespace, vocabulary: Vocabulary | None) -> "Segmenter":
    """Open the graph of an ONNX file, in which everything but the threshold is frozen."""
    from rskt_seg.segmenter import Segmenter

    frozen = [flag for flag in ("preset", "device", "precision", "background") if getattr(args, flag)]
    if frozen:
        raise ConfigError(
            f"--{', --'.join(frozen)} has no effect on an ONNX file, in which model and classes are frozen; "
            "leave it out"
        )
    options = segmenter_options(args, {})
    return Segmenter.from_onnx(args.model or args.weights, vocabulary, threshold=args.threshold, **options)
