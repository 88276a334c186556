"""Segmentation of scenes: from files to jobs, through an engine, to maps."""

import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import rskt_seg
from rskt_seg.decision import Decision, unchosen_notice
from rskt_seg.errors import ConfigError, RSKTSegError
from rskt_seg.geo.area import pixel_size
from rskt_seg.geo.arrays import ImageSource, as_image, name_of
from rskt_seg.geo.names import source_name, url_name
from rskt_seg.geo.vectors import check_format
from rskt_seg.geo.windowed import Survey, survey, survey_image
from rskt_seg.inference.cells import WindowPlan
from rskt_seg.inference.strategies import Strategy
from rskt_seg.methods.notices import model_notices
from rskt_seg.methods.use import score_kind
from rskt_seg.scenes.engines import Chunk, Engine, HereEngine, MakeStrategy, Work, WorkerEngine
from rskt_seg.scenes.job import SceneJob, chunk_side
from rskt_seg.scenes.options import SceneOptions
from rskt_seg.scenes.outputs import SceneMap, check_results, find_map, write_extras, write_rasters
from rskt_seg.scenes.region import SceneTask, windows_of
from rskt_seg.windows import Window
from rskt_seg.wording import counted
from rskt_seg.writing import remove_unfinished

logger = logging.getLogger(__name__)
_PARTS = "parts"
_BAR = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} chunks [{elapsed}<{remaining}, {rate_fmt}]"


