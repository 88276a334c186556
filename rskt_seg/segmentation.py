"""`Segmentation`: the result of a segmenter for one image."""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from torch import Tensor

from rskt_seg.decision import normalise
from rskt_seg.errors import ConfigError
from rskt_seg.geo.area import AreaSummary, ClassArea, measure_classes, pixel_size
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.labels import write_labels
from rskt_seg.geo.map_layers import NO_SHARE, share_values
from rskt_seg.geo.parts import write_part
from rskt_seg.geo.polygons import Polygons, PolygonSummary, find_polygons, write_polygons
from rskt_seg.geo.raster import RasterImage
from rskt_seg.inference.resize import best_scores, upsample
from rskt_seg.inference.strategies import Coarseness
from rskt_seg.legend import Legend
from rskt_seg.map_files import ImageMap, make_folder, result_name, write_map
from rskt_seg.map_views import area_frame, describe_classes, describe_place, map_html, plot_map
from rskt_seg.typing import ScoreKind
from rskt_seg.windows import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """Result for one image of H x W pixels and T classes. Each is equal to itself alone.

    Attributes:
        labels: (H, W) ids of `legend`, uint8 with 255 where the image is not valid (uint16 with 65535 for ids
            above 254).
        legend: What the ids mean. They are 0, 1, ... in the order of the vocabulary unless it gives others;
            with a threshold or a background the last is that of pixels without a class.
        valid: (H, W) bool, False for nodata.
        score_map: (T, h, w) float32 on the CPU, scores in 0..1 at the resolution of the model, which for
            closed-set models is that of the image. Those of the background follow those of the classes.
        georeference: Georeference of the image; None if it has none.
        notices: Decisions that the user should know of, one line each.
        score_names: The T names that scores are of, in their order; that of the legend follows the ids.
        score_kind: What the scores of a pixel are: "probabilities", which sum to one; independent "sigmoids";
            or "shares" of a softmax over more names than classes, which sum to one at most.
        image: The image, 8-bit as the model saw it; None if it is not kept. An array is not copied.
        background: Id of the class that stands for everything else, which pictures leave untinted, or None.
        other: Id of pixels without a class, or None if there can be none.
    """

    labels: np.ndarray
    legend: Legend
    valid: np.ndarray
    score_map: Tensor
    georeference: Georeference | None = None
    notices: tuple[str, ...] = ()
    score_names: tuple[str, ...] = ()
    score_kind: ScoreKind = "probabilities"
    image: RasterImage | None = None
    background: int | None = None
    other: int | None = None

    def __repr__(self) -> str:
        height, width = self.labels.shape
        classes = describe_classes(self.labels, self.legend)
        return f"<Segmentation {width} x {height} px: {classes}; {describe_place(self.georeference)}>"

    def _repr_html_(self) -> str:
        """Return a preview for notebooks: a small picture, and the largest classes with their areas."""
        return map_html(
            repr(self),
            self.labels,
            self.legend,
            self.area_summary(),
            image=self._pixels,
            background=self.background,
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their ids."""
        return tuple(entry.name for entry in self.legend.entries)

    @property
    def ignore_label(self) -> int:
        """Id of pixels that are not valid: 255 or 65535."""
        return self.legend.nodata

    @property
    def scores(self) -> np.ndarray:
        """Scores (T, H, W) float32 in 0..1, 0 where not valid; `labels` follows their argmax elsewhere.

        They are computed at each access and take 4 * T * H * W bytes.
        """
        scores = upsample(self.score_map, self.labels.shape)
        self._clear_invalid(scores)
        return scores

    @property
    def confidence(self) -> np.ndarray:
        """Score of the best class (H, W) float32 in 0..1, 0 where not valid: the highest of `scores`.

        A pixel whose best class scores less than its threshold keeps that score. It is computed at each
        access, a few rows of `scores` at a time.
        """
        best = best_scores(self.score_map, self.labels.shape)
        self._clear_invalid(best[None])
        return best

    def probabilities(self) -> np.ndarray:
        """Return scores that sum to one over the T classes: each divided by the sum of all.

        Of models that are trained by a softmax (`score_kind` "probabilities") these are the probabilities
        themselves. Independent sigmoids say of each class by itself whether it is there; divided by their sum
        they keep their order and ratios, but no longer tell a pixel that fits no class from one that fits
        several. A pixel where all scores are 0 gets 1 / T for each class.

        Returns:
            (T, H, W) float32 in 0..1, 0 where not valid; 4 * T * H * W bytes.
        """
        scores = upsample(self.score_map, self.labels.shape)
        normalise(scores)
        self._clear_invalid(scores)
        return scores

    def _clear_invalid(self, scores: np.ndarray) -> None:
        """Set scores (T, H, W) to 0 where the image is not valid."""
        if not self.valid.all():
            invalid = ~self.valid
            for each in scores:  # one index of all of them would take 16 bytes a pixel and class
                each[invalid] = 0

    def area(self) -> tuple[ClassArea, ...]:
        """Return the area of each class on the ground, in the order of the classes."""
        return self.area_summary().classes

    def area_summary(self) -> AreaSummary:
        """Return the areas of the classes, their total, that of the nodata, and how they were measured."""
        positions = self.legend.positions(self.labels)
        return measure_classes(positions, self.valid, self.class_names, self.georeference)

    def to_dataframe(self) -> Any:
        """Return the areas as a `pandas.DataFrame`.

        Returns:
            A row for each class: `id`, `name`, `pixels`, `share` (0..1), `area_m2` (NaN if unknown), `color`.

        Raises:
            ConfigError: The package pandas is not installed.
        """
        return area_frame(self.area_summary(), self.legend)

    def plot(
        self, ax: "Axes | None" = None, *, image: bool = True, legend: bool = True, alpha: float = 0.45
    ) -> "Axes":
        """Draw the map with matplotlib.

        Args:
            ax: Axes to draw on; None: those of a new figure of pyplot.
            image: Whether the image is drawn below, if it is kept.
            legend: Whether the classes are listed beside it, with their shares.
            alpha: Share of the class colours over the image, 0..1.

        Returns:
            The axes, which count in pixels of the image.

        Raises:
            ConfigError: `alpha` is outside 0..1.
        """
        return plot_map(
            self.labels,
            self.legend,
            ax,
            image=self._pixels if image else None,
            alpha=alpha,
            with_legend=legend,
            background=self.background,
        )

    def save(self, folder: str | os.PathLike[str], name: str | None = None) -> dict[str, Path]:
        """Write what `rskt-seg segment` writes of an image: pictures, areas, and of a raster its ids.

        Args:
            folder: The folder, which is created if there is none.
            name: Beginning of the names of the files; None: the stem of the image file, or "image".

        Returns:
            Kind, such as "overlay", "ids", "ids.tif" or "area.csv" -> file. Without an image there is no
            overlay.

        Raises:
            ConfigError: The folder cannot be created, or the name has a folder.
            OSError: A file cannot be written.
        """
        source = "" if self.image is None else self.image.source
        name = name or (result_name(source) if source else "image")
        if Path(name).name != name:
            raise ConfigError(f"a name of results is that of a file without its folder; found {name!r}")
        shown = ImageMap(
            source or f"the image of {self.labels.shape[1]} x {self.labels.shape[0]} px",
            self.labels,
            self.legend,
            self.area_summary(),
            self._pixels,
            self.georeference,
            self.georeference is not None or (self.image is not None and self.image.driver == "GTiff"),
            self.background,
            self.notices,
        )
        return write_map(make_folder(folder) / name, shown)

    def to_raster(self, path: str | os.PathLike[str]) -> None:
        """Write the class ids as a GeoTIFF on the grid of the image, with names, colours and nodata.

        Args:
            path: The file to write or to replace.

        Raises:
            OSError: The file cannot be written, or not completely.
        """
        write_labels(path, self.labels, self.georeference, self.legend)

    @overload
    def to_polygons(
        self, path: None = None, *, min_area: str | float | None = None, simplify: float | None = None
    ) -> Polygons: ...
    @overload
    def to_polygons(
        self,
        path: str | os.PathLike[str],
        *,
        min_area: str | float | None = None,
        simplify: float | None = None,
    ) -> PolygonSummary: ...
    def to_polygons(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        min_area: str | float | None = None,
        simplify: float | None = None,
    ) -> Polygons | PolygonSummary:
        """Return or write the areas of equal class as polygons; pixels without a class have none.

        It needs the extra `vector`.

        Args:
            path: The file to write or to replace: `.gpkg`, `.geojson` (maps in EPSG:4326) or `.parquet`;
                None: they are returned.
            min_area: Smaller areas are merged into their neighbours: square metres, such as "50 m2", or
                pixels, such as "12 px".
            simplify: Tolerance in units of the CRS; None to follow the borders of pixels.

        Returns:
            The polygons with `class_id`, `class_name`, `pixels`, `area_m2` and `mean_confidence`; or how many
            were written.

        Raises:
            ConfigError: A package is missing, or an option cannot be used.
            OSError: The file cannot be written.
        """
        skipped = () if self.other is None else (self.other,)
        with TemporaryDirectory() as folder:
            ids, confidence = Path(folder, "ids.tif"), Path(folder, "confidence.tif")
            self.to_raster(ids)
            shares = np.where(self.valid, share_values(self.confidence), np.uint8(NO_SHARE))
            write_part(confidence, shares[None], Window(0, 0, *shares.shape))
            if path is None:
                return find_polygons(
                    ids, self.legend, confidence_path=confidence, min_area=min_area, simplify=simplify,
                    skip_ids=skipped,
                )  # fmt: skip
            return write_polygons(
                path, ids, self.legend, confidence_path=confidence, min_area=min_area, simplify=simplify,
                skip_ids=skipped,
            )  # fmt: skip

    @property
    def _pixels(self) -> np.ndarray | None:
        return None if self.image is None else self.image.pixels


def coarseness_notices(image: RasterImage, found: Coarseness | None) -> list[str]:
    """Return a notice for an image with far more pixels than the model sees.

    Args:
        image: The image.
        found: Why its result is coarser than the image, or None.

    Returns:
        No or one line.
    """
    height, width = image.valid.shape
    if found is None or max(height, width) <= 2 * found.side:
        return []
    rows, columns = found.cell
    if (size := pixel_size(image.georeference, (height, width))) is not None:
        extent = f"{_figures(columns * size[1])} x {_figures(rows * size[0])} m on the ground"
    else:
        extent = f"{_figures(columns)} x {_figures(rows)} px of the image"
    return [
        f"{width} x {height} px is more than twice the {found.side} px that the model works at: "
        f"{found.what} covers {extent}; for more detail {found.remedy}"
    ]


def _figures(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
