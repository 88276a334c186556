"""Score label files that any program has predicted, as an evaluation scores those of a model.

    rskt-seg score --predictions results/UDD5 --dataset UDD5_all_sem_seg
    rskt-seg score --predictions results --dataset UDD5_all_sem_seg --dataset VDD_all_sem_seg \\
        --title "Other method" --output output/other
    rskt-seg score --predictions results --own farm/farm.yaml --dataset farm_val_sem_seg

A prediction is a lossless PNG or TIFF file of class ids with the name and the size of its image; 255 is a
pixel without a class, a miss. With one --dataset the files lie in the folder of --predictions, with several
in its sub-folders of their names, as an evaluation with TEST.SAVE_PREDICTIONS leaves them in
OUTPUT_DIR/inference. Nothing is overwritten.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rskt_seg import metrics
from rskt_seg.commands.entry import command_parser, echo, log_to_stderr, place, positive, run
from rskt_seg.data.catalog import ROOT_VARIABLE, SPLITS, Split, find_split
from rskt_seg.data.class_sets import listed, repeated
from rskt_seg.data.own import read_own
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.metrics.protocols import PROTOCOLS, check_protocol
from rskt_seg.scoring.predictions import prediction_folders
from rskt_seg.scoring.score import combined_digest, score_split, set_result, versions
from rskt_seg.writing import replace_text

PROGRAM = "rskt-seg score"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg score`. Return the exit status."""
    return run(partial(score, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("--predictions", metavar="FOLDER", type=place, required=True, help="the label files")
    add("--dataset", metavar="NAME", action="append", required=True, help="a split; may be repeated")
    add_source_flags(parser)
    add("--protocol", choices=tuple(PROTOCOLS), default="", help="in place of that of the dataset")
    add("--title", default="", help="name of the method in reports and comparisons")
    add(
        "--trained-on", metavar="NAME", action="append", default=[],
        help="a split that the method was trained on, which tells seen classes and images; may be repeated",
    )  # fmt: skip
    add("--output", metavar="DIR", type=place, help="folder of the reports (default: they are only printed)")
    add("--workers", type=positive, help="images read at a time (default: one a core, up to 8)")
    return parser.parse_args(argv)


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where datasets are: --own and --root."""
    add = parser.add_argument
    add(
        "--own", metavar="FILE", action="append", default=[],
        help="YAML file of datasets of your own, as in DATASETS.OWN; may be repeated",
    )  # fmt: skip
    default = os.environ.get(ROOT_VARIABLE, "datasets")
    add("--root", default=default, help=f"default: ${ROOT_VARIABLE}, or datasets (%(default)s)")


def named_splits(names: Sequence[str], files: Sequence[str]) -> list[Split]:
    """Return the splits of these names, of the catalog or of users' YAML files.

    Raises:
        DatasetError: A name is unknown or repeats, or a file cannot be used.
    """
    own = [split for file in files for split in read_own(file)]
    for twice in map(repeated, (names, [split.name for split in own])):
        if twice:
            raise DatasetError(f"named twice: {listed(twice)}; name each dataset once")
    return [find_split(name, (*SPLITS, *own)) for name in names]


def score(args: argparse.Namespace) -> None:
    """Score what the command line names, print the report, and write it if asked to.

    Args:
        args: The parsed command line.

    Raises:
        ConfigError: A report would overwrite another.
        DatasetError: A name is unknown, or files of a dataset or of predictions cannot be used.
        ImageReadError: An image cannot be read.
    """
    log_to_stderr()
    splits = named_splits(args.dataset, args.own)
    trained = named_splits(args.trained_on, args.own)
    for split in splits:
        if args.protocol:
            check_protocol(args.protocol, len(split.class_set))
    if args.output:
        check_new(args.output, [*(f"benchmark{ending}" for ending in metrics.ENDINGS), "inference"])
    folders = prediction_folders(args.predictions, args.dataset)
    tallies = [score_split(split, args.root, folders[split.name], args.workers) for split in splits]
    results = [
        set_result(split, args.root, tally, folders[split.name], args.protocol, trained)
        for split, tally in zip(splits, tallies, strict=True)
    ]
    about = metrics.Run(
        weights=str(args.predictions),
        weights_sha256=combined_digest(results),
        trained_on=tuple(args.trained_on),
        config={},
        versions=versions(),
        source="predictions",
        title=" ".join(args.title.split()),
    )
    contents = metrics.report_files(results, about)
    echo(contents[".txt"])
    if args.output:
        for result, tally in zip(results, tallies, strict=True):
            assert result.records is not None  # a scored set has its counts
            tally.image_counts.save(args.output / result.records.image_counts)
        for ending, content in contents.items():
            replace_text(args.output / f"benchmark{ending}", content)


def check_new(folder: Path, names: Sequence[str]) -> None:
    """Refuse to overwrite files, or to write where that is impossible, before anything long begins.

    Raises:
        ConfigError: One of the names is in the folder, or no files can be made in it.
    """
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ConfigError(f"--output {folder} cannot be written to: {nearest} is no folder of yours")
    if there := [name for name in names if (folder / name).exists()]:
        raise ConfigError(f"--output {folder} holds {there[0]} already; remove it or name another folder")