@dataclass(frozen=True)
class MapModel:
    """A model that makes maps.

    Attributes:
        strategy: The model, with the names that it is asked for.
        decision: What becomes of its scores.
        facts: What its scores depend on, such as the digest of its weights: name -> what JSON holds.
        notices: What the user should know of it.
    """

    strategy: Strategy
    decision: Decision
    facts: Mapping[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scene:
    """A scene to segment.

    Attributes:
        source: Name of its file, or of what it is, for messages and provenance.
        name: Beginning of the names of its results.
        survey: What is known of it.
    """

    source: str
    name: str
    survey: Survey


def open_scene(source: ImageSource, options: SceneOptions, name: str | None = None) -> Scene:
    """Look at a scene before it is segmented.

    Args:
        source: As for `rskt_seg.geo.arrays.as_image`.
        options: How it is read.
        name: Beginning of the names of its results; None: the stem of its file.

    Returns:
        The scene.

    Raises:
        ImageReadError: The file cannot be read.
        ConfigError: An option or the name cannot be used.
    """
    if name is not None and Path(name).name != name:
        raise ConfigError(f"a name of results is that of a file without its folder; found {name!r}")
    if isinstance(source, str | os.PathLike):
        text = url_name(source)
        found = survey(text, options.bands, options.stretch, options.nodata, options.alpha)
        return Scene(text, name or source_name(text), found)
    image = as_image(source, options.bands, options.stretch, options.nodata)
    return Scene(name_of(image), name or "scene", survey_image(image))


def make_engine(strategy: Strategy, workers: int = 0, scheduler: str | None = None) -> Engine:
    """Return the engine that computes with a model of this process, or copies of it.

    Args:
        strategy: The model.
        workers: Number of processes; 0: this one.
        scheduler: Address of a Dask scheduler; None: this machine.

    Returns:
        The engine.

    Raises:
        ConfigError: Both are asked for, `workers` is negative, or Dask is not installed.
    """
    if workers < 0 or (workers and scheduler):
        raise ConfigError("give a number of workers from 0, or a scheduler, not both")
    copy = partial(_itself, strategy)
    if scheduler is not None:
        return dask_engine(scheduler, copy)
    if workers:
        return WorkerEngine([copy] * workers, max(1, torch.get_num_threads() // workers))
    return HereEngine(strategy)


def dask_engine(scheduler: str, make: MakeStrategy) -> Engine:
    """Return the engine of a Dask cluster.

    Args:
        scheduler: Address of its scheduler.
        make: Builds the model on a worker.

    Returns:
        The engine.

    Raises:
        ConfigError: Dask is not installed.
    """
    try:
        from rskt_seg.scenes.dask_engine import DaskEngine
    except ImportError as error:
        raise ConfigError(
            "a scheduler needs Dask: pip install 'rskt_seg[dask]', or use workers of this machine"
        ) from error
    return DaskEngine(scheduler, make)


def _itself(strategy: Strategy) -> Strategy:
    """Return a model, which was pickled to get here."""
    return strategy


def segment_scenes(
    model: MapModel, scenes: Sequence[Scene], output: Path, options: SceneOptions, engine: Engine
) -> tuple[dict[str, SceneMap], dict[str, Exception]]:
    """Segment scenes as one run; one that fails does not stop the others.

    Chunks are kept in `<output>/<name>_parts` until a scene is complete. A run that is interrupted goes on
    where it was, with the same bytes in the end; a scene whose results are there is not computed again.

    Args:
        model: The model.
        scenes: The scenes, whose names differ.
        output: Folder of the results.
        options: How they are segmented.
        engine: What computes.

    Returns:
        Name -> map of the scenes that were segmented, and name -> error of the others.

    Raises:
        RSKTSegError: The engine cannot go on. Finished chunks are kept.
    """
    maps: dict[str, SceneMap] = {}
    failed: dict[str, Exception] = {}
    jobs: list[SceneJob] = []
    started: list[Scene] = []
    with ExitStack() as folders:
        for scene in scenes:
            try:
                job = make_job(model, scene, output, options)
                base, kind = output / scene.name, score_kind(model.strategy)
                check_results(base, [each.source for each in scenes])
                found, is_complete = find_map(base, model.decision, kind, job.facts, options.extras)
                if found is not None and not options.restart:
                    done = "complete already" if is_complete else "made anew from its complete rasters"
                    logger.info("%s: %s; --restart segments it anew", scene.source, done)
                    maps[scene.name] = found if is_complete else _add_extras(model, found, job, options)
                    job.remove_leftovers()
                    remove_unfinished(output, f"{scene.name}_")
                    continue
                kept = folders.enter_context(job.open_folder(options.restart))
                remove_unfinished(output, f"{scene.name}_")
            except (RSKTSegError, OSError) as error:
                logger.error("%s", error)
                failed[scene.name] = error
                continue
            if kept:
                logger.info(
                    "%s: %d of %s are done already", scene.source, kept, counted(len(job.chunks), "chunk")
                )
            told = model_notices(model.strategy.model)  # once for all scenes, when the segmenter was made
            for notice in _notices(model, scene, job, options):
                if notice not in told:
                    logger.warning("%s: %s", scene.source, notice)
            jobs.append(job)
            started.append(scene)
        _run(model, started, jobs, output, options, engine, maps, failed)
    return maps, failed


def _run(
    model: MapModel,
    scenes: Sequence[Scene],
    jobs: Sequence[SceneJob],
    output: Path,
    options: SceneOptions,
    engine: Engine,
    maps: dict[str, SceneMap],
    failed: dict[str, Exception],
) -> None:
    """Compute what is missing of the jobs, and finish each as soon as all of it is there."""
    missing = [{window for window in job.chunks if not job.is_done(window)} for job in jobs]
    chunks = [Chunk(i, window) for i, job in enumerate(jobs) for window in job.chunks if window in missing[i]]
    given_up: set[int] = set()

    def finish(number: int) -> None:
        job, scene = jobs[number], scenes[number]
        try:
            maps[scene.name] = _finish(model, scene, job, output, options)
            job.remove_folder()
        except (RSKTSegError, OSError) as error:
            give_up(number, error)

    def give_up(number: int, error: Exception) -> None:
        logger.error("%s; finished chunks are kept in %s", error, jobs[number].folder)
        failed[scenes[number].name] = error
        given_up.add(number)

    for number, windows in enumerate(missing):
        if not windows:
            finish(number)
    total = sum(len(job.chunks) for job in jobs)
    done, shares = total - len(chunks), dict[Chunk, float]()
    # In a terminal only: the log of a job would hold thousands of bars.
    with tqdm(total=total, initial=done, unit="chunk", bar_format=_BAR, disable=None) as bar:

        def show(chunk: Chunk, share: float) -> None:
            shares[chunk] = share
            bar.update(min(done + math.fsum(shares.values()), total) - bar.n)

        for chunk, error in engine.run(Work(jobs, chunks, given_up, show)):
            show(chunk, 1.0)
            if chunk.job in given_up:
                continue
            if error is not None:
                give_up(chunk.job, error)
                continue
            missing[chunk.job].discard(chunk.window)
            if not missing[chunk.job]:
                finish(chunk.job)


def make_job(model: MapModel, scene: Scene, output: Path, options: SceneOptions) -> SceneJob:
    """Plan a scene.

    Args:
        model: The model.
        scene: The scene.
        output: Folder of the results.
        options: How it is segmented.

    Returns:
        The job.

    Raises:
        ConfigError: An option cannot be used for this scene or model.
    """
    survey, strategy = scene.survey, model.strategy
    size = survey.reader.height, survey.reader.width
    side = options.window_side(scene.source, survey.georeference, size)
    plan = strategy.plan_scene(size, side, options.overlap, options.taper)
    overview = survey.overview.filled()
    batch = options.batch or (1 if strategy.model.device.type == "cpu" else 4)
    batch = min(batch, len(plan.windows(plan.cells)))
    red, green, blue = survey.overview.mean_color().tolist()
    task = SceneTask(
        scene.source, survey.reader, plan, model.decision, (red, green, blue), overview, batch, options.scores
    )
    crs = None if survey.georeference is None else survey.georeference.crs
    for form in options.extras.polygons:
        check_format(scene.source, form, crs)
    channels = len(strategy.prompts)
    chunk = options.chunk or chunk_side(plan, channels, len(model.decision.ids) if options.scores else 0)
    area = options.area(scene.source, survey.georeference, size)
    facts = {**model.facts, **_facts(task, survey, options), "area": list(area)}
    return SceneJob(task, area, chunk, output / f"{scene.name}_{_PARTS}", json.loads(json.dumps(facts)))


def _facts(task: SceneTask, survey: Survey, options: SceneOptions) -> dict[str, Any]:
    """Return what a map depends on besides the model: name, as messages say it -> what JSON holds."""
    plan, decision = task.plan, task.decision
    return {
        "raster": survey.facts,
        "windows": [plan.side, plan.stride, plan.cell, plan.margin, plan.taper, task.batch],
        "classes": {
            "legend": [list(entry) for entry in decision.legend.entries],
            "ids": decision.ids.tolist(),
            "thresholds": [round(float(each), 6) for each in decision.thresholds],
        },
        # As text, because NaN is no number of JSON, and differs from itself.
        "reading": [options.bands, options.stretch, str(options.nodata), options.alpha, list(task.fill)],
        "kind of outputs": {"scores": options.scores},
        "versions": _versions(),
    }


def _notices(model: MapModel, scene: Scene, job: SceneJob, options: SceneOptions) -> list[str]:
    """Return what was decided for the user."""
    survey, plan = scene.survey, job.task.plan
    cut = options.area_notices(scene.source, survey.georeference, (plan.height, plan.width))
    return [*survey.overview.notices, *model.notices, *cut, _describe_windows(plan, job.area, survey)]


def _describe_windows(plan: WindowPlan, area: Window, survey: Survey) -> str:
    """Say what the model sees of an area at a time, and what one cell of the result covers."""
    rows, columns = (cells * plan.cell for cells in plan.window_cells)
    pixel = pixel_size(survey.georeference, (plan.height, plan.width))
    seen, cell = f"{columns} x {rows} px", f"{plan.cell} x {plan.cell} px"
    if pixel is not None:
        seen += f" ({_metres(columns * pixel[1])} x {_metres(rows * pixel[0])} m)"
        cell += f" ({_metres(plan.cell * pixel[1])} x {_metres(plan.cell * pixel[0])} m)"
    count = len(windows_of(plan, area))
    return (
        f"{area.width} x {area.height} px are seen in {counted(count, 'window')} of {seen}, one every "
        f"{plan.stride} px; a cell of the result covers {cell}. For another scale choose another window"
    )


def _metres(length: float) -> str:
    """Return a length in three digits, without an exponent."""
    return f"{float(f'{length:.3g}'):,.12g}"


def _finish(model: MapModel, scene: Scene, job: SceneJob, output: Path, options: SceneOptions) -> SceneMap:
    """Put the chunks together, and write all results."""
    names = model.strategy.vocabulary.names
    job.check_parts()
    chosen = job.read_chosen()
    notices = _notices(model, scene, job, options)
    if unchosen := unchosen_notice(names, chosen.tolist()):
        logger.warning("%s: %s", scene.source, unchosen)
        notices.append(unchosen)
    base, place = output / scene.name, scene.survey.georeference
    kind = score_kind(model.strategy)
    made = write_rasters(job, base, place, names, kind, tuple(notices))
    return _add_extras(model, made, job, options)


def _add_extras(model: MapModel, made: SceneMap, job: SceneJob, options: SceneOptions) -> SceneMap:
    """Write what is made of the rasters of a map."""
    strategy = model.strategy
    background = None if strategy.background is None else int(model.decision.ids[strategy.background])
    finished = write_extras(made, job, options.extras, background, str(strategy.model.device))
    for notice in finished.notices:
        if notice not in made.notices:
            logger.warning("%s: %s", made.source, notice)
    return finished


def _versions() -> dict[str, str]:
    """Return name -> version of the software that makes maps."""
    packages = ("torch", "numpy", "rasterio")
    return {"rskt_seg": rskt_seg.__version__, **{package: version(package) for package in packages}}
