"""Scaling of 16-bit, integer and float bands to the 8 bits that a model sees, once for a whole scene."""

import math
import re
from dataclasses import dataclass

import numpy as np

from rskt_seg.errors import ConfigError

_SAMPLED = 2**22
"""Percentiles come from a regular grid of at most about this many pixels (all of them below it)."""
_ROWS = 512
_EXPECTED = 'stretch must be "auto", "none", percentiles such as "p2-98", or the limits "min,max"'


@dataclass(frozen=True)
class Stretch:
    """A parsed stretch rule; make it with `parse_stretch`.

    `kind` is "auto", "none", "range" (`low` and `high` are values) or "percentile" (of 0..100).
    """

    kind: str
    low: float = 2.0
    high: float = 98.0

    def limits(self, values: np.ndarray, known: np.ndarray) -> tuple[float, float] | None:
        """The values that become 0 and 255; None to take the values as they are.

        Args:
            values: one band (H, W), any real dtype.
            known: (H, W) bool, the pixels that count for percentiles.
        """
        if self.kind == "none" or (self.kind == "auto" and values.dtype == np.uint8):
            return None
        if self.kind == "range":
            return self.low, self.high
        sample = _sample(values, known)
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
    """The rule of `read_image`'s `stretch`: a string as on the command line, or a pair (min, max).

    Raises `ConfigError` for anything else, and for limits that are not finite and increasing.
    """
    if rule in ("auto", "none"):
        return Stretch(rule)
    kind, limits = "range", rule
    if isinstance(rule, str):
        number = r"[-+]?[\d.]+(?:[eE][-+]?\d+)?"
        if found := re.fullmatch(rf"p({number})-({number})", rule):
            kind = "percentile"
        else:
            found = re.fullmatch(rf"\s*({number})\s*,\s*({number})\s*", rule)
        limits = found.groups() if found else ()
    try:
        low, high = (float(v) for v in limits)
    except (TypeError, ValueError):
        raise ConfigError(f"{_EXPECTED}; found {rule!r}") from None
    inside = kind == "range" or 0 <= low < high <= 100
    if not (math.isfinite(low) and math.isfinite(high) and low < high and inside):
        raise ConfigError(f"{_EXPECTED}, the lower one first; found {rule!r}")
    return Stretch(kind, low, high)


def to_8bit(values: np.ndarray, limits: tuple[float, float] | None, out: np.ndarray) -> None:
    """Write a band (H, W) to `out` (H, W) uint8: `limits` become 0 and 255, what lies outside is cut.

    Without limits values are rounded and cut to 0..255. Values that are not finite become 0.
    """
    low, high = limits or (0.0, 255.0)
    table = None
    if values.dtype.kind in "ui" and values.dtype.itemsize <= 2:  # few values: scale each of them once
        kinds = np.arange(np.iinfo(values.dtype).min, np.iinfo(values.dtype).max + 1)
        # A negative value finds its place from the end of the table.
        table = _scaled(np.roll(kinds, kinds[0]), low, high)
    for start in range(0, values.shape[0], _ROWS):  # block by block: both ways need 8 bytes a pixel
        block = values[start : start + _ROWS]
        out[start : start + _ROWS] = _scaled(block, low, high) if table is None else table[block]


def share_outside(values: np.ndarray) -> float:
    """The share of a band's values that do not fit into 0..255."""
    return float(((values < 0) | (values > 255)).mean())


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    factor = 255 / (high - low) if high > low else 0.0
    finite = np.isfinite(values)
    scaled = (np.where(finite, values, low).astype(np.float64) - low) * factor
    return (np.rint(scaled.clip(0, 255)) * finite).astype(np.uint8)


def _sample(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    step = max(1, math.ceil(math.sqrt(values.size / _SAMPLED)))
    sample = values[::step, ::step][known[::step, ::step]]
    return sample if sample.size or step == 1 else values[known]
