"""When two models compute the same."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any


def computes_as(spec: Any, other: Any, free: Sequence[str]) -> bool:
    """Return whether two specifications differ in nothing but the options `free`."""
    a, b = asdict(spec), asdict(other)
    return all(a[name] == b[name] for name in a if name not in free)
