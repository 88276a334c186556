"""Comparison of specifications."""

from collections.abc import Sequence
from dataclasses import asdict

from rskt_seg.typing import Spec


def computes_as(spec: Spec, other: Spec, free: Sequence[str]) -> bool:
    """Return whether two specifications of one method differ at most in the options `free`."""
    a, b = asdict(spec), asdict(other)
    return all(a[name] == b[name] for name in a if name not in free)
