"""What `rskt-seg analyze` stated of models, read again from its JSON files to stand beside scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rskt_seg.errors import ConfigError, DatasetError, UnreadableError
from rskt_seg.metrics.results import CostFigures, EvaluatedModel, ImageFigures
from rskt_seg.metrics.stored import NAMED, StoredRun, stored_model
from rskt_seg.reading import brief, parse_json, read_bytes

ANALYSIS = "analyze.json"
"""Name of the analysis in the folder that `rskt-seg analyze --output` writes."""
_RUN = f"run `rskt-seg analyze --output FOLDER`, which writes {ANALYSIS}"
_AGAIN = f"remove it and run `rskt-seg analyze --output FOLDER` again, which writes {ANALYSIS}"
_NONE_BESIDE = (
    f"no {ANALYSIS} beside its report; `rskt-seg analyze --config-file FILE --output FOLDER` writes one "
    "there, or name it with --costs"
)


@dataclass(frozen=True)
class StoredAnalysis:
    """A file of `rskt-seg analyze`.

    Attributes:
        model: What was analyzed, with the augmentation of its configuration.
        plain: Cost of an image.
        views: Cost of an image with the views of test-time augmentation; None: not stated.
    """

    model: EvaluatedModel
    plain: CostFigures
    views: CostFigures | None

    def differences(self, model: EvaluatedModel) -> list[str]:
        """Return what an evaluated model has other than the analyzed one, each fact with both values.

        Of another method that alone is returned, as its options have other meanings.
        """
        if model.method != self.model.method:
            return [f"method is {self.model.method}, of the run {model.method}"]
        mine, others = _facts(self.model), _facts(model)
        if model.augmentation is None:  # the pass without views, which the analysis states too
            mine, others = ({k: v for k, v in each.items() if k[0] != _VIEWS} for each in (mine, others))
        return [
            _difference(" ".join(filter(None, key)), mine.get(key), others.get(key))
            for key in dict.fromkeys([*mine, *others])
            if mine.get(key) != others.get(key)
        ]

    def figures(self, augmented: bool) -> CostFigures | None:
        """Return the cost of an image, alone or with its views; None if it is not stated."""
        return self.views if augmented else self.plain


_VIEWS = "augmentation"


def _difference(name: str, mine: object, other: object) -> str:
    if other is None:
        return f"{name} is {brief(mine)}, not set in the run"
    return f"{name} is {'not set' if mine is None else brief(mine)}, of the run {brief(other)}"


def _facts(model: EvaluatedModel) -> dict[tuple[str, str], Any]:
    """Return (group, name) -> value of everything that decides the cost of an image of a size."""
    facts: dict[tuple[str, str], Any] = {}
    for group in ("options", "evaluation", _VIEWS):
        values: Mapping[str, Any] = getattr(model, group) or {}
        facts |= {("" if group == "options" else group, name): value for name, value in values.items()}
    return facts


def read_analysis(path: Path) -> StoredAnalysis:
    """Read a file of `rskt-seg analyze --output`.

    Args:
        path: The file, or the folder of it.

    Returns:
        The analysis.

    Raises:
        DatasetError: There is no such file, or it is no analysis.
    """
    file = path / ANALYSIS if path.is_dir() else path
    tree = _read_tree(file)
    try:
        if not isinstance(tree, dict):
            raise ValueError(f"found {brief(tree)}")
        model = stored_model(tree)
        plain = _figures(file, tree, [(image, image["measured"]) for image in tree["images"]])
        views = [image["augmented"] for image in tree["images"]]
        augmented = None
        if None not in views:
            sized = [
                ({**view, "height": image["height"], "width": image["width"]}, None)
                for view, image in zip(views, tree["images"], strict=True)
            ]
            augmented = replace(_figures(file, tree, sized), augmented=True)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = str(error) if isinstance(error, ValueError) else "a field of it is of another kind"
        what = f"it lacks {error}" if isinstance(error, KeyError) else what
        raise DatasetError(
            f"{file} is no analysis of `rskt-seg analyze` of this version: {what}; {_AGAIN}"
        ) from error
    return StoredAnalysis(model, plain, augmented)


def _read_tree(file: Path) -> object:
    try:
        content = read_bytes(file)
    except FileNotFoundError as error:
        raise DatasetError(f"{file} cannot be read as a cost: it does not exist; {_RUN}") from error
    except UnreadableError as error:
        why = f"it is a folder; {_AGAIN}" if file.is_dir() else str(error)
        raise DatasetError(f"{file} cannot be read as a cost: {why}") from error
    try:
        return parse_json(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, UnreadableError) as error:
        # Nobody writes this file by hand, so that where its JSON breaks off helps nobody.
        raise DatasetError(
            f"{file} cannot be read as a cost: it is damaged, no whole JSON text; {_AGAIN}"
        ) from error


def _figures(
    file: Path, tree: Mapping[str, Any], images: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]]
) -> CostFigures:
    found = []
    for image, measured in images:
        given = measured or {"median_seconds": None, "memory_peak": None}
        on = ""
        if measured:
            on = (
                f"{measured['device']}, {int(measured['threads'])} threads, torch {tree['versions']['torch']}"
            )
        seconds, memory, crops = given["median_seconds"], given["memory_peak"], image["crops"]
        sides = _count(image["height"]), _count(image["width"])
        found.append(
            ImageFigures(
                *sides,
                _count(image["flops"]),
                None if crops is None else _count(crops),
                None if seconds is None else float(seconds),
                None if memory is None else _count(memory),
                on,
            )
        )
    if not found:
        raise ValueError("it has no image")
    parameters = tree["parameters"]
    sizes = _count(parameters["total"]), _count(parameters["trained"])
    return CostFigures(str(file), str(tree["rule"]), _count(tree["classes"]), *sizes, tuple(found))


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"found {brief(value)} in place of a whole number")
    return value


def with_costs(runs: Sequence[StoredRun], named: Sequence[tuple[str, Path]] = ()) -> list[StoredRun]:
    """Set the costs of runs, each from the analysis of its own model.

    Args:
        runs: The runs.
        named: (title, path) of analyses. One without a title belongs to every run whose model it is of. A run
            without any takes the analysis beside its report.

    Returns:
        The runs, each with its cost or with the reason why it has none.

    Raises:
        ConfigError: An analysis is of the model of no run, or of another than that of the run with its title,
            or two belong to one run.
        DatasetError: A named file cannot be read.
    """
    chosen: dict[int, StoredAnalysis] = {}
    for title, path in named:
        analysis = read_analysis(path)
        for number in _owners(runs, title, analysis, path):
            if number in chosen:
                raise ConfigError(
                    f"--costs: {chosen[number].plain.source} and {analysis.plain.source} are both of "
                    f"{runs[number].title}; name one (`rskt-seg analyze --sizes` takes several sizes)"
                )
            chosen[number] = analysis
    return [_with_cost(run, chosen.get(number)) for number, run in enumerate(runs)]


def _owners(runs: Sequence[StoredRun], title: str, analysis: StoredAnalysis, path: Path) -> list[int]:
    """Return the indices of the runs that an analysis belongs to; at least one."""
    if title:
        owners = [number for number, run in enumerate(runs) if run.title == title]
        if not owners:
            known = ", ".join(dict.fromkeys(run.title for run in runs))
            raise ConfigError(f"--costs: no run is called {title!r}; the runs are {known}; {NAMED}")
    else:
        owners = [number for number, run in enumerate(runs) if run.model is not None]
        if not owners:
            raise ConfigError(f"--costs: no run states its model; name the one of {path} as TITLE={path}")
    # Of predictions of another program nothing is known; that the model is theirs is the user's word.
    differing = {n: analysis.differences(model) for n in owners if (model := runs[n].model) is not None}
    others = [f"{', '.join(found)} ({runs[n].title})" for n, found in differing.items() if found]
    if others and (title or len(others) == len(owners)):
        raise ConfigError(f"--costs: {path} is of another model: {'; '.join(others)}")
    return [number for number in owners if not differing.get(number)]


def _with_cost(run: StoredRun, analysis: StoredAnalysis | None) -> StoredRun:
    """Return a run with its cost, or with the reason why it has none."""
    beside = run.report.parent / ANALYSIS
    if analysis is None:
        if not beside.exists():
            return replace(run, no_cost=_NONE_BESIDE)
        try:
            analysis = read_analysis(beside)
        except DatasetError as error:
            return replace(run, no_cost=str(error))
        if run.model is None:
            return replace(run, no_cost=f"its report states no model of which {beside} could be")
        if differing := analysis.differences(run.model):
            return replace(run, no_cost=f"{beside} is of another model: {', '.join(differing)}")
    augmented = run.model is not None and run.model.augmentation is not None
    cost = analysis.figures(augmented)
    if cost is None:
        return replace(run, no_cost=f"{analysis.plain.source} has no cost with test-time augmentation")
    return replace(run, cost=cost)
