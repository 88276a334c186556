"""Arrays that are read as files are: bands, scaling to 8 bits, masks."""

from collections.abc import Sequence

import numpy as np

from rskt_seg.geo.georeference import Georeference

_PIXELS = 2**20
"""Pixels that are read at a time."""


class ArraySource:
    """An array with the interface of an open file, `rskt_seg.geo.sources.Source`.

    Args:
        values: (H, W) or (H, W, C) of any real type.
        mask: Of the same shape, True where there are no data; None: there are everywhere.
    """

    driver = ""
    orientation = 1
    georeference: Georeference | None = None

    def __init__(self, values: np.ndarray, mask: np.ndarray | None) -> None:
        self.height, self.width = values.shape[:2]
        self._values = values.reshape(self.height, self.width, -1)
        self._mask = None if mask is None else mask.reshape(self._values.shape)
        self.rows = max(1, _PIXELS // self.width)
        self.count = self._values.shape[2]
        self.dtype: str = values.dtype.name
        self.default_bands: tuple[int, ...] = (1, 2, 3) if self.count >= 3 else (1,)
        self.notices: list[str] = []

    def read(self, indexes: Sequence[int], rows: slice) -> np.ndarray:
        """Return the values (n, rows, W) of bands, in the byte order of the machine."""
        values = self._values[rows][:, :, [index - 1 for index in indexes]]
        return np.moveaxis(values, 2, 0).astype(self._values.dtype.newbyteorder("="), copy=False)

    def read_mask(self, index: int, rows: slice) -> np.ndarray | None:
        """Return where a band has data: (rows, W) bool; None if it has data everywhere."""
        return None if self._mask is None else ~self._mask[rows][:, :, index - 1]

    def describe_missing_band(self, index: int) -> str:
        """Return the reason why band `index` cannot be read."""
        return f"no band {index}"
