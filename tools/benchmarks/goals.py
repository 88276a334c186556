"""Goals as data: bounds on figures of a run, which hold on any machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rskt_seg.errors import ConfigError, UnreadableError
from rskt_seg.reading import parse_json, read_text


@dataclass(frozen=True)
class Goal:
    """A bound on a figure.

    Attributes:
        figure: Name of the figure, see `benchmarks.results.Result.figures`.
        must: What the figure must be, at least or at most.
        at_least: Whether `must` is a lower bound.
        stretch: A bound that would be better still; None: none is stated.
    """

    figure: str
    must: float
    at_least: bool
    stretch: float | None = None

    def holds(self, found: float, bound: float) -> bool:
        """Return whether a figure keeps a bound; NaN keeps none."""
        return found >= bound if self.at_least else found <= bound

    def judge(self, found: float | None) -> tuple[str, bool]:
        """Return a line about the goal, and whether it failed. What was not measured has not failed."""
        bound = f"{'at least' if self.at_least else 'at most'} {self.must:g}"
        if found is None:
            return f"not measured  {self.figure}: {bound}", False
        holds = self.holds(found, self.must)
        beyond = ""
        if self.stretch is not None:
            reached = "reached" if self.holds(found, self.stretch) else "not yet"
            beyond = f" (stretch {self.stretch:g}: {reached})"
        return (
            f"{'holds' if holds else 'FAILS':<12}  {self.figure}: {bound}, found {found:.4g}{beyond}",
            not holds,
        )


def read_goals(path: Path) -> list[Goal]:
    """Read goals.

    Args:
        path: A JSON file: figure -> {"at_least" or "at_most": number, "stretch": number}.

    Returns:
        The goals.

    Raises:
        ConfigError: The file cannot be read, or is not of this form.
    """
    try:
        raw = parse_json(read_text(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnreadableError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{path} must map figures to bounds; found {type(raw).__name__}")
    return [_goal(path, figure, bounds) for figure, bounds in raw.items()]


def _goal(path: Path, figure: str, bounds: Any) -> Goal:
    kinds = {"at_least", "at_most"} & set(bounds) if isinstance(bounds, Mapping) else set()
    numbers = list(bounds.values()) if isinstance(bounds, Mapping) else []
    known = len(kinds) == 1 and set(bounds) <= {*kinds, "stretch"}
    if not known or not all(type(number) in (int, float) for number in numbers):
        raise ConfigError(
            f'{path}: {figure} must have "at_least" or "at_most", and may have "stretch", all numbers; found '
            f"{bounds}"
        )
    kind = kinds.pop()
    return Goal(figure, bounds[kind], kind == "at_least", bounds.get("stretch"))


def check(goals: Sequence[Goal], figures: Mapping[str, float]) -> tuple[list[str], bool]:
    """Judge a run.

    Args:
        goals: The goals.
        figures: What was found.

    Returns:
        A line for each goal, and whether one failed.
    """
    verdicts = [goal.judge(figures.get(goal.figure)) for goal in goals]
    return [line for line, _ in verdicts], any(failed for _, failed in verdicts)
