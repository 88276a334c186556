"""State what a model costs: parameters, FLOPs by a stated rule, time, memory and crops of an image.

    rskt-seg analyze --config-file configs/ovrsis/vitb_dlrsd.yaml --no-time
    rskt-seg analyze --config-file configs/fctl/deepglobe/4_fused.yaml --sizes 2448x2448 --no-time
    rskt-seg analyze --config-file configs/ovrsis/tiny_dlrsd.yaml --classes 40 --output output/cost

An image is seen as the evaluation of the configuration sees it. Neither weights nor data are needed; with
MODEL.WEIGHTS the weights are loaded for the measurements. What papers print stands beside it. docs/cost.md
states the rule and the conventions. Any key of the configuration can follow as `KEY VALUE`.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rskt_seg.commands.entry import command_parser, echo, log_to_stderr, place, run
from rskt_seg.errors import ConfigError
from rskt_seg.reading import read_json
from rskt_seg.writing import replace_text

PROGRAM = "rskt-seg analyze"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg analyze`. Return the exit status."""
    return run(partial(analyze_model, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="YAML file, or a name within configs/")
    add("--sizes", metavar="WxH,...", help="sizes of images in px (default: the first test image's)")
    add("--classes", type=int, metavar="N", help="number of class names of an open vocabulary")
    add("--runs", type=int, default=5, metavar="N", help="timed runs, whose median counts (5)")
    add("--warmup", type=int, default=2, metavar="N", help="runs before them (2)")
    add("--threads", type=int, metavar="N", help="threads on the CPU (default: as PyTorch takes)")
    add("--no-time", action="store_true", help="measure neither time nor memory; takes seconds")
    add("--output", type=place, metavar="DIR", help="also write analyze.json, .md and .csv there")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the YAML file")
    return parser.parse_args(argv)


def analyze_model(args: argparse.Namespace) -> None:
    """Check the arguments, analyze, print, and write files.

    Raises:
        RSKTSegError: An argument or the configuration cannot be used.
    """
    log_to_stderr()
    for name in ("runs", "warmup", "threads", "classes"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ConfigError(f"--{name} must be at least 1; found {value}")
    if args.output is not None and args.output.exists() and not args.output.is_dir():
        raise ConfigError(f"--output {args.output} must be a folder; a file of this name exists")

    from rskt_seg.analysis import csv_report, json_report, markdown_report, text_report
    from rskt_seg.d2.analysis import Request, analyze, parse_sizes
    from rskt_seg.d2.config_files import resolve_config

    request = Request(
        config_file=str(resolve_config(args.config_file)),
        opts=tuple(args.opts),
        sizes=parse_sizes(args.sizes) if args.sizes else (),
        classes=args.classes,
        runs=0 if args.no_time else args.runs,
        warmup=args.warmup,
        threads=args.threads,
    )
    analysis = analyze(request)
    echo(text_report(analysis))
    if args.output is not None:
        written = {"json": json_report, "md": markdown_report, "csv": csv_report}
        _refuse_another(args.output / "analyze.json", json_report(analysis))
        for ending, report in written.items():
            replace_text(args.output / f"analyze.{ending}", report(analysis))


def _refuse_another(file: Path, report: str) -> None:
    """Refuse to replace the analysis of another model, or a file that is none.

    Raises:
        ConfigError: `file` is there and not an analysis of the model of `report`.
    """
    if not file.exists():
        return
    found, here = read_json(file), json.loads(report)
    same = isinstance(found, dict) and all(found.get(key) == here[key] for key in ("method", "options"))
    if not same:
        raise ConfigError(
            f"{file} is no analysis of this model and is not replaced: give another --output, or move it"
        )
