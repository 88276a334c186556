"""Comparison of specifications."""

from collections.abc import Sequence
from dataclasses import asdict

from rskt_seg.typing import Spec


def computes_as(spec: Spec, other: Spec, free: Sequence[str]) -> bool:
    """Return whether two specifications describe models that compute the same.

    Args:
        spec: A specification.
        other: One of the same method.
        free: Options that may differ, because they change nothing of what is compared.

    Returns:
        True if all other options are equal.
    """
    a, b = asdict(spec), asdict(other)
    return all(a[name] == b[name] for name in a if name not in free)
