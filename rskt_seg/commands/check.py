"""Check datasets before a run: read every file, report each fault with its remedy.

    rskt-seg check Potsdam
    rskt-seg check DLRSD_train_sem_seg DLRSD_val_sem_seg --root /data/segmentation
    rskt-seg check all --json check.json
    rskt-seg check farm/farm.yaml

A NAME is a registered split, a dataset (those of its splits that are present), `all` (every split that is
present) or the YAML file of a dataset of your own (datasets/README.md). Exit status: 0 clean, notes allowed;
1 errors were found; 2 the command line is wrong.
"""

import argparse
import json
import logging
import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rskt_seg.commands.entry import command_parser, echo, positive, run
from rskt_seg.data.catalog import ROOT_VARIABLE
from rskt_seg.data.checking.check import check_split, select_splits, shared_images
from rskt_seg.data.checking.findings import summary
from rskt_seg.errors import DatasetError, DiskFullError
from rskt_seg.writing import replace_text

PROGRAM = "rskt-seg check"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg check`. Return the exit status."""
    return run(partial(check_datasets, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="split, dataset, `all` or YAML file")
    default = os.environ.get(ROOT_VARIABLE, "datasets")
    parser.add_argument(
        "--root", default=default, help=f"default: ${ROOT_VARIABLE}, or datasets (%(default)s)"
    )
    parser.add_argument(
        "--workers", type=positive, help="files read at a time (default: one a core, up to 8)"
    )
    parser.add_argument("--json", metavar="FILE", help="also write the reports there, with every file named")
    return parser.parse_args(argv)


def check_datasets(args: argparse.Namespace) -> int:
    """Check what the command line names and print the reports.

    Args:
        args: The parsed command line.

    Returns:
        0 without an error, else 1.

    Raises:
        DatasetError: A name is unknown or has no files, or the file of --json cannot be written.
    """
    # Pillow's warnings name no file; the report does.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="PIL")
    splits = dict.fromkeys(split for name in args.names for split in select_splits(name, args.root))
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise DatasetError(f"--json {args.json}: its folder does not exist; create it or name another")
    reports = {}
    for split in splits:
        reports[split] = check_split(split, args.root, args.workers)
        echo(f"{reports[split].render()}\n")
    shared = shared_images(reports)
    for finding in shared:
        echo(f"{finding.render(args.root)}\n")
    if len(reports) > 1:
        echo(summary(reports.values()))
    if args.json:
        tree = {
            "root": args.root,
            "reports": [report.to_json() for report in reports.values()],
            "shared_images": [finding.to_json() for finding in shared],
        }
        _write_json(Path(args.json), json.dumps(tree, indent=1))
    return int(not all(report.ok for report in reports.values()))


def _write_json(path: Path, text: str) -> None:
    try:
        if path.exists() and not path.is_file():  # a pipe or /dev/stdout, which nothing may replace
            path.write_text(text, encoding="utf-8")
        else:
            replace_text(path, text)
    except DiskFullError:
        raise
    except OSError as error:
        raise DatasetError(f"--json {path} cannot be written: {error.strerror}") from error
