"""From an upload and words to a result: the way of `rskt-seg segment`, watched and stopped by the page."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from rskt_seg.app.results import Result, reduce, reduced_size
from rskt_seg.app.uploads import Upload
from rskt_seg.errors import ConfigError, RSKTSegError
from rskt_seg.geo.map_layers import NO_SHARE, share_values
from rskt_seg.geo.raster_files import read_reduced
from rskt_seg.geo.vectors import has_vector_library
from rskt_seg.scenes.engines import Chunk, Engine, Event, HereEngine, Work
from rskt_seg.scenes.options import SceneOptions
from rskt_seg.scenes.segment import Scene, open_scene, segment_scenes
from rskt_seg.segmenter import Segmenter

_IMAGE_FILES = {
    "ids.tif": "class ids (GeoTIFF)",
    "gpkg": "polygons (GeoPackage)",
    "area.csv": "areas (CSV)",
    "overlay": "overlay (PNG)",
}
_SCENE_FILES = {
    "ids": "class ids (Cloud Optimized GeoTIFF)",
    "confidence": "confidence (Cloud Optimized GeoTIFF)",
    "gpkg": "polygons (GeoPackage)",
    "area.csv": "areas (CSV)",
    "quicklook": "overlay with legend (PNG)",
}
"""Kind of result -> what the page calls it, in its order. Other kinds are left out: some name folders of the
server."""


class Stopped(RSKTSegError):
    """The user asked to stop."""

    def __init__(self) -> None:
        super().__init__("stopped: nothing is kept of what was computed")


@dataclass(frozen=True)
class Watch:
    """Whom a running segmentation tells how far it is.

    Attributes:
        report: Called with the share that is done, 0..1.
        stop: Set to end it.
    """

    report: Callable[[float], None]
    stop: threading.Event

    def tell(self, share: float) -> None:
        """Report a share.

        Raises:
            Stopped: It has to end.
        """
        if self.stop.is_set():
            raise Stopped
        self.report(share)


@dataclass(frozen=True)
class WatchedEngine:
    """An engine that reports how far it is, and can be stopped within a chunk.

    Attributes:
        inner: What computes.
        watch: Whom it tells.
    """

    inner: Engine
    watch: Watch

    def run(self, work: Work) -> Iterator[Event]:
        """See `rskt_seg.scenes.engines.Engine.run`.

        Raises:
            Stopped: It has to end.
        """
        shares = dict.fromkeys(work.chunks, 0.0)

        def tell(chunk: Chunk, share: float) -> None:
            shares[chunk] = share
            self.watch.tell(sum(shares.values()) / len(shares))
            work.on_share(chunk, share)

        self.watch.tell(0.0)
        yield from self.inner.run(replace(work, on_share=tell))


def watched(work: Callable[[Watch], Result], stop: threading.Event) -> Iterator[float | Result]:
    """Compute a result in a thread.

    Args:
        work: Computes it, and tells the watch.
        stop: Set to end it; it is when the caller does not wait for the end.

    Yields:
        Shares that are done, 0..1, then the result.

    Raises:
        Exception: Whatever the work raises.
    """
    told: SimpleQueue[float | None] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work, Watch(told.put, stop))
        future.add_done_callback(lambda _: told.put(None))
        try:
            while (share := told.get()) is not None:
                if told.empty():  # only the latest is news
                    yield share
        finally:
            stop.set()
        yield future.result()


def segment_upload(
    segmenter: Segmenter, upload: Upload, window: str, folder: Path, watch: Watch, most_windows: int
) -> Result:
    """Segment an upload: as a whole, or as a scene if it is large or a window is asked for.

    Args:
        segmenter: The model with its classes.
        upload: The image.
        window: Side of a window, "384" or "120m"; "": what suits the model.
        folder: Where the files go.
        watch: Whom it tells how far it is.
        most_windows: How many windows a side that is asked for may make.

    Returns:
        The result.

    Raises:
        Stopped: It had to end.
        RSKTSegError: The image cannot be read, or the window cannot be used.
        OSError: A file cannot be written.
    """
    large = max(upload.size) > 2 * max(segmenter.strategy.usual_size)
    if large or window.strip():
        options = SceneOptions(window=window.strip() or None)
        return _segment_scene(segmenter, upload, options, folder, watch, most_windows)
    watch.tell(0.0)
    made = segmenter.predict(upload.open())
    watch.tell(0.9)
    files = made.save(folder, upload.stem)
    files["ids.tif"] = folder / f"{upload.stem}_ids.tif"
    made.to_raster(files["ids.tif"])
    notices = list(made.notices)
    if has_vector_library():
        files["gpkg"] = folder / f"{upload.stem}_polygons.gpkg"
        notices += made.to_polygons(files["gpkg"]).notices
    size = reduced_size(*upload.size)
    shares = np.where(made.valid, share_values(made.confidence), np.uint8(NO_SHARE))
    return Result(
        upload.picture,
        reduce(made.labels, size),
        reduce(shares, size),
        made.legend,
        made.area_summary(),
        made.background,
        tuple(dict.fromkeys(notices)),
        {title: files[kind] for kind, title in _IMAGE_FILES.items() if kind in files},
    )


def _segment_scene(
    segmenter: Segmenter,
    upload: Upload,
    options: SceneOptions,
    folder: Path,
    watch: Watch,
    most_windows: int,
) -> Result:
    scene = replace(open_scene(upload.open(), options, upload.stem), source=upload.name)
    if options.window is not None:
        _check_windows(segmenter, scene, upload.size, options, most_windows)
    engine = WatchedEngine(HereEngine(segmenter.strategy), watch)
    maps, failed = segment_scenes(segmenter.map_model(), [scene], folder, options, engine)
    for error in failed.values():
        raise error
    made = maps[scene.name]
    size = reduced_size(*upload.size)
    return Result(
        upload.picture,
        read_reduced(made.files["ids"], size),
        read_reduced(made.files["confidence"], size),
        made.legend,
        made.areas,
        segmenter.background,
        made.notices,
        {title: made.files[kind] for kind, title in _SCENE_FILES.items() if kind in made.files},
    )


def _check_windows(
    segmenter: Segmenter, scene: Scene, size: tuple[int, int], options: SceneOptions, most: int
) -> None:
    """Refuse a window so small that one scene would keep the model from all others, or fill the memory."""
    side = options.window_side(scene.source, scene.survey.georeference, size)
    stride = segmenter.strategy.plan_scene(size, side, options.overlap, options.taper).stride
    count = math.prod(math.ceil(length / stride) for length in size)
    if count > most:
        raise ConfigError(
            f"a window of {options.window} makes {count:,} windows of {size[1]} x {size[0]} px; expected at "
            f"most {most:,}: choose a larger one, or none for what suits the model"
        )
