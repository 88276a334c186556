"""What specifications of models have in common: checks of their options."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields

from rskt_seg.errors import ConfigError

Range = tuple[float, float | None]
"""Least and largest value; None: no limit."""


def check_options(spec: object, choices: Mapping[str, Sequence[str]], ranges: Mapping[str, Range]) -> None:
    """Check every field of a frozen dataclass, in place; an int may stand for a float, a list for a tuple.

    The kind of a field is that of its default (int without one). Raises `ConfigError` for a value of another
    kind, outside its `choices`, or outside its range.
    """
    for field in fields(spec):
        value = getattr(spec, field.name)
        kind = int if field.default is MISSING else type(field.default)
        object.__setattr__(spec, field.name, _checked(field.name, value, kind, choices, ranges))


def refuse_unread(spec: object, names: Sequence[str], choice: str) -> None:
    """Raise `ConfigError` where one of the options `names`, which `choice` leaves unread, was changed."""
    defaults = {field.name: field.default for field in fields(spec)}
    for name in names:
        if getattr(spec, name) != defaults[name]:
            raise ConfigError(
                f"{name}={getattr(spec, name)!r} has no effect with {choice}; leave it at "
                f"{defaults[name]!r} or choose otherwise"
            )


def _checked(
    name: str, value: object, kind: type, choices: Mapping[str, Sequence[str]], ranges: Mapping[str, Range]
) -> object:
    if name in choices:
        if value not in choices[name]:
            raise ConfigError(f"{name} must be one of {', '.join(choices[name])}; found {value!r}")
        return value
    fits = (
        type(value) is kind or (kind is float and type(value) is int) or (kind, type(value)) == (tuple, list)
    )
    if not fits:
        raise ConfigError(f"{name} must be of type {kind.__name__}; found {value!r}")
    if name in ranges:
        least, most = ranges[name]
        for each in value if kind is tuple else (value,):
            if not (each >= least and (most is None or each <= most)):
                span = f"at least {least}" if most is None else f"between {least} and {most}"
                raise ConfigError(f"{name} must be {span}; found {value!r}")
    return kind(value)
