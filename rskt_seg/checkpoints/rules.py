"""Renaming state dicts by ordered rules, with nothing lost on the way.

The engine keeps three promises: every source key is used exactly once (renamed, split, or dropped with
a reason), every target key is filled exactly once, every shape fits. A table of rules belongs to each
published layout (`rskt`, `clip`, `dino`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from rskt_seg.errors import CheckpointError

_SHOWN = 10


@dataclass(frozen=True)
class Rule:
    """What becomes of the keys that `pattern` matches from their first character on.

    `to` is a replacement in `re` notation. With `split`, the tensor is cut by it into several, named by
    the tuple `to`. Without `to` the key is dropped, and `reason` says why.
    """

    pattern: str
    to: str | tuple[str, ...] | None = None
    reason: str = ""
    split: Callable[[Tensor], Sequence[Tensor]] | None = None


@dataclass
class LoadReport:
    """What a load did. `loaded`: target keys under their own name; `converted`: source key -> target
    keys; `dropped`: source key -> reason."""

    source: str
    loaded: list[str] = field(default_factory=list)
    converted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons: dict[str, int] = {}
        for reason in self.dropped.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        dropped = "".join(f"\n  dropped {count}: {reason}" for reason, count in reasons.items())
        counts = f"{len(self.loaded)} tensors loaded as named, {len(self.converted)} converted"
        return f"{self.source}: {counts}{dropped}"


def convert(state: Mapping[str, Tensor], rules: Sequence[Rule], report: LoadReport) -> dict[str, Tensor]:
    """Apply the first matching rule to every key; keys without a rule keep their name.

    Raises `CheckpointError` where two source keys would fill the same target.
    """
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        match, rule = next(((m, r) for p, r in compiled if (m := p.match(key))), (None, None))
        if rule is not None and rule.to is None:
            report.dropped[key] = rule.reason
            continue
        names = _targets(key, match, rule)
        tensors = [tensor] if rule is None or rule.split is None else rule.split(tensor)
        for name, part in zip(names, tensors, strict=True):
            if name in result:
                raise CheckpointError(f"{report.source}: {name} is given twice, the second time by {key}")
            result[name] = part
        if names == (key,):
            report.loaded.append(key)
        else:
            report.converted[key] = names
    return result


def _targets(key: str, match: re.Match | None, rule: Rule | None) -> tuple[str, ...]:
    if rule is None:
        return (key,)
    templates = (rule.to,) if isinstance(rule.to, str) else rule.to
    return tuple(match.expand(template) + key[match.end() :] for template in templates)


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: str, remedy: str) -> None:
    """Copy `state` into `module`; nothing is copied unless every key and every shape fits.

    Raises `CheckpointError` that lists up to ten missing, unexpected and misshapen keys, and `remedy`.
    """
    own = module.state_dict()
    faults = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [
            f"{key} {tuple(state[key].shape)}, the model has {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
    }
    if any(faults.values()):
        lists = [f"{len(keys)} {what}: {_shorten(keys)}" for what, keys in faults.items() if keys]
        raise CheckpointError(f"{source} does not fit this model; {'; '.join(lists)}. {remedy}")
    module.load_state_dict(state, strict=True)


def _shorten(keys: Sequence[str]) -> str:
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more
