"""Write the image-level labels of a dataset: the classes that the mask of each image contains.

    rskt-seg image-labels iSAID_wsss_train_sem_seg --output labels.csv
    rskt-seg image-labels farm/farm.yaml --split train --output farm/labels.csv --min-pixels 20

The file is comma-separated text with a line for each image: its name, then the names of its classes. The
weakly supervised method learns from such a file where there are no masks (datasets/README.md, "Image-level
labels"). Nothing is overwritten.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial

from rskt_seg.commands.entry import command_parser, echo, place, run
from rskt_seg.data.catalog import ROOT_VARIABLE, pairs
from rskt_seg.data.checking.check import select_splits
from rskt_seg.data.image_labels import classes_of_pair, write_image_labels
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import DatasetError

PROGRAM = "rskt-seg image-labels"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg image-labels`. Return the exit status."""
    return run(partial(label_images, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    parser.add_argument("name", metavar="NAME", help="split, dataset, or YAML file of a dataset of your own")
    parser.add_argument("--split", help="which split of a dataset or a YAML file that has several")
    parser.add_argument("--output", metavar="FILE", type=place, required=True, help="the file to write")
    parser.add_argument(
        "--min-pixels",
        type=int,
        default=1,
        help="least number of pixels for which a class counts (%(default)s)",
    )
    default = os.environ.get(ROOT_VARIABLE, "datasets")
    parser.add_argument(
        "--root", default=default, help=f"default: ${ROOT_VARIABLE}, or datasets (%(default)s)"
    )
    parser.add_argument("--workers", type=int, help="masks read at a time (default: one a core, up to 8)")
    return parser.parse_args(argv)


def label_images(args: argparse.Namespace) -> None:
    """Read every mask of the split and write the file of image-level labels.

    Args:
        args: The parsed command line.

    Raises:
        DatasetError: The output exists, the name does not give one split, or the split has no masks.
        LabelError: A mask cannot be read, or holds other ids.
    """
    if args.output.exists():
        raise DatasetError(f"--output {args.output} exists; remove it or name another file")
    splits = select_splits(args.name, args.root)
    named = [split for split in splits if args.split in (None, split.split, split.name)]
    if len(named) != 1:
        raise DatasetError(
            f"--split chooses one of {', '.join(split.split for split in splits)}; "
            f"found {args.split or 'nothing'}"
        )
    (split,) = named
    if not split.labels:
        raise DatasetError(
            f"{split.name} has no masks to take labels from; its image-level labels are those of "
            f"{split.image_labels}"
        )
    names = split.class_set.names
    found = pairs(split, args.root)
    read = partial(
        classes_of_pair, class_names=names, ignore_label=split.ignore_label, min_pixels=args.min_pixels
    )
    classes = map_files(read, found, split.name, args.workers)
    labels = {pair.image.stem: ids for pair, ids in zip(found, classes, strict=True)}
    write_image_labels(args.output, labels, names)
    shown = [k for ids in labels.values() for k in ids]
    echo(
        f"{args.output}: {len(labels)} images with {len(shown)} labels, of {len(set(shown))} of the "
        f"{len(names)} classes"
    )
