"""Alpha bands that look like data."""

import numpy as np

_MANY = 0.5
"""Share of intermediate values among those above 0 from which on an alpha band is taken for data."""


def alpha_notice(alpha: np.ndarray, band: int) -> list[str]:
    """Return a line if a band that is declared alpha looks like data, such as the infrared of NAIP.

    Args:
        alpha: The band (H, W), of any real dtype; opaque is its largest integer, or 1.
        band: Its number, from 1.

    Returns:
        No line, or one.
    """
    top = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1
    visible = alpha[alpha > 0]  # a fill may be transparent beside infrared
    share = float((visible < top).mean()) if visible.size else 0.0
    if share < _MANY:
        return []
    return [
        f"band {band} is declared alpha, but {share:.0%} of its values above 0 lie between transparent and "
        "opaque; pixels where it is 0 are left out: if it is data, such as infrared, read the file with "
        "alpha=False (--no-alpha)"
    ]
