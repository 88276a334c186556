"""The results of a scene: files beside each other, and an object that opens them where they are asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rskt_seg.errors import UnreadableError
from rskt_seg.geo.area import AreaSummary, measure_raster
from rskt_seg.geo.area_tables import write_area_tables
from rskt_seg.geo.cog import write_cog
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.map_layers import NO_SHARE, SHARE_SCALE, MapLayer
from rskt_seg.geo.raster_files import read_bands
from rskt_seg.legend import Legend
from rskt_seg.reading import parse_json
from rskt_seg.scenes.job import SceneJob
from rskt_seg.windows import Window
from rskt_seg.writing import replace_text


@dataclass(frozen=True)
class SceneMap:
    """The map of a scene. Nothing of its size is in memory: files are read where they are asked for.

    Attributes:
        source: Name of the scene.
        base: Folder and beginning of the names of its files.
        legend: The classes.
        area: The part (px) of the scene that it shows.
        files: Kind of result, such as "ids" or "area.csv" -> file.
        notices: Decisions that the user should know of, one line each.
    """

    source: str
    base: Path
    legend: Legend
    area: Window
    files: Mapping[str, Path]
    notices: tuple[str, ...] = ()

    def ids(self, window: Window | None = None) -> np.ndarray:
        """Read class ids.

        Args:
            window: A window (px) of the map; None: all of it.

        Returns:
            (H, W) of `legend.dtype`, `legend.nodata` where the scene has no data.

        Raises:
            ImageReadError: The file cannot be read.
        """
        return read_bands(self.files["ids"], (1,), window)[0]

    def confidence(self, window: Window | None = None) -> np.ndarray:
        """Read the score of the best class: (H, W) float32 in 0..1, NaN for nodata; arguments as `ids`."""
        return _shares(read_bands(self.files["confidence"], (1,), window)[0])

    def scores(self, window: Window | None = None) -> np.ndarray:
        """Read the scores of all classes that were asked for: (T, H, W), as `confidence`.

        Raises:
            KeyError: The scene was segmented without scores.
        """
        return _shares(read_bands(self.files["scores"], None, window))

    @cached_property
    def areas(self) -> AreaSummary:
        """Areas of the classes, in the order of the legend."""
        return measure_raster(self.files["ids"], self.legend)


def _shares(values: np.ndarray) -> np.ndarray:
    return np.where(values == NO_SHARE, np.float32(np.nan), values * np.float32(SHARE_SCALE))


def write_map(
    job: SceneJob,
    base: Path,
    georeference: Georeference | None,
    names: tuple[str, ...],
    notices: tuple[str, ...],
    provenance: Mapping[str, Any],
) -> SceneMap:
    """Put the chunks of a scene together, and write all of its results; the provenance last.

    Args:
        job: The scene, all chunks of which are done.
        base: Folder and beginning of the names of the files.
        georeference: That of the whole scene, or None.
        names: The T names that the model was asked for.
        notices: Decisions that the user should know of.
        provenance: What else is written there.

    Returns:
        The map.

    Raises:
        OSError: A file cannot be written.
        ImageReadError: A chunk cannot be read again.
    """
    area, legend = job.area, job.task.decision.legend
    place = None if georeference is None else georeference.part(area)
    layers = {"ids": MapLayer.ids(legend), "confidence": MapLayer.confidence()}
    if job.task.keeps_scores:
        layers["scores"] = MapLayer.scores(names)
    files = {}
    for kind, layer in layers.items():
        parts = [(chunk.relative_to(area), job.part(chunk, kind)) for chunk in job.chunks]
        files[kind] = base.with_name(f"{base.name}_{kind}.tif")
        write_cog(files[kind], parts, (area.height, area.width), layer, place)
    made = SceneMap(job.task.name, base, legend, area, files, notices)
    write_area_tables(base, made.source, (area.height, area.width), made.areas, legend, notices)
    for kind in ("area.csv", "area.json"):
        files[kind] = base.with_name(f"{base.name}_{kind}")
    content = {
        "scene": made.source,
        "files": {kind: path.name for kind, path in files.items()},
        "notices": list(notices),
        **provenance,
        "facts": job.facts,
    }
    replace_text(_provenance(base), json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return made


def find_map(base: Path, legend: Legend, facts: Mapping[str, Any]) -> SceneMap | None:
    """Return the map that a former run has completed.

    Args:
        base: Folder and beginning of the names of its files.
        legend: The classes.
        facts: What it must have been computed from.

    Returns:
        The map; None if there is none, a file of it is missing, or it was computed from something else.
    """
    try:
        content = parse_json(_provenance(base).read_text("utf-8"))
        if not isinstance(content, dict) or content["facts"] != facts:
            return None
        files = {str(kind): base.with_name(str(name)) for kind, name in content["files"].items()}
        area = Window(*content["facts"]["area"])
        found = SceneMap(content["scene"], base, legend, area, files, tuple(content["notices"]))
    except (OSError, UnreadableError, KeyError, AttributeError, TypeError):
        return None
    return found if all(path.is_file() for path in files.values()) else None


def _provenance(base: Path) -> Path:
    return base.with_name(f"{base.name}_provenance.json")
