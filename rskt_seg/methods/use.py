"""The strategy and the explanations of a model, found by its method."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, get_args, get_origin, get_type_hints

from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.inference.strategies import Strategy
from rskt_seg.methods.load import class_names_of
from rskt_seg.methods.record import NUM_CLASSES, Explanation, Method
from rskt_seg.methods.registry import method_of, registered_methods
from rskt_seg.reading import brief
from rskt_seg.typing import ScoreKind, SegmentationModel
from rskt_seg.vocabulary import VocabularySource, fixed_vocabulary, make_vocabulary


def make_strategy(
    model: SegmentationModel, vocabulary: VocabularySource | None, options: Mapping[str, object]
) -> Strategy:
    """Return the inference strategy for a model, as its method says.

    Args:
        model: A model of a registered method.
        vocabulary: As for `make_vocabulary`; None: the classes of a closed-set model.
        options: Fields of the strategy. Options that only strategies of other methods have are accepted with
            their default value.

    Returns:
        The strategy, which holds the model, the vocabulary and the options.

    Raises:
        ConfigError: An option is unknown, has no effect on this model, or its value cannot be used.
        VocabularyError: The vocabulary does not fit the model.
    """
    method = method_of(model)
    if isinstance(vocabulary, Mapping):
        vocabulary = make_vocabulary(vocabulary)
    if method.is_closed:
        number = int(getattr(model.spec, NUM_CLASSES))
        classes = fixed_vocabulary(class_names_of(model), number, vocabulary)
    elif vocabulary is None:
        raise VocabularyError("open-vocabulary models need class names: pass a vocabulary (--vocabulary)")
    else:
        classes = make_vocabulary(vocabulary)
    return method.strategy(model, classes, **check_options(method, options))


def score_kind(strategy: Strategy) -> ScoreKind:
    """Return what the scores of a model are, once those of several names have become that of a class."""
    kind = method_of(strategy.model).score_kind(strategy.model)
    return "shares" if kind == "probabilities" and strategy.merges_names else kind


def strategy_options(method: Method) -> dict[str, object]:
    """Return the options of `Segmenter` for models of a method: name -> default."""
    return {option.name: option.default for option in fields(method.strategy)[len(fields(Strategy)) :]}


def check_options(method: Method, options: Mapping[str, object]) -> dict[str, object]:
    """Check the names and the types of options of `Segmenter`, whose ranges their strategy checks.

    Args:
        method: The method of the model.
        options: Name -> value. Options that only strategies of other methods have are accepted with their
            default value.

    Returns:
        Those of the strategy of this method.

    Raises:
        ConfigError: An option is unknown, has no effect on models of this method, or is of another type.
    """
    defaults = {each.title: strategy_options(each) for each in registered_methods()}
    own = strategy_options(method)
    for name, value in options.items():
        readers = [title for title, known in defaults.items() if name in known]
        if not readers:
            known = sorted({option for names in defaults.values() for option in names})
            near = get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"options are {', '.join(known)}"
            raise ConfigError(f"a segmenter has no option {brief(name)}; {hint}")
        reader = next(each for each in registered_methods() if each.title == readers[0])
        annotation = get_type_hints(reader.strategy)[name]
        if not _fits(value, annotation):
            kind = getattr(annotation, "__name__", annotation) if not get_args(annotation) else annotation
            raise ConfigError(f"{name} must be of type {kind}; found {brief(value)}")
        if name not in own and value != defaults[readers[0]][name]:
            raise ConfigError(
                f"{name}={value!r} has no effect on {method.title} models; it is an option of "
                f"{' and '.join(readers)}"
            )
    return {name: value for name, value in options.items() if name in own}


def _fits(value: object, annotation: Any) -> bool:
    """Return whether a value is of an annotated type; whole numbers are numbers, truth values are none."""
    parts = get_args(annotation)
    if get_origin(annotation) is Sequence:
        return (
            isinstance(value, Sequence)
            and not isinstance(value, str)
            and all(_fits(entry, parts[0]) for entry in value)
        )
    if parts:
        return any(_fits(value, part) for part in parts)
    if annotation in (int, float):
        return isinstance(value, Integral if annotation is int else Real) and not isinstance(value, bool)
    return isinstance(value, annotation)


def known_explanations() -> dict[str, Explanation]:
    """Return every explanation of every registered method by name."""
    return {name: each for method in registered_methods() for name, each in method.explanations.items()}


def find_explanation(model: SegmentationModel, name: str) -> Explanation:
    """Return an explanation that a model offers.

    Args:
        model: A model of a registered method.
        name: Key of `Method.explanations`, such as "cost_maps".

    Returns:
        The explanation.

    Raises:
        ConfigError: The method has no explanation of this name, or this model was built without it.
    """
    method = method_of(model)
    explanation = method.explanations.get(name)
    if explanation is None:
        others = {
            each.title: each.explanations[name] for each in registered_methods() if name in each.explanations
        }
        if not others:
            known = ", ".join(sorted(known_explanations()))
            raise ConfigError(f"no explanation is called {name!r}; known are {known}")
        label = next(iter(others.values())).label
        *first, last = others
        shown = f"{', '.join(first)} and {last}" if first else last
        raise ConfigError(f"{label} are shown by {shown} models; this model is of {method.title}")
    if reason := explanation.unavailable(model):
        raise ConfigError(f"{explanation.label} are not available: {reason}")
    return explanation
