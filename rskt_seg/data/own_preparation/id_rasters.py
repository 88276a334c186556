"""Rasters of ids, whose values become classes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rskt_seg.data.class_sets import IGNORE_LABEL, listed
from rskt_seg.data.labels import id_counts, pixel_counts
from rskt_seg.data.own_preparation.label_forms import IdRasters
from rskt_seg.data.own_preparation.label_maps import LabelFacts, strips
from rskt_seg.errors import LabelError
from rskt_seg.geo.image_sets import SetImage
from rskt_seg.geo.label_grids import GridIds, IdGrid, check_whole, open_ids
from rskt_seg.windows import Window


class IdRaster:
    """The open raster of ids of an image; see `OpenLabel`.

    Args:
        path: The file.
        grid: The open raster.
        size: (H, W) of the image.
        table: Value -> class, or 255.
    """

    def __init__(self, path: Path, grid: IdGrid, size: tuple[int, int], table: Mapping[int, int]) -> None:
        self._path, self._grid, self._size, self._table = path, grid, size, table

    def survey(self) -> LabelFacts:
        """See `OpenLabel.survey`."""
        check_whole(self._path)
        occurring: Counter[int] = Counter()
        known = False
        for strip in strips(self._size):
            found = self._grid.read(strip)
            occurring.update(_occurring(found))
            known = known or bool(found.known.any())
        if self._grid.warped and not known:
            raise LabelError(
                f"{self._path}: the label has no pixel with data on its image; is it of another place?"
            )
        self._refuse_unknown(occurring)
        return LabelFacts(warped=self._grid.warped)

    def read(self, window: Window) -> np.ndarray:
        """See `OpenLabel.read`."""
        found = self._grid.read(window)
        occurring = _occurring(found)
        self._refuse_unknown(occurring)
        ids = np.full(found.ids.shape, IGNORE_LABEL, np.uint8)
        for value in occurring:
            ids[found.ids == value] = self._table[value]
        ids[~found.known] = IGNORE_LABEL
        return ids

    def _refuse_unknown(self, occurring: Mapping[int, int]) -> None:
        if wrong := {value: count for value, count in occurring.items() if value not in self._table}:
            raise LabelError(
                f"{self._path}: found ids {pixel_counts(wrong)}; expected {listed(sorted(self._table))}: map "
                "values to classes by `values`, or name them in `ignore`"
            )


@contextmanager
def open_id_raster(form: IdRasters, num_classes: int, path: Path, image: SetImage) -> Iterator[IdRaster]:
    """Open the raster of ids of an image.

    Args:
        form: What its values mean.
        num_classes: Number of classes.
        path: The file.
        image: The image.

    Yields:
        The label.

    Raises:
        LabelError: As `open_ids`.
    """
    values = {k: k for k in range(num_classes)} if form.values is None else form.values
    # 255 is what this project writes for ignored pixels, unless the file says that it is a class.
    table = dict.fromkeys({*form.ignored, IGNORE_LABEL}, IGNORE_LABEL) | dict(values)
    with open_ids(path, image.georeference, image.size) as grid:
        yield IdRaster(path, grid, image.size, table)


def _occurring(found: GridIds) -> dict[int, int]:
    """Return value -> number of known pixels that have it."""
    known = found.ids[found.known]
    if known.dtype in (np.uint8, np.uint16):
        return id_counts(known)
    values, counts = np.unique(known, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
