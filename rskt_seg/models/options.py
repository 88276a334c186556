"""Checks of the options of a specification (`rskt_seg.typing.Spec`)."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import get_args, get_origin, get_type_hints

from rskt_seg.errors import ConfigError
from rskt_seg.typing import Spec

Range = tuple[float, float | None]
"""Least and greatest value of an option, both permitted; None: no upper limit."""


def check_options(spec: Spec, choices: Mapping[str, Sequence[str]], ranges: Mapping[str, Range]) -> None:
    """Check the value of every field of a specification, and bring it to its annotated type in place.

    An int may stand for a float and a list for a tuple. Nothing else is converted: True is no int.

    Args:
        spec: Specification that is being constructed.
        choices: Option -> permitted values.
        ranges: Option -> least and greatest value; for a tuple, of each of its entries. NaN is outside.

    Raises:
        ConfigError: A value is not of the annotated type, not among its choices, or outside its range.
    """
    annotations = get_type_hints(type(spec))
    for field in fields(spec):
        name, value = field.name, getattr(spec, field.name)
        if name in choices and value not in choices[name]:
            raise ConfigError(f"{name} must be one of {', '.join(choices[name])}; found {value!r}")
        converted = _convert(name, value, annotations[name])
        if name in ranges:
            _check_range(name, converted, *ranges[name])
        object.__setattr__(spec, name, converted)


def refuse_unread(spec: Spec, names: Sequence[str], choice: str) -> None:
    """Raise if an option was changed that the model does not read: the change would have no effect.

    Args:
        spec: Specification whose options are compared with their defaults.
        names: Options that the model does not read.
        choice: What makes it so, for the message: for example "dino=False".

    Raises:
        ConfigError: One of `names` differs from its default.
    """
    defaults = {field.name: field.default for field in fields(spec)}
    for name in names:
        value = getattr(spec, name)
        if value != defaults[name]:
            raise ConfigError(
                f"{name}={value!r} has no effect with {choice}; leave it at {defaults[name]!r} or choose "
                "otherwise"
            )


_Scalar = bool | int | float | str


def _convert(name: str, value: object, annotation: type) -> _Scalar | tuple[_Scalar, ...]:
    if get_origin(annotation) is tuple:
        kind, _ = get_args(annotation)
        if not isinstance(value, tuple | list) or not all(_fits(entry, kind) for entry in value):
            raise ConfigError(f"{name} must be a tuple of {kind.__name__}; found {value!r}")
        return tuple(kind(entry) for entry in value)
    if not _fits(value, annotation):
        raise ConfigError(f"{name} must be of type {annotation.__name__}; found {value!r}")
    return annotation(value)


def _fits(value: object, kind: type) -> bool:
    return type(value) is kind or (kind is float and type(value) is int)


def _check_range(
    name: str, value: _Scalar | tuple[_Scalar, ...], least: float, greatest: float | None
) -> None:
    for entry in value if isinstance(value, tuple) else (value,):
        # Written so that NaN, which compares to nothing, is refused.
        if isinstance(entry, str) or not (entry >= least and (greatest is None or entry <= greatest)):
            span = f"at least {least}" if greatest is None else f"between {least} and {greatest}"
            raise ConfigError(f"{name} must be {span}; found {value!r}")
