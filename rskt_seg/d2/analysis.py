"""Cost of the model of a configuration, as the configuration evaluates images."""

import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from rskt_seg.analysis import (
    Analysis,
    ImageResult,
    Measurement,
    count_parameters,
    image_cost,
    measure_image,
)
from rskt_seg.d2 import provenance
from rskt_seg.d2.config import load_config
from rskt_seg.d2.datasets import check_registered, load_datasets, register_own, size_of
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.specs import untrained_model
from rskt_seg.d2.tta import evaluated_model
from rskt_seg.d2.weights import check_trained, load_trained
from rskt_seg.errors import ConfigError, DatasetError, ImageReadError, ProcessDiedError
from rskt_seg.inference.strategies import Strategy
from rskt_seg.methods.record import Method
from rskt_seg.methods.use import make_strategy, strategy_options
from rskt_seg.reading import brief
from rskt_seg.stopping import stop_children
from rskt_seg.typing import SegmentationModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What to analyze.

    Attributes:
        config_file: A configuration, as `load_config` takes it.
        opts: Overrides of it.
        sizes: (H, W) of the images; (): that of the test images, or else the usual one of the method.
        classes: Number of class names to ask for; None: those of the test set. For open vocabularies alone.
        runs: Number of timed runs; 0: measure nothing.
        warmup: Number of runs before them.
        threads: Threads of an operation on the CPU; None: those that PyTorch takes.
    """

    config_file: str
    opts: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    classes: int | None = None
    runs: int = 5
    warmup: int = 2
    threads: int | None = None


def analyze(request: Request) -> Analysis:
    """Analyze the model of a configuration.

    FLOPs are counted on the device "meta", where a model has no values and nothing is computed. Time and
    memory are measured on `MODEL.DEVICE`, for each size in a process of its own. Weights are random unless
    `MODEL.WEIGHTS` names some; no cost depends on them.

    Args:
        request: What to analyze.

    Returns:
        The analysis.

    Raises:
        ConfigError: The configuration, a size or the number of classes cannot be used.
        CheckpointError: `MODEL.WEIGHTS` does not fit the model.
        ProcessDiedError: A measuring process was killed, as by a system without memory left.
    """
    cfg = load_config(request.config_file, request.opts)
    if cfg.MODEL.WEIGHTS and request.runs:
        check_trained(cfg)
    register_own(cfg.DATASETS.OWN, cfg.OUTPUT_DIR)
    model, method = _meta_model(cfg), method_of(cfg).method
    names, notices = _class_names(cfg, request.classes)
    strategy = make_strategy(model, names, method_of(cfg).evaluation_options(cfg))
    augmented = augmented_strategies(cfg, model, names) if cfg.TEST.AUG.ENABLED else []
    sizes = request.sizes
    if not sizes:
        size, why = _default_size(cfg, strategy)
        sizes, notices = (size,), [*notices, why]
    images = []
    for size in sizes:
        cost = image_cost([(strategy, 1)], size)
        more = image_cost(augmented, size) if augmented else None
        images.append(ImageResult(cost, more, _measure_apart(request, size) if request.runs else None))
    if cfg.MODEL.WEIGHTS and not request.runs:
        notices.append(f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} is not read: nothing is measured.")
    if request.runs and not cfg.MODEL.WEIGHTS:
        notices.append("Weights are random, on which neither FLOPs nor time nor memory depend.")
    printed = tuple(method.printed_costs(model))
    if not printed and method.printed_costs is not Method.printed_costs:
        notices.append(
            "No printed cost stands beside it: the papers have none of a "
            f"{method.title} that computes as this one."
        )
    return Analysis(
        config=request.config_file,
        model=evaluated_model(cfg, cfg.TEST.AUG.ENABLED),
        classes=len(strategy.prompts),
        parameters=count_parameters(model),
        images=tuple(images),
        printed=printed,
        notices=tuple(notices),
        versions=provenance.versions(cfg.MODEL.DEVICE),
    )


def augmented_strategies(
    cfg: CfgNode, model: SegmentationModel, names: Sequence[str] | None
) -> list[tuple[Strategy, int]]:
    """Return how the test-time augmentation of a configuration sees an image, each with its number of times.

    Args:
        cfg: The configuration.
        model: Its model.
        names: Class names; None for those of the model.

    Returns:
        For closed sets the strategy with the views of `TEST.AUG.VIEWS`, for open vocabularies one for each of
        `TEST.AUG.MIN_SIZES`. Empty if the strategy of the method has no option for it.
    """
    record, flips = method_of(cfg), 1 + bool(cfg.TEST.AUG.FLIP)
    options, known = record.evaluation_options(cfg), strategy_options(record.method)
    if record.method.is_closed:
        if "views" not in known:
            return []
        return [(make_strategy(model, names, {**options, "views": cfg.TEST.AUG.VIEWS}), 1)]
    if "short_side" not in known:
        return []
    limits = [{"short_side": side, "max_side": cfg.TEST.AUG.MAX_SIZE} for side in cfg.TEST.AUG.MIN_SIZES]
    return [(make_strategy(model, names, {**options, **each}), flips) for each in limits]


def measure(request: Request, size: tuple[int, int]) -> Measurement:
    """Build the model of a request with values, and measure images in this process.

    Args:
        request: What to measure.
        size: (H, W) of the images.

    Returns:
        What was measured.
    """
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    cfg = load_config(request.config_file, request.opts)
    register_own(cfg.DATASETS.OWN, cfg.OUTPUT_DIR)
    model = untrained_model(cfg)
    if cfg.MODEL.WEIGHTS:
        load_trained(model, cfg, cfg.MODEL.WEIGHTS)
    model = model.to(cfg.MODEL.DEVICE).eval()
    names, _ = _class_names(cfg, request.classes)
    strategy = make_strategy(model, names, method_of(cfg).evaluation_options(cfg))
    return measure_image(strategy, size, request.runs, request.warmup)


def _measure_apart(request: Request, size: tuple[int, int]) -> Measurement:
    """Call `measure` in a fresh process, in whose memory there is nothing else."""
    spared = multiprocessing.active_children()
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(measure, request, size).result()
    except BrokenProcessPool as error:
        raise ProcessDiedError(
            f"the process that measured {size[1]} x {size[0]} px was killed; a system without memory left "
            "does so (see its log): give a smaller size to --sizes, or --no-time"
        ) from error
    finally:
        stop_children(spared)  # of a run that is interrupted; after any other there are none


def _meta_model(cfg: CfgNode) -> SegmentationModel:
    """Build the model without values; on the CPU first if its constructor reads some."""
    try:
        with torch.device("meta"):
            return untrained_model(cfg)
    except (NotImplementedError, RuntimeError) as error:
        logger.info("built with values, which its constructor reads: %s", error)
        return untrained_model(cfg).to("meta")


def _class_names(cfg: CfgNode, count: int | None) -> tuple[list[str] | None, list[str]]:
    """Return the names to ask for, None for a closed set, and what is to say about them."""
    if method_of(cfg).method.is_closed:
        if count is not None:
            raise ConfigError(
                "--classes: the classes of this model are fixed, those of its data; leave it out"
            )
        return None, []
    tests = cfg.DATASETS.TEST or cfg.DATASETS.TRAIN
    if not tests:
        raise ConfigError("DATASETS.TEST is empty, and an open vocabulary needs names; name a registered set")
    check_registered(tests[0])
    known = list(MetadataCatalog.get(tests[0]).stuff_classes)
    if count is None:
        return known, []
    # Longer names of the same words, which every text encoder of the configuration knows.
    pairs = (f"{first} {second}" for first, second in product(known, known) if first != second)
    names = [*known, *dict.fromkeys(pairs)][:count]
    if len(names) < count:
        raise ConfigError(
            f"--classes must be at most {len(names)} with the names of {tests[0]}; found {count}"
        )
    made = f", {count - len(known)} of them made of two" if count > len(known) else ""
    return names, [f"Class names: {count} of {tests[0]}{made}."]


def _default_size(cfg: CfgNode, strategy: Strategy) -> tuple[tuple[int, int], str]:
    """Return the size (H, W) of the first test image, or of what the method usually sees; and which it is."""
    for name in cfg.DATASETS.TEST[:1]:
        if MetadataCatalog.get(name).get("windows") is not None:
            continue  # all of them would be looked at first
        try:
            size = size_of(load_datasets([name])[0])
            return size, f"Size: that of the first image of {name} (--sizes names others)."
        except (DatasetError, ImageReadError):
            continue
    height, width = strategy.usual_size
    return (height, width), "Size: one crop of the method, as no test image is here (--sizes names others)."


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Parse sizes as users write them.

    Args:
        text: WIDTHxHEIGHT in pixels, several with commas, such as "256x256,5000x5000".

    Returns:
        (H, W) of each.

    Raises:
        ConfigError: A size is written otherwise or twice, or a side is not in 1..32768.
    """
    sizes: list[tuple[int, int]] = []
    for word in text.split(","):
        sides: list[Any] = word.strip().lower().split("x")
        if len(sides) != 2 or not all(
            side.isascii() and side.isdigit() and 1 <= int(side) <= 2**15 for side in sides
        ):
            raise ConfigError(
                f"--sizes takes WIDTHxHEIGHT, sides of 1 to {2**15} px, such as 256x256,1024x1024; found "
                f"{brief(word)}"
            )
        size = int(sides[1]), int(sides[0])
        if size in sizes:
            raise ConfigError(f"--sizes has {size[1]}x{size[0]} twice; name each size once")
        sizes.append(size)
    return tuple(sizes)
