"""What `rskt-seg segment` does with scenes."""

import argparse
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from rskt_seg.commands.scene_flags import numbers
from rskt_seg.devices import default_device
from rskt_seg.errors import ConfigError, ImageReadError, RSKTSegError
from rskt_seg.geo.area import AreaSummary
from rskt_seg.geo.area_tables import area_table
from rskt_seg.geo.windowed import image_size
from rskt_seg.inference.strategies import Strategy
from rskt_seg.map_files import MOST_PIXELS, write_pictures
from rskt_seg.methods.words import word_notices
from rskt_seg.scenes.engines import Engine, HereEngine, WorkerEngine
from rskt_seg.scenes.options import SceneOptions
from rskt_seg.scenes.outputs import SceneMap
from rskt_seg.scenes.segment import Scene, dask_engine, open_scene, segment_scenes
from rskt_seg.segmenter import Segmenter
from rskt_seg.windows import Window

logger = logging.getLogger(__name__)


def scene_options(args: argparse.Namespace, bands: tuple[int, ...] | None) -> SceneOptions:
    """Return how scenes are segmented.

    Args:
        args: The parsed command line.
        bands: The bands to read; None: those that the files suggest.

    Raises:
        ConfigError: A value is out of its range.
    """
    part = numbers("--part", args.part, ("ROW", "COLUMN", "HEIGHT", "WIDTH"))
    if part is not None and not all(map(float.is_integer, part)):
        raise ConfigError(f"--part expects whole numbers of pixels; found {args.part!r}")
    bounds = numbers("--bounds", args.bounds, ("LEFT", "BOTTOM", "RIGHT", "TOP"))
    return SceneOptions(
        window=args.window,
        overlap=args.overlap,
        taper=args.blend,
        chunk=args.chunk,
        part=None if part is None else Window(*map(int, part)),
        bounds=None if bounds is None else (bounds[0], bounds[1], bounds[2], bounds[3]),
        bands=bands,
        stretch=args.stretch,
        nodata=args.nodata,
        alpha=not args.no_alpha,
        scores=args.scores,
        batch=args.batch,
        restart=args.restart,
        polygons=_formats(args.polygons),
        min_area=args.min_area,
        simplify=args.simplify,
    )


def _formats(text: str | None) -> tuple[str, ...] | None:
    """Return the formats of polygons that --polygons names; None for the default."""
    if text is None:
        return None
    return () if text.strip() == "none" else tuple(part.strip() for part in text.split(","))


def make_engine(args: argparse.Namespace, segmenter: Segmenter, make: Callable[..., Segmenter]) -> Engine:
    """Return the engine that the command line asks for.

    Args:
        args: The parsed command line.
        segmenter: The model of this process.
        make: Builds the same in another process; takes the `device`, if there are several.

    Raises:
        ConfigError: Both workers and a scheduler are asked for, or what is asked for is not to be had.
    """
    if args.workers < 0 or (args.workers and args.scheduler):
        raise ConfigError("give --workers from 0, or --scheduler, not both")
    if args.scheduler:
        return dask_engine(args.scheduler, partial(_strategy, make))
    if args.workers:
        threads = max(1, torch.get_num_threads() // args.workers)
        return WorkerEngine([partial(_strategy, make, device) for device in _devices(args)], threads)
    return HereEngine(segmenter.strategy)


def _devices(args: argparse.Namespace) -> list[str | None]:
    """Return the device of each worker: of several accelerators one after the other."""
    kind = default_device()
    if args.device or args.config_file or kind == "cpu":
        return [None] * args.workers
    count = torch.accelerator.device_count()
    return [f"{kind}:{number % count}" for number in range(args.workers)]


def _strategy(make: Callable[..., Segmenter], device: str | None = None) -> Strategy:
    return make(device=device).strategy


def report_names(segmenter: Segmenter) -> None:
    """Log which names the model can hardly tell apart, or does not read as they are written."""
    for notice in word_notices(segmenter.model, segmenter.prompts):
        logger.warning("%s", notice)


def is_large(segmenter: Segmenter, image: Path | str) -> bool:
    """Return whether an image has over twice the side that the model sees.

    Args:
        segmenter: The model.
        image: The image file.

    Raises:
        ImageReadError: It is missing or no image.
    """
    return max(image_size(image)) > 2 * max(segmenter.strategy.usual_size)


def segment_large(
    segmenter: Segmenter,
    images: Mapping[str, Path | str],
    output: Path,
    options: SceneOptions,
    engine: Engine,
) -> list[tuple[Path | str, Exception]]:
    """Segment scenes as one run, and write their results.

    Args:
        segmenter: The model.
        images: Beginning of the names of the results -> the file.
        output: Folder of the results.
        options: How they are segmented.
        engine: What computes.

    Returns:
        The files that failed, and why.
    """
    scenes: list[Scene] = []
    failures: list[tuple[Path | str, Exception]] = []
    for name, image in images.items():
        try:
            scenes.append(open_scene(image, options, name))
        except (RSKTSegError, OSError) as error:
            logger.error("%s", error)
            failures.append((image, error))
    maps, failed = segment_scenes(segmenter.map_model(), scenes, output, options, engine)
    if isinstance(engine, HereEngine) and engine.computed:
        share = engine.waited / (engine.waited + engine.computed)
        logger.info("the model waited for files for %.1f%% of its time", 100 * share)
    for scene in scenes:
        if scene.name not in maps:
            continue
        made = maps[scene.name]
        try:
            logger.info("%s\n%s", scene.source, area_table(_areas(made)))
            if made.area.height * made.area.width <= MOST_PIXELS:
                pixels = scene.survey.reader.read(made.area).pixels
                write_pictures(made.base, pixels, made.ids(), made.legend, segmenter.background)
        except (RSKTSegError, OSError) as error:  # one that fails does not stop the others
            logger.error("%s: %s", scene.source, error)
            failed[scene.name] = error
    return [*failures, *((images[name], error) for name, error in failed.items())]


def _areas(made: SceneMap) -> AreaSummary:
    """Measure a map, which a former run may have made, and something has damaged since."""
    try:
        return made.areas
    except ImageReadError as error:
        raise ImageReadError(f"{error}: segment the scene anew (--restart)") from error
