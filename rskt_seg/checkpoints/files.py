"""Reading weight files without ever running what is inside them."""

import argparse
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from rskt_seg.checkpoints.torchscript import is_torchscript, read_torchscript
from rskt_seg.errors import CheckpointError, WeightsNotFoundError

OPTIONS = "options"
"""Where a checkpoint states the options of its model: an entry, or JSON in the metadata of safetensors."""
CLASS_NAMES = "class_names"
"""Where it states, in the same way, what the classes of a closed-set model are called."""
FROZEN = "frozen"
"""Where a checkpoint of trained parts alone states the others: part -> {"source": ..., "digest": ...}."""
TRAINED_ON = "trained_on"
"""Where a checkpoint lists its training sets: {"name", "dataset", "split", "classes"} of each."""
Source = str | os.PathLike[str] | Mapping[str, object]
"""A weight file, or a state dict or checkpoint in memory."""
_WRAPPERS = ("model", "state_dict", "teacher")


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds: its tensors, and if stated the options and the class names of the model it
    was saved from, the frozen parts of it that were left out (see `FROZEN`), and its training sets (see
    `TRAINED_ON`)."""

    state: dict[str, Tensor]
    options: dict[str, object] | None = None
    class_names: tuple[str, ...] | None = None
    frozen: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    trained_on: tuple[Mapping[str, object], ...] = ()


def read_weights(path: str | os.PathLike) -> WeightFile:
    """The tensors of a weight file, on the CPU, under the names they have there.

    Accepts safetensors, `torch.save` files (see `unwrap`), and OpenAI's TorchScript archives, whose tensors
    are read without executing the archive (`rskt_seg.checkpoints.torchscript`). `torch.save` files go through
    the safe loader; the one class it may build besides tensors is `argparse.Namespace`, which the published
    DINO files contain.

    Raises `WeightsNotFoundError` for a missing file; `CheckpointError` for a `.pkl`, for a file the safe
    loader refuses, and for one without tensors.
    """
    path = Path(path)
    if path.suffix == ".pkl":
        raise CheckpointError(
            f"{path}: .pkl files can run code when read; convert it to .pth or .safetensors"
        )
    if not path.is_file():
        found = "is a folder, not a weight file" if path.is_dir() else "does not exist"
        raise WeightsNotFoundError(f"weight file {path} {found}; check the path")
    return unwrap(_read(path), str(path))


def read_source(source: Source) -> tuple[str, WeightFile]:
    """Return how messages call a source, and what it holds. Raises as `read_weights` and `unwrap`."""
    if isinstance(source, Mapping):
        return "state dict", unwrap(source, "state dict")
    return str(source), read_weights(source)


def unwrap(content: object, source: str) -> WeightFile:
    """The state dict inside what was saved: bare, or under Detectron2's `model`, `state_dict`, or DINO's
    `teacher`; `options`, `class_names`, `frozen` and `trained_on` beside it are those of the model.

    Raises `CheckpointError` for anything without tensors.
    """
    beside = content if isinstance(content, Mapping) else {}
    options, names, frozen, sets = (beside.get(key) for key in (OPTIONS, CLASS_NAMES, FROZEN, TRAINED_ON))
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{source}: expected a dictionary of tensors; found {type(content).__name__}")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{source}: holds no tensors; its entries are {sorted(map(str, content))[:10]}")
    return WeightFile(
        tensors,
        options if isinstance(options, dict) else None,
        tuple(map(str, names)) if isinstance(names, list | tuple) else None,
        frozen if isinstance(frozen, dict) else {},
        tuple(sets) if isinstance(sets, list | tuple) else (),
    )


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        if is_torchscript(path):
            return read_torchscript(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be read safely as weights ({_reason(error)}); it may be truncated, or hold "
            "objects other than tensors: save its state dict alone"
        ) from error


def _read_safetensors(path: Path) -> dict:
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    stated = {key: json.loads(metadata[key]) for key in (OPTIONS, CLASS_NAMES, TRAINED_ON) if key in metadata}
    return {"model": load_file(path), **stated}


def _reason(error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    refused = re.search(r"(Unsupported (?:global|class|operand)[^\n.]*\S*)", text)
    return refused[1] if refused else (text.splitlines() or [type(error).__name__])[0]
