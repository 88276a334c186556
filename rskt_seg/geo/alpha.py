"""Alpha bands that look like data."""

import numpy as np

_MANY = 0.5
"""Share of intermediate values among those above 0 from which on an alpha band is taken for data."""


class AlphaCounts:
    """Counts of the values of a band that is declared alpha, which tell whether it looks like data.

    Args:
        band: Its number, from 1.
    """

    def __init__(self, band: int) -> None:
        self._band = band
        self._visible = self._between = 0

    def add(self, alpha: np.ndarray) -> None:
        """Count some rows of the band: any real dtype; opaque is its largest integer, or 1."""
        top = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1
        visible = alpha > 0  # a fill may be transparent beside infrared
        self._visible += int(visible.sum())
        self._between += int((visible & (alpha < top)).sum())

    def notice(self) -> list[str]:
        """Return a line if the band looks like data, such as the infrared of NAIP, else none."""
        share = self._between / self._visible if self._visible else 0.0
        if share < _MANY:
            return []
        return [
            f"band {self._band} is declared alpha, but {share:.0%} of its values above 0 lie between "
            "transparent and opaque; pixels where it is 0 are left out: if it is data, such as infrared, "
            "read the file with alpha=False (--no-alpha)"
        ]
