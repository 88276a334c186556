"""Conversion of state dicts by ordered rules, and strict loading.

`convert` uses every source key exactly once (renamed, split, or dropped with a reason) and fills every target
key at most once; `load_strict` then requires every key and every shape to fit. Each foreign layout of
checkpoints has its own table of rules.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from rskt_seg.errors import CheckpointError
from rskt_seg.finite import describe_not_finite

_LISTED = 10
"""Keys that an error message lists of each fault."""


@dataclass(frozen=True)
class Rule:
    """What becomes of the keys that `pattern` matches at their beginning.

    Attributes:
        pattern: Regular expression for the beginning of a key. The rest of the key is kept.
        to: Replacement of the matched part, in the notation of `re`; None drops the key. With `split`, a
            tuple with the replacement for each part.
        reason: Why the key is dropped.
        split: Cuts the tensor into as many parts as `to` has entries.
    """

    pattern: str
    to: str | tuple[str, ...] | None = None
    reason: str = ""
    split: Callable[[Tensor], Sequence[Tensor]] | None = None


@dataclass
class LoadReport:
    """What was loaded, converted and dropped.

    Attributes:
        source: Name of the file in messages, with the prefix that was removed from all of its names, if any.
        loaded: Target keys that have the same name in the file.
        converted: Source key -> target keys.
        dropped: Source key -> reason.
    """

    source: str
    loaded: list[str] = field(default_factory=list)
    converted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        reasons = Counter(self.dropped.values())
        dropped = "".join(f"\n  dropped {count}: {reason}" for reason, count in reasons.items())
        counts = f"{len(self.loaded)} tensors loaded as named, {len(self.converted)} converted"
        return f"{self.source}: {counts}{dropped}"


def convert(state: Mapping[str, Tensor], rules: Sequence[Rule], report: LoadReport) -> dict[str, Tensor]:
    """Apply the first matching rule to every key. Keys without a matching rule keep their name.

    Args:
        state: State dict.
        rules: Rules in the order of precedence.
        report: Is extended by what was loaded, converted and dropped.

    Returns:
        The state dict under the target names.

    Raises:
        CheckpointError: Two source keys have the same target.
    """
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        match, rule = next(((m, r) for p, r in compiled if (m := p.match(key))), (None, None))
        names: tuple[str, ...] = (key,)
        tensors: Sequence[Tensor] = (tensor,)
        if match is not None and rule is not None:
            if rule.to is None:
                report.dropped[key] = rule.reason
                continue
            templates = (rule.to,) if isinstance(rule.to, str) else rule.to
            names = tuple(match.expand(template) + key[match.end() :] for template in templates)
            tensors = rule.split(tensor) if rule.split else tensors
        for name, part in zip(names, tensors, strict=True):
            if name in result:
                raise CheckpointError(
                    f"{report.source}: {name} is given twice, the second time by {key}; expected one tensor"
                )
            result[name] = part
        if names == (key,):
            report.loaded.append(key)
        else:
            report.converted[key] = names
    return result


def describe_misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Compare the names and shapes of a state dict with those of a model.

    Args:
        own: State dict of the model.
        state: What is to be copied into it, under its names.

    Returns:
        What is missing, unexpected, of another shape or cannot be copied, with up to ten names of each; "" if
        everything fits.
    """
    faults = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [
            f"{key} {tuple(state[key].shape)}, the model has {tuple(own[key].shape)}"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
        # copy_ would fail half way, copy nothing, or drop the imaginary part.
        "that are no plain tensors": [
            key
            for key, tensor in state.items()
            if key in own
            and (
                tensor.layout != torch.strided
                or tensor.is_quantized
                or tensor.is_meta
                or (tensor.is_complex() and not own[key].is_complex())
            )
        ],
    }
    return "; ".join(
        f"{len(keys)} {what}: {', '.join(keys[:_LISTED])}"
        + (f", and {len(keys) - _LISTED} more" if len(keys) > _LISTED else "")
        for what, keys in faults.items()
        if keys
    )


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: str, remedy: str) -> None:
    """Copy a state dict into a module if every key and every shape fits, otherwise nothing.

    Args:
        module: The module to fill.
        state: State dict under its names.
        source: Name of the file in messages.
        remedy: Advice at the end of the message, as a sentence without a full stop.

    Raises:
        CheckpointError: Keys are missing, unexpected or of another shape, or a tensor is sparse, quantized,
            complex or without data, or has values that are not finite; up to ten of each are listed.
    """
    own = module.state_dict()
    if misfit := describe_misfit(own, state):
        raise CheckpointError(f"{source} does not fit this model; {misfit}. {remedy}")
    # In the precision of the model, in which large values can become infinite.
    if broken := describe_not_finite((key, tensor.to(own[key].dtype)) for key, tensor in state.items()):
        raise CheckpointError(
            f"{source} has values that are not finite (NaN, infinity) in {broken}; nothing is loaded. Its "
            "training diverged, or the file is damaged: take an earlier checkpoint, or get the file again"
        )
    module.load_state_dict(state, strict=True)
