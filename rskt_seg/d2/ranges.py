"""Values that a configuration may have: one table of ranges, and what no key may hold."""

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Any, NamedTuple

from rskt_seg.errors import ConfigError
from rskt_seg.methods.optimize import PRECISIONS
from rskt_seg.metrics.report import SUMMARY
from rskt_seg.reading import brief


class Range(NamedTuple):
    """The numbers that a key may have.

    Attributes:
        words: What completes "KEY must be ...".
        holds: Whether a finite number is one of them.
        whole: Whether they are integers.
    """

    words: str
    holds: Callable[[float], bool]
    whole: bool = False


class Rule(NamedTuple):
    """The values that a key may have, where they are no single number.

    Attributes:
        words: What completes "KEY must be ...".
        holds: Whether a value, of the type that the default has, is one of them.
    """

    words: str
    holds: Callable[[Any], bool]


_ABOVE_0 = Range("above 0", lambda value: value > 0)
_RATE = Range("above 0, at most 1000", lambda value: 0 < value <= 1000)
_AT_LEAST_0 = Range("at least 0", lambda value: value >= 0)
_SHARE = Range("above 0, at most 1", lambda value: 0 < value <= 1)
_BELOW_1 = Range("at least 0 and below 1", lambda value: 0 <= value < 1)
_FROM_0 = _AT_LEAST_0._replace(whole=True)
_FROM_1 = Range("at least 1", lambda value: value >= 1, whole=True)
_SEED = Range("below 2147483648 (negative: another one in each run)", lambda value: value < 2**31, whole=True)

RANGES: Mapping[str, Range] = {
    "DATALOADER.NUM_WORKERS": _FROM_0,
    "DATASETS.MIN_LABEL_PIXELS": _FROM_1,
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": _SHARE,
    "INPUT.MAX_SIZE_TEST": _FROM_1,
    "INPUT.MAX_SIZE_TRAIN": _FROM_1,
    "INPUT.MIN_SIZE_TEST": _FROM_0,
    "SEED": _SEED,
    "SOLVER.BASE_LR": _RATE,
    "SOLVER.CHECKPOINT_PERIOD": _FROM_1,
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": _ABOVE_0,
    "SOLVER.CLIP_MULTIPLIER": Range("at least 0, at most 1000", lambda value: 0 <= value <= 1000),
    "SOLVER.IMS_PER_BATCH": _FROM_1,
    "SOLVER.MAX_ITER": _FROM_1,
    "SOLVER.MOMENTUM": _BELOW_1,
    "SOLVER.REFERENCE_WORLD_SIZE": _FROM_0,
    "SOLVER.WEIGHT_DECAY": _AT_LEAST_0,
    "SOLVER.WEIGHT_DECAY_EMBED": _AT_LEAST_0,
    "SOLVER.WEIGHT_DECAY_NORM": _AT_LEAST_0,
    "LOG_PERIOD": _FROM_1,
    "TEST.EVAL_PERIOD": Range("at least -1 (-1: after each epoch)", lambda value: value >= -1, whole=True),
    "TEST.PATIENCE": _FROM_0,
    "TEST.PICTURES": _FROM_0,
}
"""Key -> its numbers, whatever the method. Ranges that depend on other keys are checked elsewhere."""


def _one_of(*choices: str) -> Rule:
    return Rule(f"one of {', '.join(choices)}", lambda value: value in choices)


def _each(kind: type | UnionType, value: object, length: int = 0) -> bool:
    """Return whether a value is a list or tuple of a type, and of a length unless that is 0."""
    if not isinstance(value, list | tuple) or (length and len(value) != length):
        return False
    return all(isinstance(each, kind) and not isinstance(each, bool) for each in value)


