"""Prefixes that wrappers of a model put before all names of its weights."""

from collections.abc import Collection, Mapping
from itertools import takewhile

from torch import Tensor

_WRAPPERS = ("_orig_mod.", "module.", "model.", "sem_seg_head.model.")
"""torch.compile; distributed training; trainers that hold the model as `model`; Detectron2."""


def shared_prefixes(keys: Collection[str]) -> tuple[str, ...]:
    """Return the prefixes of wrappers that all keys share.

    Args:
        keys: Key names of a state dict.

    Returns:
        From the shortest to the longest, such as ("module.", "module._orig_mod."); () if there is none.
    """
    found: list[str] = []
    prefix, grows = "", bool(keys)
    while grows:
        grows = False
        for wrapper in _WRAPPERS:
            if all(key.startswith(prefix + wrapper) and key != prefix + wrapper for key in keys):
                prefix, grows = prefix + wrapper, True
                found.append(prefix)
                break
    return tuple(found)


def common_prefix(keys: Collection[str]) -> str:
    """Return the longest beginning that all keys share and that ends in a dot; "" if there is none."""
    parents = (key.split(".")[:-1] for key in keys)
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*parents, strict=False))
    return "".join(f"{level[0]}." for level in shared)


def without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return a state dict without a prefix that all its keys share."""
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()}


def source_without(source: str, prefix: str) -> str:
    """Return the name of a source in messages and reports, which says that a prefix was removed."""
    return f"{source} (without the prefix {prefix!r} of all its names)" if prefix else source
