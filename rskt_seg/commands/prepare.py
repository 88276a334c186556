"""Convert official downloads or own data into the layout that training and evaluation read.

    rskt-seg prepare LoveDA downloads/LoveDA
    rskt-seg prepare Potsdam 2_Ortho_RGB.zip --also 5_Labels_all_noBoundary.zip
    rskt-seg prepare iSAID downloads/iSAID /data/segmentation --dry-run
    rskt-seg prepare Vaihingen_geoseg downloads/Vaihingen
    rskt-seg prepare own fields.yaml /data/segmentation

SRC is a folder with the downloads, zipped (also zips in zips and volumes .zip.001 ...), unpacked or both, or
one archive; DST the root of all datasets (default: $DETECTRON2_DATASETS, or datasets). If interrupted, the
same command continues; once complete it has nothing to do. datasets/README.md tells what to download. The
names after VDD are the layouts of the closed-set methods and that of the weakly supervised one; LoveDA also
writes that of LoveDA_geoseg, and Potsdam that of Potsdam_wsss.

With the name own, SRC is a YAML file that says where images and labels are and how they become tiles and
splits (docs/own_data.md); of the flags, --dry-run, --allow-missing, --overwrite and --workers apply.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rskt_seg.commands.entry import command_parser, echo, place, run
from rskt_seg.data.catalog import ROOT_VARIABLE
from rskt_seg.data.own_preparation import plan_own, prepare_own
from rskt_seg.data.preparation import RECIPES, Limits, Options, plan_only, prepare
from rskt_seg.errors import ConfigError

PROGRAM = "rskt-seg prepare"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg prepare`. Return the exit status."""
    return run(partial(convert_dataset, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    parser.add_argument("name", metavar="NAME", help=f"own, {', '.join(RECIPES)}")
    parser.add_argument("source", metavar="SRC", type=place)
    parser.add_argument("root", metavar="DST", type=place, nargs="?")
    parser.add_argument("--also", metavar="SRC", type=place, nargs="+", default=[], help="further sources")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be done, write nothing")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        help="share (0..1) of the pixels of a label that may have colours of no class; they are ignored",
    )
    parser.add_argument(
        "--keep-empty", action="store_true", help="iSAID: write also windows without any labelled pixel"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="leave out images and labels without a partner"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete what an earlier run has written, and start again"
    )
    parser.add_argument(
        "--limit",
        metavar="NAME=NUMBER",
        action="append",
        default=[],
        help="raise a limit of what a download may hold, such as unpacked_gb=800 (datasets/README.md)",
    )
    parser.add_argument("--workers", type=int, help="images processed at a time (default: cores, at most 8)")
    return parser.parse_args(argv)


def convert_dataset(args: argparse.Namespace) -> None:
    """Convert a dataset, or print the plan of `--dry-run`."""
    root = args.root or Path(os.environ.get(ROOT_VARIABLE, "datasets"))
    if args.name.casefold() == "own":
        _convert_own(args, root)
        return
    limits = Limits.parse(args.limit)
    options = Options(args.tolerance, args.keep_empty, args.allow_missing, args.overwrite, limits)
    sources = [args.source, *args.also]
    if args.dry_run:
        echo("\n".join(plan_only(args.name, sources, options)))
    else:
        echo(str(prepare(args.name, sources, root, options, args.workers)))


def _convert_own(args: argparse.Namespace, root: Path) -> None:
    """Convert the data that a YAML file describes, or print the plan of `--dry-run`."""
    unused = {"--also": args.also, "--tolerance": args.tolerance, "--keep-empty": args.keep_empty,
              "--limit": args.limit}  # fmt: skip
    if given := [flag for flag, value in unused.items() if value]:
        raise ConfigError(
            f"{given[0]} is for official downloads; of own data the YAML file says what is used, tolerated "
            "and kept (docs/own_data.md)"
        )
    if args.dry_run:
        echo("\n".join(plan_own(args.source, args.allow_missing, args.workers).describe()))
        return
    summary = prepare_own(
        args.source,
        root,
        allow_missing=args.allow_missing,
        overwrite=args.overwrite,
        workers=args.workers,
    )
    from rskt_seg.commands.own_sheet import draw_sheet  # its pictures import torch

    draw_sheet(summary)
    echo(str(summary))
