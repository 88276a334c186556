"""Stretch of 16-bit, integer and float bands to the 8 bits that a model sees, once for a whole scene."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rskt_seg.errors import ConfigError

# Percentiles are taken on a regular grid of about this many pixels at most.
_SAMPLED = 2**22
_PIXELS = 2**18
"""Pixels that are scaled at a time, for which 8 bytes each are needed several times."""
_EXPECTED = 'stretch must be "auto", "none", percentiles such as "p2-98", or the limits "min,max"'


@dataclass(frozen=True)
class Stretch:
    """A parsed stretch rule; make one with `parse_stretch`.

    Attributes:
        kind: "auto", "none", "range" or "percentile".
        low: Value ("range") or percentile (0..100) that becomes 0.
        high: Value ("range") or percentile (0..100) that becomes 255.
    """

    kind: str
    low: float = 2.0
    high: float = 98.0

    def keeps(self, dtype: np.dtype) -> bool:
        """Return whether values are taken as they are, rounded and clipped to 0..255.

        Args:
            dtype: Of the values.

        Returns:
            False if they are scaled.
        """
        return self.kind == "none" or (self.kind == "auto" and dtype == np.uint8)

    def needs_sample(self, dtype: np.dtype) -> bool:
        """Return whether the limits depend on the values of the band.

        Args:
            dtype: Of the values.

        Returns:
            True for percentiles.
        """
        return self.kind != "range" and not self.keeps(dtype)

    def limits(self, sample: np.ndarray) -> tuple[float, float] | None:
        """Return the values that become 0 and 255, or None to keep the values as they are.

        Args:
            sample: Valid values (n,) of one band, any real dtype; not looked at unless `needs_sample`.

        Returns:
            The two values; None also if percentiles have no valid value.
        """
        if self.kind == "range":
            return self.low, self.high
        if not self.needs_sample(sample.dtype) or not sample.size:
            return None
        low, high = (float(v) for v in np.percentile(sample, (self.low, self.high)))
        if low == high:  # nearly constant: percentiles would leave nothing of what differs
            low, high = float(sample.min()), float(sample.max())
        return low, high

    def __str__(self) -> str:
        if self.kind == "none":
            return "taking values as they are"
        if self.kind == "range":
            return "the limits that were asked for"
        return f"percentiles {self.low:g} and {self.high:g} of the valid pixels"


def parse_stretch(rule: str | tuple[float, float]) -> Stretch:
    """Parse the argument `stretch` of `read_image`.

    Args:
        rule: "auto", "none", percentiles "pA-B", limits "min,max", or a pair (min, max).

    Returns:
        The rule.

    Raises:
        ConfigError: Any other rule, or limits that are not finite and increasing.
    """
    kind = "range"
    limits: Sequence[str | float] = ()
    if isinstance(rule, str):
        if rule in ("auto", "none"):
            return Stretch(rule)
        number = r"[-+]?[\d.]+(?:[eE][-+]?\d+)?"
        if found := re.fullmatch(rf"p({number})-({number})", rule):
            kind = "percentile"
        else:
            found = re.fullmatch(rf"\s*({number})\s*,\s*({number})\s*", rule)
        limits = found.groups() if found else ()
    else:
        limits = rule
    try:
        low, high = (float(v) for v in limits)
    except (TypeError, ValueError):
        raise ConfigError(f"{_EXPECTED}; found {rule!r}") from None
    inside = kind == "range" or 0 <= low < high <= 100
    if not (math.isfinite(low) and math.isfinite(high) and low < high and inside):
        raise ConfigError(f"{_EXPECTED}, the lower one first; found {rule!r}")
    return Stretch(kind, low, high)


def sample_step(pixels: int) -> int:
    """Return the distance of the rows and columns of an image from which percentiles are taken."""
    return max(1, math.ceil(math.sqrt(pixels / _SAMPLED)))


Scaling = Callable[[np.ndarray, np.ndarray], int]
"""Scales some rows of a band (rows, W) and writes them to (rows, W) uint8.

Returns how many values lie outside 0..255 and are cut, if they are taken as they are, else 0.
"""


def scaling_to_8bit(dtype: np.dtype, limits: tuple[float, float] | None) -> Scaling:
    """Return the scaling of a band to 8 bits, which clips values outside the limits.

    Args:
        dtype: Of the band, any real dtype. Values that are not finite become 0.
        limits: The values that become 0 and 255; None to round values and clip them to 0..255.

    Returns:
        The function that scales.
    """
    low, high = limits or (0.0, 255.0)
    table = None
    if dtype.kind in "ui" and dtype.itemsize <= 2:  # few values: scale each of them once
        domain = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1)
        # A negative value indexes the table from its end.
        table = _scale(np.roll(domain, domain[0]), low, high)

    def write(values: np.ndarray, out: np.ndarray) -> int:
        rows = max(1, _PIXELS // values.shape[1])
        for start in range(0, len(values), rows):  # both ways need 8 bytes a pixel
            block = values[start : start + rows]
            out[start : start + rows] = _scale(block, low, high) if table is None else table[block]
        return 0 if limits else int(((values < 0) | (values > 255)).sum())

    return write


def _scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    factor = 255 / (high - low) if high > low else 0.0
    finite = np.isfinite(values)
    scaled = (np.where(finite, values, low).astype(np.float64) - low) * factor
    return (np.rint(scaled.clip(0, 255)) * finite).astype(np.uint8)
