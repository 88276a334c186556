"""The results of a scene: files beside each other, and an object that opens them where they are asked for."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rskt_seg.decision import Decision, normalise
from rskt_seg.errors import ConfigError, UnreadableError
from rskt_seg.geo.area import AreaSummary, measure_raster
from rskt_seg.geo.area_tables import write_area_tables
from rskt_seg.geo.cog import write_cog
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.map_layers import NO_SHARE, SHARE_SCALE, MapLayer
from rskt_seg.geo.polygons import PolygonSummary, write_polygons
from rskt_seg.geo.provenance import write_provenance
from rskt_seg.geo.raster_files import read_bands, read_reduced
from rskt_seg.legend import Legend
from rskt_seg.map_views import area_frame, map_html, plot_map
from rskt_seg.reading import parse_json
from rskt_seg.scenes.job import SceneJob
from rskt_seg.typing import ScoreKind
from rskt_seg.visualization.quick_look import MOST_PIXELS as QUICK_LOOK
from rskt_seg.visualization.quick_look import draw_quick_look
from rskt_seg.windows import Window
from rskt_seg.wording import counted
from rskt_seg.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RASTERS = ("ids", "confidence", "scores")
_LONGEST = 180
"""Bytes of a name that leave room, in the 255 of file systems, for endings and those of temporary files."""


@dataclass(frozen=True, eq=False, repr=False)
class SceneMap:
    """The map of a scene. Nothing of its size is in memory: files are read where they are asked for.

    What it has in common with `rskt_seg.Segmentation` has the same names, but for `area`. Each is equal to
    itself alone.

    Attributes:
        source: Name of the scene.
        base: Folder and beginning of the names of its files.
        legend: The classes.
        area: The part (px) of the scene that it shows.
        files: Kind of result, such as "ids" or "area.csv" -> file.
        notices: Decisions that the user should know of, one line each.
        other: Id of pixels without a class, or None if there can be none.
        score_kind: What the scores of a pixel are, see `rskt_seg.Segmentation`.
    """

    source: str
    base: Path
    legend: Legend
    area: Window
    files: Mapping[str, Path]
    notices: tuple[str, ...] = ()
    other: int | None = None
    score_kind: ScoreKind = "probabilities"

    def __repr__(self) -> str:
        classes, place = counted(len(self.legend.entries), "class", "classes"), self.files["ids"].name
        return f"<SceneMap {self.area.width} x {self.area.height} px: {classes}; {place[-100:]}>"

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

    def probabilities(self, window: Window | None = None) -> np.ndarray:
        """Return scores that sum to one over the classes, see `rskt_seg.Segmentation.probabilities`.

        Args:
            window: As for `ids`.

        Returns:
            (T, H, W) float32 in 0..1, NaN for nodata. Files hold scores as multiples of 1 / 254.

        Raises:
            KeyError: The scene was segmented without scores.
        """
        scores = self.scores(window)
        normalise(scores)
        return scores

    @cached_property
    def areas(self) -> AreaSummary:
        """Areas of the classes, in the order of the legend."""
        return measure_raster(self.files["ids"], self.legend)

    def area_summary(self) -> AreaSummary:
        """Return `areas`: those of the classes, their total, the nodata, and how they were measured."""
        return self.areas

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their ids."""
        return tuple(entry.name for entry in self.legend.entries)

    @property
    def ignore_label(self) -> int:
        """Id of pixels that are not valid: 255 or 65535."""
        return self.legend.nodata

    def to_dataframe(self) -> Any:
        """Return the areas as a `pandas.DataFrame`, see `rskt_seg.Segmentation.to_dataframe`."""
        return area_frame(self.areas, self.legend)

    def to_polygons(
        self,
        path: str | os.PathLike[str],
        *,
        min_area: str | float | None = None,
        simplify: float | None = None,
    ) -> PolygonSummary:
        """Write the areas of equal class as polygons, as `rskt_seg.Segmentation.to_polygons`."""
        return write_polygons(
            path,
            self.files["ids"],
            self.legend,
            confidence_path=self.files["confidence"],
            min_area=min_area,
            simplify=simplify,
            skip_ids=() if self.other is None else (self.other,),
        )

    def plot(self, ax: "Axes | None" = None, *, legend: bool = True) -> "Axes":
        """Draw the map alone, reduced to what a figure can show, on axes that count in its pixels.

        Args:
            ax: Axes to draw on; None: those of a new figure of pyplot.
            legend: Whether the classes are listed beside it, with their shares.

        Returns:
            The axes.
        """
        size = self.area.height, self.area.width
        return plot_map(self._reduced(), self.legend, ax, size=size, with_legend=legend)

    def _repr_html_(self) -> str:
        """Return a preview for notebooks: a small picture, and the largest classes with their areas."""
        return map_html(repr(self), self._reduced(), self.legend, self.areas)

    def _reduced(self) -> np.ndarray:
        """Read the ids of a picture of the map."""
        factor = min(1.0, QUICK_LOOK / max(self.area.height, self.area.width))
        size = max(1, round(self.area.height * factor)), max(1, round(self.area.width * factor))
        return read_reduced(self.files["ids"], size)


