"""Stretch of 16-bit, integer and float bands to the 8 bits that a model sees, once for a whole scene."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rskt_seg.errors import ConfigError

# Percentiles are taken on a regular grid of about this many pixels at most.
_SAMPLED = 2**22
_ROWS = 512
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

    def limits(self, values: np.ndarray, mask: np.ndarray) -> tuple[float, float] | None:
        """Return the values that become 0 and 255, or None to keep the values as they are.

        Args:
            values: One band (H, W), any real dtype.
            mask: (H, W) bool, the pixels that count for percentiles.

        Returns:
            The two values; None also if no pixel counts.
        """
        if self.kind == "none" or (self.kind == "auto" and values.dtype == np.uint8):
            return None
        if self.kind == "range":
            return self.low, self.high
        step = max(1, math.ceil(math.sqrt(values.size / _SAMPLED)))
        sample = values[::step, ::step][mask[::step, ::step]]
        if not sample.size:
            sample = values[mask]  # the few valid pixels may lie between those of the grid
        if not sample.size:
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


def to_8bit(values: np.ndarray, limits: tuple[float, float] | None, out: np.ndarray) -> None:
    """Scale a band to 8 bits, clipping values outside the limits.

    Args:
        values: One band (H, W), any real dtype. Values that are not finite become 0.
        limits: The values that become 0 and 255; None to round values and clip them to 0..255.
        out: (H, W) uint8, written in place.
    """
    low, high = limits or (0.0, 255.0)
    table = None
    if values.dtype.kind in "ui" and values.dtype.itemsize <= 2:  # few values: scale each of them once
        domain = np.arange(np.iinfo(values.dtype).min, np.iinfo(values.dtype).max + 1)
        # A negative value indexes the table from its end.
        table = _scale(np.roll(domain, domain[0]), low, high)
    for start in range(0, values.shape[0], _ROWS):  # block by block: both ways need 8 bytes a pixel
        block = values[start : start + _ROWS]
        out[start : start + _ROWS] = _scale(block, low, high) if table is None else table[block]


def share_outside(values: np.ndarray) -> float:
    """Return the share (0..1) of the values of a band that lie outside 0..255."""
    return float(((values < 0) | (values > 255)).mean())


def _scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    factor = 255 / (high - low) if high > low else 0.0
    finite = np.isfinite(values)
    scaled = (np.where(finite, values, low).astype(np.float64) - low) * factor
    return (np.rint(scaled.clip(0, 255)) * finite).astype(np.uint8)
