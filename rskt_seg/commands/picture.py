"""Draw scenes of a dataset in rows: the image, its truth, and what several models make of it.

    rskt-seg picture --dataset UDD5_all_sem_seg first=output/first other=output/other --output scenes.png
    rskt-seg picture --dataset UDD5_all_sem_seg --scene DJI_0285 --scene DJI_0433 \\
        ours=model_final.pth published=configs/ovrsis/vitb_dlrsd.yaml,published.pth --output scenes.png

A COLUMN is TITLE=SOURCE or a SOURCE: the folder of a benchmark with saved predictions
(TEST.SAVE_PREDICTIONS), a folder of label files with the names of the images, a checkpoint, which segments
the scenes now, or CONFIG,WEIGHTS for one that states no model. Nothing is overwritten.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.commands.compare import titled_path
from rskt_seg.commands.entry import command_parser, echo, log_to_stderr, positive, run
from rskt_seg.commands.score import add_source_flags, check_new, named_splits
from rskt_seg.data.catalog import Split, pairs
from rskt_seg.data.class_sets import listed
from rskt_seg.data.labels import read_label
from rskt_seg.data.pairing import Pair
from rskt_seg.data.samples import read_8bit_image, valid_target
from rskt_seg.errors import CheckpointError, ConfigError, DatasetError, WeightsNotFoundError
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.metrics.image_counts import ImageCounts, class_counts
from rskt_seg.metrics.stored import REPORT, read_run
from rskt_seg.scoring.predictions import find_predictions, read_prediction
from rskt_seg.visualization.scenes import Scene, draw_scenes
from rskt_seg.wording import counted
from rskt_seg.writing import replacing

PROGRAM = "rskt-seg picture"
_SCENES = 4

Predict = Callable[[Pair, np.ndarray], np.ndarray]
"""Returns the labels (H, W) of a scene from its files and its target (H, W), which checks what is saved."""


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
    add("--output", metavar="FILE", type=Path, required=True, help="the picture, a PNG file")
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
    log_to_stderr()
    if args.output.suffix.lower() != ".png":
        raise ConfigError(f"--output must end in .png; found {args.output}")
    check_new(args.output.parent, [args.output.name])
    (split,) = named_splits([args.dataset], args.own)
    every = pairs(split, args.root)
    chosen = _choose(split, every, args.scene) if args.scene else every[: args.scenes]
    columns = dict(_column(text, split, every) for text in args.columns)
    if len(columns) < len(args.columns):
        raise ConfigError(f"two columns have one title; use TITLE=SOURCE with others than {listed(columns)}")
    names = split.class_set.names
    scenes = []
    for pair in chosen:
        image = read_8bit_image(pair.image)
        target = valid_target(read_label(pair.label), pair.label, image.valid, names, split.ignore_label)
        drawn = [predict(pair, target) for predict in columns.values()]
        truth = np.where(target == split.ignore_label, np.uint8(255), target)
        scenes.append(Scene(pair.image.stem, image.filled(), truth, drawn))
    colors = np.array(split.class_set.colors, np.uint8)
    drawing = draw_scenes(scenes, names, colors, titles=list(columns))
    with replacing(args.output) as partial_file:
        Image.fromarray(drawing).save(partial_file, format="PNG", optimize=True)
    echo(f"{args.output}: {counted(len(scenes), 'scene')}, {counted(len(columns), 'method')}")


def _choose(split: Split, every: Sequence[Pair], names: Sequence[str]) -> list[Pair]:
    by_stem = {pair.image.stem: pair for pair in every}
    if missing := [name for name in names if name not in by_stem]:
        raise DatasetError(
            f"--scene: {split.name} has no image {listed(missing)}; names have no extension, such as "
            f"{next(iter(by_stem))}"
        )
    return [by_stem[name] for name in names]


def _column(text: str, split: Split, every: Sequence[Pair]) -> tuple[str, Predict]:
    """Return the title of a column and what predicts its scenes."""
    title, source = titled_path(text)
    if source.is_dir() and (source / REPORT).exists():
        stored = read_run(source, title)
        folder = stored.predictions(split.name)
        if folder is None:
            known = "kept no predictions of it (TEST.SAVE_PREDICTIONS)" if split.name in stored.sets else ""
            raise DatasetError(f"{source}: the run {known or 'did not evaluate it'}: {split.name}")
        return stored.title, _saved(split, every, folder, stored.image_counts(split.name))
    if source.is_dir():
        return title or source.name, _saved(split, every, source, None)
    return title or source.stem, _segmenting(str(source), split)


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


def _segmenting(source: str, split: Split) -> Predict:
    """Return what segments scenes with a checkpoint, or with "CONFIG,WEIGHTS"."""
    from rskt_seg.checkpoints.files import read_weights
    from rskt_seg.devices import default_device
    from rskt_seg.methods import load
    from rskt_seg.methods.load import class_names_of, is_closed_set
    from rskt_seg.segmenter import Segmenter

    config, comma, weights = source.rpartition(",")
    device = None
    if comma:
        from rskt_seg.d2 import build_model, load_config
        from rskt_seg.d2.methods import method_of
        from rskt_seg.d2.weights import check_trained

        cfg = load_config(config, ["MODEL.WEIGHTS", weights])
        check_trained(cfg)
        model, options = build_model(cfg), dict(method_of(cfg).segmenter_options(cfg))
    else:
        try:
            trained = load(source)
        except WeightsNotFoundError:
            raise
        except CheckpointError as error:
            if read_weights(source).options is not None:
                raise
            raise CheckpointError(
                f"{source} does not state its model; name its configuration too, CONFIG,{source}"
            ) from error
        model, options, device = trained.model, dict(trained.options), default_device()
    names: Sequence[str] | None = split.class_set.names
    if is_closed_set(model):
        if (known := class_names_of(model)) != names:
            raise DatasetError(f"{source} knows the classes {known}, but {split.name} has {names}")
        names = None
    segmenter = Segmenter(model, names, device=device, **options)
    return lambda pair, target: segmenter.predict(pair.image).labels