def _shares(values: np.ndarray) -> np.ndarray:
    return np.where(values == NO_SHARE, np.float32(np.nan), values * np.float32(SHARE_SCALE))


@dataclass(frozen=True)
class Extras:
    """What is made of the finished rasters of a map.

    Attributes:
        polygons: Formats of the polygons: "gpkg", "geojson", "parquet".
        min_area: See `rskt_seg.geo.polygons.write_polygons`.
        simplify: See there.
    """

    polygons: tuple[str, ...] = ()
    min_area: str | float | None = None
    simplify: float | None = None


def check_results(base: Path, sources: Sequence[str]) -> None:
    """Check that results can have their names.

    Args:
        base: Folder and beginning of the names of the files.
        sources: The files of all scenes of the run, which must stay as they are.

    Raises:
        ConfigError: One would take the place of a scene, or a name is too long.
    """
    if len(os.fsencode(base.name)) > _LONGEST:
        raise ConfigError(
            f"the name {base.name[:40]}... has over {_LONGEST} bytes, too many for the names of results; "
            "rename the scene"
        )
    results = {f"{base.name}_{kind}.tif" for kind in _RASTERS} | {f"{base.name}_quicklook.png"}
    for source in map(Path, sources):
        if source.name in results and source.parent.resolve() == base.parent.resolve():
            raise ConfigError(
                f"the results of {base.name} would replace the scene {source}; choose another folder for them"
            )


