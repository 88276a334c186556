#!/usr/bin/env python
"""Write down which classes each image of a dataset shows, as its masks have it.

    python datasets/image_labels.py iSAID_wsss_train_sem_seg --output labels.csv
    python datasets/image_labels.py farm/farm.yaml --split train --output farm/labels.csv --min-pixels 20

The file is comma-separated text, a line for each image: its name, then the names of its classes. The weakly
supervised method learns from such a file where there are no masks (README.md beside this script, "Image-level
labels"). Nothing is overwritten.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rskt_seg.commands.entry import run
from rskt_seg.data.catalog import ROOT_VARIABLE, Split, pairs
from rskt_seg.data.checking.check import select_splits
from rskt_seg.data.image_labels import classes_of_mask, write_image_labels
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import DatasetError
from rskt_seg.palette import palette


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="split, dataset, or YAML file of a dataset of your own")
    parser.add_argument("--split", help="which split of a dataset or a YAML file that has several")
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--min-pixels", type=int, default=1, help="pixels from which on a class counts (%(default)s)"
    )
    default = os.environ.get(ROOT_VARIABLE, "datasets")
    parser.add_argument(
        "--root", default=default, help=f"default: ${ROOT_VARIABLE}, or datasets (%(default)s)"
    )
    parser.add_argument("--workers", type=int, help="masks read at a time (default: one a core, up to 8)")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.output.exists():
        raise DatasetError(f"--output {args.output} exists; remove it or name another file")
    split = _chosen(select_splits(args.name, args.root, palette), args.split)
    if not split.labels:
        raise DatasetError(
            f"{split.name} has no masks to take labels from; its image-level labels are those of "
            f"{split.image_labels}"
        )
    found = pairs(split, args.root)
    read = partial(
        classes_of_mask,
        class_names=split.class_set.names,
        ignore_label=split.ignore_label,
        min_pixels=args.min_pixels,
    )
    classes = map_files(read, [pair.label for pair in found], split.name, args.workers)
    labels = {pair.image.stem: ids for pair, ids in zip(found, classes, strict=True)}
    write_image_labels(args.output, labels, split.class_set.names)
    shown = [k for ids in labels.values() for k in ids]
    print(
        f"{args.output}: {len(labels)} images with {len(shown)} labels, of {len(set(shown))} of the "
        f"{len(split.class_set)} classes"
    )


def _chosen(splits: Sequence[Split], name: str | None) -> Split:
    """The split called `name`, or the only one. Raises `DatasetError` where that is no choice."""
    named = [split for split in splits if name in (None, split.split, split.name)]
    if len(named) == 1:
        return named[0]
    raise DatasetError(
        f"--split chooses one of {', '.join(split.split for split in splits)}; found {name or 'nothing'}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
