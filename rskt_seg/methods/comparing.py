"""Which models and evaluations are the ones that a paper prints figures of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from rskt_seg.metrics.results import BenchmarkReference, Evaluation, PaperRows
from rskt_seg.reading import brief
from rskt_seg.typing import Spec


class PrintedRow(NamedTuple):
    """A row of a paper, and what it was measured with.

    Attributes:
        row: The row.
        facts: Name -> value of everything that an evaluation must share to compare with the row, as
            `facts_of` names it.
    """

    row: BenchmarkReference
    facts: Mapping[str, object]


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


def facts_of(evaluation: Evaluation, free: Sequence[str] = ()) -> dict[str, object]:
    """Return what a row of a paper may have in common with an evaluation.

    Args:
        evaluation: The evaluation, or one as a paper describes it.
        free: Options of the model that change nothing of what is compared.

    Returns:
        Name -> value: the options of the model, how images are seen, and whether test-time augmentation is
        on.
    """
    options = {**asdict(evaluation.spec), **evaluation.trained, **evaluation.options}
    return {
        **{name: value for name, value in options.items() if name not in free},
        "test-time augmentation": evaluation.augmented,
    }


def compare(found: Mapping[str, object], printed: Iterable[PrintedRow]) -> PaperRows:
    """Return the rows that an evaluation repeats.

    Args:
        found: Facts of the evaluation (`facts_of`).
        printed: The rows of its encoder and training set, the main table first.

    Returns:
        The rows all of whose facts the evaluation shares; if there is none, how it differs from the row with
        the fewest other facts, the first of several.
    """
    nearest: tuple[int, str] | None = None
    rows = []
    for row, facts in printed:
        differing = [
            f"{name} is {brief(found.get(name))}, there {brief(value)}"
            for name, value in facts.items()
            if found.get(name) != value
        ]
        if not differing:
            rows.append(row)
        elif nearest is None or len(differing) < nearest[0]:
            nearest = len(differing), f"{row.source} does not compare: {', '.join(differing)}"
    return PaperRows(tuple(rows), "" if rows or nearest is None else nearest[1])