def write_rasters(
    job: SceneJob,
    base: Path,
    georeference: Georeference | None,
    names: tuple[str, ...],
    score_kind: ScoreKind,
    notices: tuple[str, ...],
) -> SceneMap:
    """Put the chunks of a scene together.

    Args:
        job: The scene, all chunks of which are done.
        base: Folder and beginning of the names of the files.
        georeference: That of the whole scene, or None.
        names: The T names that the model was asked for.
        score_kind: What its scores are.
        notices: Decisions that the user should know of.

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
    _provenance(base).unlink(missing_ok=True)  # before the files that it describes are others
    for kind, layer in layers.items():
        parts = [(chunk.relative_to(area), job.part(chunk, kind)) for chunk in job.chunks]
        files[kind] = base.with_name(f"{base.name}_{kind}.tif")
        write_cog(files[kind], parts, (area.height, area.width), layer, place)
    decision = job.task.decision
    return SceneMap(job.task.name, base, legend, area, files, notices, decision.other, score_kind)


def write_extras(
    made: SceneMap, job: SceneJob, extras: Extras, background: int | None, device: str
) -> SceneMap:
    """Write what is made of the rasters of a map: areas, quick-look, polygons.

    The provenance, which tells later runs what there is, is written first for the rasters alone, and last for
    all.

    Args:
        made: The map with its rasters.
        job: The scene.
        extras: What is made.
        background: Id of the class that the quick-look leaves untinted, or None.
        device: The device of the model.

    Returns:
        The map with all files.

    Raises:
        ConfigError: A format is unknown, cannot hold the map, or needs a package that is missing.
        OSError: A file cannot be written.
    """
    base, legend, area = made.base, made.legend, made.area
    files = dict(made.files)
    notices = [*made.notices, *(each for each in made.areas.notices if each not in made.notices)]
    _write_provenance(made, job, None, device)
    for suffix in extras.polygons:
        files[suffix] = base.with_name(f"{base.name}_polygons.{suffix}")
        written = made.to_polygons(files[suffix], min_area=extras.min_area, simplify=extras.simplify)
        notices += [each for each in written.notices if each not in notices]
    write_area_tables(base, made.source, (area.height, area.width), made.areas, legend, notices)
    for kind in ("area.csv", "area.json"):
        files[kind] = base.with_name(f"{base.name}_{kind}")
    files["quicklook"] = base.with_name(f"{base.name}_quicklook.png")
    picture = _quick_look(made, job, background)
    with replacing(files["quicklook"]) as partial:
        Image.fromarray(picture).save(partial, format="PNG")
    complete = replace(made, files=files, notices=tuple(notices))
    _write_provenance(complete, job, extras, device)
    return complete


def _write_provenance(made: SceneMap, job: SceneJob, extras: Extras | None, device: str) -> None:
    """State which files there are, and what they were made from; `extras` None: the rasters alone."""
    content = {
        "scene": made.source,
        "files": {kind: path.name for kind, path in made.files.items()},
        "notices": list(made.notices),
        "extras": None if extras is None else _plain(asdict(extras)),
        "facts": job.facts,
    }
    write_provenance(_provenance(made.base), content, device)


def _quick_look(made: SceneMap, job: SceneJob, background: int | None) -> np.ndarray:
    """Draw the map over the overview of the scene, as large as a quick-look can be at most."""
    area, plan, overview = made.area, job.task.plan, job.task.overview
    factor = min(1.0, QUICK_LOOK / max(area.height, area.width))
    size = max(1, round(area.height * factor)), max(1, round(area.width * factor))
    rows, columns = (
        (np.arange(length) + 0.5) * (full / length) + start
        for length, full, start in zip(size, (area.height, area.width), (area.top, area.left), strict=True)
    )
    index = np.ix_(
        (rows * overview.shape[0] / plan.height).astype(int),
        (columns * overview.shape[1] / plan.width).astype(int),
    )
    return draw_quick_look(
        overview[index], read_reduced(made.files["ids"], size), made.legend, background=background
    )


def find_map(
    base: Path, decision: Decision, score_kind: ScoreKind, facts: Mapping[str, Any], extras: Extras
) -> tuple[SceneMap | None, bool]:
    """Return the map that a former run has completed.

    Args:
        base: Folder and beginning of the names of its files.
        decision: The classes, and what became of scores.
        score_kind: What the scores are.
        facts: What its rasters must have been computed from.
        extras: What must have been made of them.

    Returns:
        The map, None if there is none of these facts with all of its rasters; and whether all else is there,
        made as it is asked for now.
    """
    try:
        content = parse_json(_provenance(base).read_text("utf-8"))
        if not isinstance(content, dict) or content["facts"] != facts:
            return None, False
        files = {str(kind): base.with_name(str(name)) for kind, name in content["files"].items()}
        area, same = Window(*content["facts"]["area"]), content["extras"] == _plain(asdict(extras))
        notices = tuple(content["notices"])
        found = SceneMap(
            content["scene"], base, decision.legend, area, files, notices, decision.other, score_kind
        )
    except (OSError, UnreadableError, KeyError, AttributeError, TypeError):
        return None, False
    rasters = {kind: path for kind, path in files.items() if kind in _RASTERS}
    if not all(path.is_file() for path in rasters.values()):
        return None, False
    if same and all(path.is_file() for path in files.values()):
        return found, True
    return replace(found, files=rasters), False


def _plain(facts: dict[str, Any]) -> Any:
    """Return facts as JSON gives them back."""
    return json.loads(json.dumps(facts))


def _provenance(base: Path) -> Path:
    return base.with_name(f"{base.name}_provenance.json")
