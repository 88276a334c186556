"""`Segmentation`: the result of a segmenter for one image."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rskt_seg.geo.area import AreaSummary, ClassArea, measure_classes, pixel_size
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.raster import RasterImage
from rskt_seg.inference.resize import upsample
from rskt_seg.inference.strategies import Coarseness
from rskt_seg.legend import Legend


@dataclass(frozen=True)
class Segmentation:
    """Result for one image of H x W pixels and T classes.

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
    """

    labels: np.ndarray
    legend: Legend
    valid: np.ndarray
    score_map: Tensor
    georeference: Georeference | None = None
    notices: tuple[str, ...] = ()

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
        if not self.valid.all():
            invalid = ~self.valid
            for each in scores:  # one index of all of them would take 16 bytes a pixel and class
                each[invalid] = 0
        return scores

    def area(self) -> tuple[ClassArea, ...]:
        """Return the area of each class on the ground, in the order of the classes."""
        return self.area_summary().classes

    def area_summary(self) -> AreaSummary:
        """Return the areas of the classes, their total, that of the nodata, and how they were measured."""
        positions = self.legend.positions(self.labels)
        return measure_classes(positions, self.valid, self.class_names, self.georeference)


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
