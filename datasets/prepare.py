#!/usr/bin/env python
"""Convert the official downloads of a dataset into the layout that training and evaluation read.

    python datasets/prepare.py LoveDA downloads/LoveDA
    python datasets/prepare.py Potsdam 2_Ortho_RGB.zip --also 5_Labels_all_noBoundary.zip
    python datasets/prepare.py iSAID downloads/iSAID /data/segmentation --dry-run
    python datasets/prepare.py Vaihingen_geoseg downloads/Vaihingen

SRC is a folder with the downloads, zipped (also zips in zips and volumes .zip.001 ...), unpacked or both, or
one archive; DST the root of all datasets (default: $DETECTRON2_DATASETS, or datasets). Interrupted, the same
command goes on; once complete it has nothing to do. datasets/README.md tells what to download. The names
after VDD are the layouts of the closed-set methods and that of the weakly supervised one; LoveDA writes that
of LoveDA_geoseg too, and Potsdam that of Potsdam_wsss.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rskt_seg.commands.entry import run
from rskt_seg.data.catalog import ROOT_VARIABLE
from rskt_seg.data.preparation import RECIPES, Options, plan_only, prepare


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("source", metavar="SRC", type=Path)
    parser.add_argument("root", metavar="DST", type=Path, nargs="?")
    parser.add_argument("--also", metavar="SRC", type=Path, nargs="+", default=[], help="further sources")
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
        "--overwrite", action="store_true", help="delete what an earlier run has written, and begin anew"
    )
    parser.add_argument("--workers", type=int, help="images worked on at a time (default: cores, at most 8)")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    root = args.root or Path(os.environ.get(ROOT_VARIABLE, "datasets"))
    options = Options(args.tolerance, args.keep_empty, args.allow_missing, args.overwrite)
    sources = [args.source, *args.also]
    if args.dry_run:
        print("\n".join(plan_only(args.name, sources, options)))
    else:
        print(prepare(args.name, sources, root, options, args.workers))


if __name__ == "__main__":
    sys.exit(run(main))
