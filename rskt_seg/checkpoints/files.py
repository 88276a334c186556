"""Reading of weight files. No code inside a file is ever executed."""

import argparse
import json
import os
import pickletools
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from rskt_seg.checkpoints.mistaken import find_mistaken
from rskt_seg.checkpoints.torchscript import is_torchscript, read_torchscript
from rskt_seg.errors import CheckpointError, WeightsNotFoundError
from rskt_seg.reading import brief

OPTIONS = "options"
"""Entry of a checkpoint with the options of its model. In safetensors it is JSON in the metadata."""
CLASS_NAMES = "class_names"
"""Entry with the class names of a closed-set model, stored in the same way."""
FROZEN = "frozen"
"""Entry about the frozen encoders that a checkpoint leaves out: role -> {"source": ..., "digest": ...}."""
TRAINED_ON = "trained_on"
"""Entry with the list of training sets: {"name", "dataset", "split", "classes"} of each."""
INFERENCE = "inference"
"""Entry with the options of `rskt_seg.Segmenter` that follow from the configuration of the training."""
LIMITS = "limits"
"""Entry with one line about what the model is not for, which whoever uses it is told."""
Source = str | os.PathLike[str] | Mapping[str, object]
"""A weight file, or a state dict or checkpoint in memory."""
_NESTING = ("model", "state_dict", "model_state_dict", "teacher")
_ZIP = b"PK\x03\x04"
"""The first bytes of a file of `torch.save`, by which torch too tells it from its older formats."""
_TUPLES = 1000
"""The most levels of tuples within tuples; those of `torch.save` have three."""
_PICKLES = 5
"""Pickles at the start of a file of `torch.save` in its older format."""
_LONGEST_LIMITS = 500
_DEEPEST = 3
"""Levels of dictionaries around a state dict that are looked into."""


@dataclass(frozen=True)
class WeightFile:
    """Content of a weight file.

    Attributes:
        state: The tensors.
        options: Options of the model that was saved; None if the file does not state them.
        class_names: Its class names; None if the file does not state them.
        frozen: The frozen encoders that were left out, see `FROZEN`.
        trained_on: The training sets, see `TRAINED_ON`; () if the file does not state them.
        inference: How the model sees images, see `INFERENCE`; None if the file does not state it.
        limits: What the model is not for, see `LIMITS`; "" if the file does not state it.
    """

    state: dict[str, Tensor]
    options: dict[str, object] | None = None
    class_names: tuple[str, ...] | None = None
    frozen: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    trained_on: tuple[Mapping[str, object], ...] = ()
    inference: Mapping[str, object] | None = None
    limits: str = ""