_NAMES = Rule("names in a tuple, such as ('DLRSD_train_sem_seg',)", lambda value: _each(str, value))
_RULES: Mapping[str, Rule] = {
    "DATASETS.OWN": Rule("YAML files in a tuple, such as ('farm.yaml',)", lambda value: _each(str, value)),
    "DATASETS.TEST": _NAMES,
    "DATASETS.TRAIN": _NAMES,
    "INPUT.CROP.SIZE": Rule(
        "two numbers above 0, height and width",
        lambda value: _each(int | float, value, 2) and min(value) > 0,
    ),
    "INPUT.CROP.TYPE": _one_of("absolute", "absolute_range", "relative", "relative_range"),
    "INPUT.MIN_SIZE_TRAIN": Rule(
        "one or more sizes (px) of at least 1",
        lambda value: _each(int, value) and len(value) > 0 and min(value) >= 1,
    ),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": _one_of("choice", "range"),
    "MODEL.PRECISION": _one_of(*PRECISIONS),
    "MODEL.UNKNOWN_WORDS": _one_of("refused", "noise"),
    "OUTPUT_DIR": Rule("the name of a folder", lambda value: bool(value.strip())),
    "SOLVER.AMP.DTYPE": _one_of("auto", "float16", "bfloat16"),
    "TEST.BEST_BY": Rule(f"one of {', '.join(SUMMARY)}, or empty", lambda value: value in ("", *SUMMARY)),
    "TEST.EXPECTED_RESULTS": Rule(
        "lists of [dataset, task, metric, value, tolerance]",
        lambda value: _each(list | tuple, value) and all(len(each) == 5 for each in value),
    ),
}
"""Key -> what else than a number it may hold."""

_INFINITE = ("SOLVER.CLIP_GRADIENTS.NORM_TYPE",)
"""Keys for which infinity has a meaning: the norm that is the largest value."""


def leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the full name and the value of every key of a configuration.

    Args:
        tree: Sections, nested.
        prefix: What the names begin with.

    Yields:
        Such as ("SOLVER.BASE_LR", 0.001).
    """
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from leaves(value, name + ".")
        else:
            yield name, value


def literal(value: object) -> object:
    """Return the value of a key as Detectron2 reads it: a text that is a Python literal is that literal."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def check_given(given: Mapping[str, object], source: str) -> None:
    """Check the values that a file or the command line gives, before their types are compared.

    Args:
        given: Full name of a key -> value; texts are read as Detectron2 reads them.
        source: The file, or "command line".

    Raises:
        ConfigError: A value is outside of its range.
    """
    for key, value in given.items():
        if (allowed := RANGES.get(key)) is not None:
            _check(key, literal(value), allowed, f"{source}: ")


def check_values(cfg: Mapping[str, object]) -> None:
    """Check the values of a complete configuration.

    Args:
        cfg: The configuration.

    Raises:
        ConfigError: A number is outside of its range, not a number or infinite; or a text has a zero byte,
            which no file can have in its name.
    """
    for key, value in leaves(cfg):
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, float) and not math.isfinite(each) and key not in _INFINITE:
                expected = RANGES[key].words if key in RANGES else "a finite number"
                raise ConfigError(f"{key} must be {expected}; found {each}")
            if isinstance(each, str) and "\0" in each:
                raise ConfigError(f"{key} must be a text without zero bytes; found {brief(each)}")
        if (allowed := RANGES.get(key)) is not None:
            _check(key, value, allowed)
        if (rule := _RULES.get(key)) is not None and not rule.holds(value):
            raise ConfigError(f"{key} must be {rule.words}; found {brief(value)}")


def _check(key: str, value: object, allowed: Range, where: str = "") -> None:
    # Not isinstance: True is an int.
    right = type(value) is int or (type(value) is float and not allowed.whole and math.isfinite(value))
    if not right or not isinstance(value, int | float) or not allowed.holds(value):
        kind = "an integer, " if allowed.whole and type(value) is not int else ""
        raise ConfigError(f"{where}{key} must be {kind}{allowed.words}; found {brief(value)}")
