"""Draw scenes of a dataset in rows: the image, its truth, and what several models make of it.

    rskt-seg picture --dataset UDD5_all_sem_seg first=output/first other=output/other --output scenes.png
    rskt-seg picture --dataset UDD5_all_sem_seg --scene DJI_0285 --scene DJI_0433 \\
        ours=configs/ovrsis/bench_vitb_dlrsd.yaml,model_final.pth other=output/other --output scenes.png

A COLUMN is TITLE=SOURCE or a SOURCE: the folder of a benchmark with saved predictions
(TEST.SAVE_PREDICTIONS), a folder of label files with the names of the images, or CONFIG,WEIGHTS, a
configuration and a checkpoint, which predict the scenes now as `rskt-seg eval` scores them (CONFIG, with
nothing behind the comma, for a method that is not trained). A line for each column says what was drawn.
Nothing is overwritten.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rskt_seg.commands.compare import titled_path
from rskt_seg.commands.entry import command_parser, echo, log_to_stderr, place, positive, run
from rskt_seg.commands.score import add_source_flags, check_new, named_splits
from rskt_seg.data.catalog import Split, pairs
from rskt_seg.data.class_sets import listed
from rskt_seg.data.labels import read_label
from rskt_seg.data.pairing import Pair
from rskt_seg.data.samples import read_8bit_image, valid_target
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.metrics.image_counts import ImageCounts, class_counts
from rskt_seg.metrics.stored import REPORT, read_run
from rskt_seg.scoring.predictions import find_predictions, read_prediction
from rskt_seg.wording import counted
from rskt_seg.writing import replacing

PROGRAM = "rskt-seg picture"
logger = logging.getLogger(__name__)
_SCENES = 4

Predict = Callable[[Pair, np.ndarray], np.ndarray]
"""Returns the labels (H, W) of a scene from its files and its target (H, W), which checks what is saved."""


class Column(NamedTuple):
    """A column of the picture.

    Attributes:
        title: Its title.
        predict: What predicts its scenes.
        source: What is drawn, for the user.
    """

    title: str
    predict: Predict
    source: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg picture`. Return the exit status."""
    return run(partial(picture, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__, allow_abbrev=False)
    add = parser.add_argument
    add("columns", nargs="+", metavar="COLUMN", help="TITLE=SOURCE, a column each")
    add("--dataset", metavar="NAME", required=True, help="a split")
    add_source_flags(parser)
    add(
        "--scenes",
        type=positive,
        default=_SCENES,
        metavar="N",
        help="the first N scenes (default %(default)s)",
    )
    add(
        "--scene", action="append", default=[], metavar="NAME",
        help="a scene in place of the first ones, by its name without extension; may be repeated",
    )  # fmt: skip
    add("--output", metavar="FILE", type=place, required=True, help="the picture, a PNG file")
    return parser.parse_args(argv)


def picture(args: argparse.Namespace) -> None:
    """Draw what the command line names.

    Args:
        args: The parsed command line.

    Raises:
        ConfigError: A flag or a column is wrong, or the picture exists.
        DatasetError: The dataset, a scene or a prediction cannot be used.
        CheckpointError: A checkpoint cannot be used.
    """
    # They import torch, which --help does without.
    from rskt_seg.visualization import undrawable_notice
    from rskt_seg.visualization.scenes import Scene, draw_scenes

    log_to_stderr()
    if args.output.suffix.lower() != ".png":
        raise ConfigError(f"--output must end in .png; found {args.output}")
    check_new(args.output.parent, [args.output.name])
    (split,) = named_splits([args.dataset], args.own)
    every = pairs(split, args.root)
    chosen = _choose(split, every, args.scene) if args.scene else every[: args.scenes]
    columns = [_column(text, split, every) for text in args.columns]
    titles = [column.title for column in columns]
    if len(set(titles)) < len(titles):
        found = listed(dict.fromkeys(titles))
        raise ConfigError(f"two columns have one title; use TITLE=SOURCE with others than {found}")
    names = split.class_set.names
    scenes = []
    for pair in chosen:
        image = read_8bit_image(pair.image)
        target = valid_target(read_label(pair.label), pair.label, image.valid, names, split.ignore_label)
        drawn = [column.predict(pair, target) for column in columns]
        truth = np.where(target == split.ignore_label, np.uint8(255), target)
        scenes.append(Scene(pair.image.stem, image.filled(), truth, drawn))
    if notice := undrawable_notice(names):
        logger.warning("%s", notice)
    colors = np.array(split.class_set.colors, np.uint8)
    drawing = draw_scenes(scenes, names, colors, titles=titles)
    with replacing(args.output) as partial_file:
        Image.fromarray(drawing).save(partial_file, format="PNG", optimize=True)
    for column in columns:
        echo(f"{column.title}: {column.source}")
    echo(f"{args.output}: {counted(len(scenes), 'scene')}, {counted(len(columns), 'method')}")


def _choose(split: Split, every: Sequence[Pair], names: Sequence[str]) -> list[Pair]:
    by_stem = {pair.image.stem: pair for pair in every}
    if missing := [name for name in names if name not in by_stem]:
        raise DatasetError(
            f"--scene: {split.name} has no image {listed(missing)}; names have no extension, such as "
            f"{next(iter(by_stem))}"
        )
    return [by_stem[name] for name in names]


def _column(text: str, split: Split, every: Sequence[Pair]) -> Column:
    title, source = titled_path(text)
    # A run without a report is one that is not finished.
    is_run = (source / REPORT).exists() or (source / "inference").is_dir()
    if is_run or (source.is_file() and source.suffix == ".json"):
        stored = read_run(source, title)
        folder = stored.predictions(split.name)
        if folder is None:
            known = (
                "kept no predictions of it (TEST.SAVE_PREDICTIONS); evaluate again, or name CONFIG,WEIGHTS"
                if split.name in stored.sets
                else "did not evaluate it"
            )
            raise DatasetError(f"{source}: {split.name}: the run {known}")
        counts = stored.image_counts(split.name)
        return Column(
            stored.title, _saved(split, every, folder, counts), f"the predictions that {source} scored"
        )
    if source.is_dir():
        return Column(
            title or source.name, _saved(split, every, source, None), f"the label files of {source}"
        )
    predict, what = _scored(str(source), split)
    return Column(title or source.stem, predict, what)


def _saved(split: Split, every: Sequence[Pair], folder: Path, counts: ImageCounts | None) -> Predict:
    """Return what reads saved predictions, and compares them with the counts of their run if it kept them."""
    files = find_predictions(folder, [pair.image.stem for pair in every], split.name)
    scored = dict(zip(counts.stems, counts.counts, strict=True)) if counts else None

    def predict(pair: Pair, target: np.ndarray) -> np.ndarray:
        stem, (height, width) = pair.image.stem, target.shape
        labels = read_prediction(files[stem], (height, width), split.class_set.names, split.ignore_label)
        one = ConfusionMatrix(len(split.class_set), split.ignore_label)
        one.update(labels, target)
        if scored is not None and (stem not in scored or (class_counts(one) != scored[stem]).any()):
            raise DatasetError(
                f"{files[stem]}: not the prediction that the run scored, or its label has changed; evaluate "
                "or score it again"
            )
        return labels

    return predict


def _scored(source: str, split: Split) -> tuple[Predict, str]:
    """Return what predicts scenes with "CONFIG,WEIGHTS" as an evaluation does, and a line about it."""
    config, comma, weights = source.rpartition(",")
    if not comma:
        raise ConfigError(
            f"{source} is no folder, and a checkpoint alone does not say how it is evaluated: name "
            f"CONFIG,{source} with the configuration of its evaluation, or the folder of a benchmark with "
            "saved predictions"
        )
    from rskt_seg.d2.scored import ScoredModel

    model = ScoredModel(config, weights, split.name, split.class_set.names)
    views = ", without its test-time augmentation" if model.augmented else ""
    what = f"predicted now by {weights or 'pretrained encoders'} as `rskt-seg eval` scores {config}{views}"
    return lambda pair, target: model.predict(pair.image), what