def read_weights(path: str | os.PathLike[str]) -> WeightFile:
    """Read a weight file. Its tensors are on the CPU, under the names of the file.

    Args:
        path: A safetensors file, a `torch.save` file (see `unwrap`), or a TorchScript archive of OpenAI,
            whose tensors are read without executing it (`rskt_seg.checkpoints.torchscript`). `torch.save`
            files are read with `weights_only=True`; besides tensors, only `argparse.Namespace` is allowed,
            which published DINO files contain.

    Returns:
        The tensors of the file, and what it states about the model and its training.

    Raises:
        WeightsNotFoundError: There is no such file.
        CheckpointError: The file is a `.pkl`, something else than weights (see `find_mistaken`), damaged,
            cannot be read safely, or contains no tensors.
    """
    path = Path(path)
    if path.suffix == ".pkl":
        raise CheckpointError(
            f"{path}: .pkl files can run code when read; convert it to .pth or .safetensors"
        )
    if not os.path.isfile(path):  # False, and no error, for names that the system does not take
        found = "is a folder, not a weight file" if os.path.isdir(path) else "does not exist"
        raise WeightsNotFoundError(f"weight file {path} {found}; check the path")
    if mistaken := find_mistaken(path):
        raise CheckpointError(f"{path} is {mistaken.what}, not a weight file; {mistaken.remedy}")
    return unwrap(_read(path), str(path))


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip archive from its first byte on, as `torch.save` writes them."""
    with path.open("rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def check_saved(path: Path) -> None:
    """Check what torch takes from a file of `torch.save` without a look: checksums, sizes and nesting.

    Args:
        path: A file, in the present format (`is_archive`) or an older one, or any other.

    Raises:
        CheckpointError: A byte is not the one that was written, or the file is none of `torch.save`: its
            members are compressed or share bytes, so that reading them could take for ever, or its tuples
            are nested so deeply that hashing them would end the process.
    """
    if is_archive(path):
        _check_archive(path)
        return
    with path.open("rb") as file, suppress(ValueError):  # where something else than pickles begins
        for _ in range(_PICKLES):
            _check_tuples(file, path)


def _check_tuples(stream: IO[bytes], path: Path) -> None:
    """Raise `CheckpointError` if a pickle has tuples within tuples beyond reason; hashes of them recurse."""
    stack: list[int | None] = []  # how many levels of tuples each object has; None: a mark
    memo: dict[object, int] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        name, top = opcode.name, (stack[-1] if stack else 0) or 0  # nothing memorizes a mark
        if name == "MARK":
            stack.append(None)
            continue
        if name.endswith("PUT") or name == "MEMOIZE":
            memo[len(memo) if name == "MEMOIZE" else argument] = top
            continue
        taken = [0]
        before = opcode.stack_before
        if pickletools.markobject in before:
            while stack and (each := stack.pop()) is not None:
                taken.append(each)
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            taken.append((stack.pop() if stack else 0) or 0)
        levels = max(taken) + 1 if "TUPLE" in name and name != "EMPTY_TUPLE" else 0
        if name.endswith("GET"):
            levels = memo.get(argument, 0)
        if levels > _TUPLES:
            raise CheckpointError(
                f"{path}: expected a file of torch.save; found tuples within tuples, over {_TUPLES} levels: "
                "it is a forgery"
            )
        stack += [levels] * len(opcode.stack_after)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            if not stored or sum(member.file_size for member in members) > path.stat().st_size:
                raise CheckpointError(
                    f"{path}: expected an archive as torch.save writes it; found members that are compressed "
                    "or share their bytes: save it again by torch.save"
                )
            broken = archive.testzip()
            for member in members if broken is None else ():
                if member.filename.endswith(".pkl"):
                    with archive.open(member) as file:
                        _check_tuples(file, path)
    except CheckpointError:
        raise
    except Exception as error:  # of a forged or cut archive zipfile raises anything
        raise CheckpointError(
            f"{path}: cannot be read safely, because its archive is truncated or damaged ({error}); get the "
            "file again"
        ) from error
    if broken is not None:
        raise CheckpointError(
            f"{path} is damaged: the checksum of {broken} is wrong, so that its numbers are not those that "
            "were saved; get the file again, or take another checkpoint (one that was saved without "
            "checksums, by torch.serialization.set_crc32_options(False), must be saved again with them)"
        )


def read_source(source: Source) -> tuple[str, WeightFile]:
    """Return the name of a source in messages, and its content. Raises as `read_weights` and `unwrap`."""
    if isinstance(source, Mapping):
        return "state dict", unwrap(source, "state dict")
    return str(source), read_weights(source)


def unwrap(content: object, source: str) -> WeightFile:
    """Return the state dict and the facts inside a checkpoint.

    Args:
        content: A state dict, or a dictionary with one under `model` (Detectron2), `state_dict`,
            `model_state_dict` or `teacher` (DINO), or one in the other, and perhaps `options`, `class_names`,
            `frozen`, `trained_on`, `inference` and `limits` beside the outermost.
        source: Its name in messages.

    Returns:
        The tensors, and the facts that are stated in the expected form; others are ignored.

    Raises:
        CheckpointError: There are no tensors, or several state dicts.
    """
    beside = content if isinstance(content, Mapping) else {}
    options, names, frozen, sets = (beside.get(key) for key in (OPTIONS, CLASS_NAMES, FROZEN, TRAINED_ON))
    inference, limits = beside.get(INFERENCE), beside.get(LIMITS)
    content = _state_dict_in(content, source)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{source}: expected a dictionary of tensors; found {type(content).__name__}")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if unnamed := [key for key in tensors if not isinstance(key, str)]:
        raise CheckpointError(f"{source}: expected tensors by name; found the key {unnamed[0]!r}")
    if not tensors:
        raise CheckpointError(
            f"{source}: expected a state dict, found no tensors; its entries begin with "
            f"{', '.join(sorted(map(str, content))[:10]) or 'nothing'}"
        )
    return WeightFile(
        tensors,
        options if isinstance(options, dict) else None,
        tuple(map(str, names)) if isinstance(names, list | tuple) else None,
        _frozen_facts(frozen, source),
        tuple(sets) if isinstance(sets, list | tuple) else (),
        inference if isinstance(inference, dict) else None,
        " ".join(limits.split())[:_LONGEST_LIMITS] if isinstance(limits, str) else "",
    )


def _state_dict_in(content: object, source: str) -> object:
    for _ in range(_DEEPEST):
        holders = [key for key in _NESTING if isinstance(content, Mapping) and _holds(content.get(key))]
        if len(holders) > 1:
            raise CheckpointError(
                f"{source}: expected one state dict, found several: {', '.join(holders)}; save the one that "
                "is meant in a file of its own"
            )
        if not holders or not isinstance(content, Mapping):
            break
        content = content[holders[0]]
    return content


def _holds(entry: object) -> bool:
    """Return whether an entry of a checkpoint is a dictionary with something in it."""
    return isinstance(entry, Mapping) and bool(entry)


def _frozen_facts(stated: object, source: str) -> Mapping[str, Mapping[str, str]]:
    if stated is None:
        return {}
    entries = stated.values() if isinstance(stated, dict) else [None]
    facts = ("source", "digest")
    if not all(
        isinstance(each, dict) and all(type(each.get(key)) is str for key in facts) for each in entries
    ):
        raise CheckpointError(
            f"{source}: what it states of frozen encoders is damaged; expected role -> source and digest, "
            f"found {brief(stated)}"
        )
    frozen: Mapping[str, Mapping[str, str]] = stated if isinstance(stated, dict) else {}
    return frozen


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open
            from safetensors.torch import load_file

            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
            facts = [key for key in (OPTIONS, CLASS_NAMES, TRAINED_ON, INFERENCE, LIMITS) if key in metadata]
            return {"model": load_file(path), **{key: json.loads(metadata[key]) for key in facts}}
        if is_torchscript(path):
            return read_torchscript(path)
        check_saved(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:
        text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
        refused = re.search(r"(Unsupported (?:global|class|operand)[^\n.]*\S*)", text)
        # torch's own first lines advise to load without its protection.
        safe = re.search(r"WeightsUnpickler error: ([^\n]+)", text)
        found = refused or safe
        reason = found[1] if found else (text.splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: cannot be read safely as weights ({reason}); it may be truncated, or contain "
            "objects other than tensors: save its state dict alone"
        ) from error
