#!/usr/bin/env python
"""Check datasets before a run: every file is read, and what is wrong is named with its cure.

    python datasets/check.py Potsdam
    python datasets/check.py DLRSD_train_sem_seg DLRSD_val_sem_seg --root /data/segmentation
    python datasets/check.py all --json check.json
    python datasets/check.py farm/farm.yaml

A NAME is a registered split, a dataset (its splits that are there), `all` (every split that is there) or the
YAML file of a dataset of your own (README.md beside this file). Exit status: 0 clean, notes allowed; 1 errors
were found; 2 the command itself is mistaken.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rskt_seg.commands.entry import run
from rskt_seg.data.catalog import ROOT_VARIABLE
from rskt_seg.data.checking.check import check_split, select_splits, shared_images
from rskt_seg.data.checking.findings import summary
from rskt_seg.errors import DatasetError
from rskt_seg.palette import palette


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="split, dataset, `all` or YAML file")
    default = os.environ.get(ROOT_VARIABLE, "datasets")
    parser.add_argument(
        "--root", default=default, help=f"default: ${ROOT_VARIABLE}, or datasets (%(default)s)"
    )
    parser.add_argument(
        "--workers", type=_positive, help="files read at a time (default: one a core, up to 8)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the reports there too, with every file named")
    return parser.parse_args()


def main() -> int:
    """Check what the command line names, print the reports; the exit status."""
    args = parse_args()
    # What Pillow has to say names no file; the report does.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="PIL")
    splits = dict.fromkeys(split for name in args.names for split in select_splits(name, args.root, palette))
    if args.json and not Path(args.json).absolute().parent.is_dir():
        raise DatasetError(f"--json {args.json}: its folder does not exist")
    reports = {}
    for split in splits:
        reports[split] = check_split(split, args.root, args.workers)
        print(reports[split].render(), end="\n\n")
    shared = shared_images(reports)
    for finding in shared:
        print(finding.render(args.root), end="\n\n")
    if len(reports) > 1:
        print(summary(reports.values()))
    if args.json:
        tree = {
            "root": args.root,
            "reports": [report.to_json() for report in reports.values()],
            "shared_images": [finding.to_json() for finding in shared],
        }
        Path(args.json).write_text(json.dumps(tree, indent=1))
    return int(not all(report.ok for report in reports.values()))


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(run(main))
