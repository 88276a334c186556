"""What the output folder of a training or an evaluation holds, as far as it has come."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rskt_seg.errors import ConfigError, DatasetError, UnreadableError
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.reading import brief, parse_json, read_text

METRICS, RECORD, CONFIG = "metrics.json", "run.json", "config.yaml"
"""Files of an output folder: scalars, facts about the run, its configuration."""
SETS, CONFUSION = "inference", ".confusion.json"
"""The folder of the test sets within it, and the end of the files with their confusion counts."""
_KINDS = ("training", "evaluation")

Points = list[tuple[int, float]]
"""Number of iterations done, and a value."""


@dataclass(frozen=True, eq=False)
class ScoredSet:
    """The last evaluation of a test set.

    Attributes:
        name: Its name, with the suffix of the evaluation pass.
        classes: K names.
        matrix: The confusion counts.
        picture: Content of the PNG file with images, truth and predictions; None if there is none.
    """

    name: str
    classes: tuple[str, ...]
    matrix: ConfusionMatrix
    picture: bytes | None


@dataclass(frozen=True, eq=False)
class RunFolder:
    """What is known of a run.

    Attributes:
        path: The output folder.
        curves: Name of a scalar, as in `metrics.json` -> its points, in their order.
        unreadable: Number of lines of `metrics.json` that could not be read. A training may be writing the
            last one, or have been killed there.
        sets: The test sets by name.
        facts: Entries of `run.json`, such as `versions`; those of the training, or else of the evaluation.
        config: Content of `config.yaml`; "" if there is none.
        has_best: Whether there is a checkpoint with the best score.
    """

    path: Path
    curves: Mapping[str, Points]
    unreadable: int
    sets: tuple[ScoredSet, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    has_best: bool = False


def read_run_folder(path: str | Path) -> RunFolder:
    """Read the output folder of a run, which may still be going on.

    Args:
        path: The folder, `OUTPUT_DIR` of a training or an evaluation.

    Returns:
        What it holds.

    Raises:
        ConfigError: It is no folder, or holds no files of a run.
        DatasetError: The counts of a set are damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise ConfigError(f"{path} is no folder; name the OUTPUT_DIR of `rskt-seg train` or `rskt-seg eval`")
    facts = _facts(path / RECORD)
    curves, unreadable = _read_curves(path / METRICS, facts.get("max_iter"))
    counts = sorted((path / SETS).glob(f"*{CONFUSION}"))
    if not (facts or curves or counts):
        found = ", ".join(sorted(each.name for each in path.iterdir())[:5]) or "nothing"
        raise ConfigError(
            f"{path} holds no run: expected {METRICS}, {RECORD} or {SETS}/*{CONFUSION}, which `rskt-seg "
            f"train` and `rskt-seg eval` write to OUTPUT_DIR; found {found}"
        )
    return RunFolder(
        path=path,
        curves=curves,
        unreadable=unreadable,
        sets=tuple(_read_set(file) for file in counts),
        facts=facts,
        config=_text(path / CONFIG),
        has_best=(path / "model_best.pth").is_file(),
    )


def _facts(path: Path) -> dict[str, Any]:
    try:
        whole = parse_json(_text(path) or "{}")
    except UnreadableError as error:
        raise ConfigError(f"{path} cannot be read: {error}; remove it, and the page leaves it out") from error
    entries = [whole.get(kind) for kind in _KINDS] if isinstance(whole, dict) else []
    return next((dict(entry) for entry in entries if isinstance(entry, dict) and entry), {})


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        return ""
    except UnreadableError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _read_curves(path: Path, max_iter: object) -> tuple[dict[str, Points], int]:
    curves: dict[str, Points] = {}
    unreadable = 0
    for line in _text(path).splitlines():
        try:
            scalars = json.loads(line)
            iteration = scalars.pop("iteration")
            values = {name: float(value) for name, value in scalars.items()}
            done = int(iteration) + 1
        except (ValueError, TypeError, KeyError, AttributeError):
            unreadable += 1
            continue
        if type(max_iter) is int:  # the last evaluation is written one iteration after the last
            done = min(done, max_iter)
        for name, value in values.items():
            curves.setdefault(name, []).append((done, value))
    return curves, unreadable


def _read_set(path: Path) -> ScoredSet:
    name = path.name.removesuffix(CONFUSION)
    try:
        state = parse_json(read_text(path))
        if not isinstance(state, dict) or not isinstance(state.get("classes"), list):
            raise DatasetError(f"expected the names of its classes; found {brief(state)}")
        matrix = ConfusionMatrix.from_state(state)
        if len(state["classes"]) != matrix.num_classes:
            raise DatasetError(f"{len(state['classes'])} names of {matrix.num_classes} classes")
        matrix.scores()
    except (UnreadableError, DatasetError) as error:
        raise DatasetError(f"{path} is damaged: {error}; evaluate again") from error
    picture = path.with_name(f"{name}.png")
    content = picture.read_bytes() if picture.is_file() else None
    return ScoredSet(name, tuple(map(str, state["classes"])), matrix, content)
