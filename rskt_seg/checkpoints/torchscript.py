"""Reading of tensors from TorchScript archives, the format of OpenAI's CLIP files, without executing them.

`torch.jit.load` runs the `__setstate__` of an archive, which can read and write any file of the user. Here
the object tree in `data.pkl` is rebuilt from an allow-list of names instead: modules become dictionaries of
attributes, storages are the uncompressed members below `data/`, and code is ignored.
"""

import io
import math
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rskt_seg.errors import CheckpointError

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
_LARGEST_TREE = 64 * 2**20
"""Largest accepted size of `data.pkl` in bytes; that of ViT-L/14@336px has 0.1 MB."""
_MOST_TUPLES = 20_000
"""Tuples that `data.pkl` may have; that of ViT-L/14@336px has some 2,000."""


class _Object(dict[str, object]):
    """A module of the archive: attribute -> value."""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("it has an object with a custom state, which only its code can read")
        self.update(state)


def is_torchscript(path: Path) -> bool:
    """Return whether a file is a zip archive as written by `torch.jit.save`."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript archive by their dotted names, on the CPU.

    All tensor attributes are read: parameters, buffers and others. Checksums of the members are verified.

    Args:
        path: File for which `is_torchscript` is True.

    Raises:
        CheckpointError: The archive has compressed members, or anything besides modules, tensors and plain
            values.
    """
    with zipfile.ZipFile(path) as archive:
        trees = [info for info in archive.infolist() if info.filename.split("/", 1)[-1] == "data.pkl"]
        try:
            if len(trees) != 1 or trees[0].file_size > _LARGEST_TREE:
                raise pickle.UnpicklingError(f"expected one data.pkl of at most {_LARGEST_TREE} bytes")
            root, content = trees[0].filename.removesuffix("data.pkl"), archive.read(trees[0])
            _check_stream(content)
            tree = _ArchiveUnpickler(io.BytesIO(content)).load()
            if not isinstance(tree, _Object):
                raise pickle.UnpicklingError(f"expected a module; found {type(tree).__name__}")
            return _read_tensors(dict(_named_tensors(tree)), archive, f"{root}data/")
        except Exception as error:  # a forged stream can make the unpickler and torch raise anything
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"{path}: a TorchScript archive from which tensors cannot be read without running its code "
                f"({reason}). If you trust its origin, save torch.jit.load(path).state_dict() as "
                ".safetensors on a machine without valuable data, and use that"
            ) from error


def _check_stream(content: bytes) -> None:
    """Refuse what would exhaust the C unpickler: memory by memo indices, the stack by tuples."""
    tuples = 0
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise pickle.UnpicklingError("it has a memo index beyond the stream")
        tuples += opcode.name.startswith("TUPLE")
    if tuples > _MOST_TUPLES:  # nested in each other, they would be hashed by recursion
        raise pickle.UnpicklingError(f"it has more than {_MOST_TUPLES} tuples")


class _Storage(NamedTuple):
    """A storage of the archive, before it is read."""

    key: str
    dtype: torch.dtype
    items: int


class _Stored:
    """A tensor of the archive, before it is read; no torch object is within reach of the stream."""

    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(self, storage: object, offset: object, size: object, stride: object, *_: object) -> None:
        shape = size if isinstance(size, tuple) else ()
        steps = stride if isinstance(stride, tuple) else ()
        whole = all(type(number) is int for number in (*shape, *steps))
        if (
            not isinstance(storage, _Storage)
            or not isinstance(offset, int)
            or not whole
            or len(shape) != len(steps)
        ):
            raise pickle.UnpicklingError("it has a tensor that is described otherwise than torch does")
        # as_strided checks the bounds of the storage, but a stride of 0 repeats items without limit.
        if math.prod(shape) > storage.items:
            raise pickle.UnpicklingError("it has a tensor larger than its storage")
        self.storage, self.offset = storage, offset
        self.size: tuple[int, ...] = shape
        self.stride: tuple[int, ...] = steps

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes a tensor after it was described")


class _ArchiveUnpickler(pickle.Unpickler):
    """An unpickler that builds modules (as dictionaries), descriptions of tensors and plain values only."""

    def find_class(self, module: str, name: str) -> object:
        """Return what stands here for a global of the stream; refuse all that is not on the list."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Object
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A new class for each archive, because a stream can set attributes of what it is given.
            return type("_Stored", (_Stored,), {"__slots__": ()})
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: object) -> _Storage:
        """Return a storage; `pid` is ("storage", dtype, key, location, number of items)."""
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), str(), int(count)) if re.fullmatch(
                r"\d+", key
            ):
                return _Storage(key, dtype, count)
        raise pickle.UnpicklingError("it has a storage of an unknown kind")


def _read_tensors(stored: Mapping[str, _Stored], archive: zipfile.ZipFile, folder: str) -> dict[str, Tensor]:
    """Read the tensors that were described, each into memory of its own."""
    storages: dict[str, Tensor] = {}
    wanted = 0
    for tensor in stored.values():
        key, dtype, count = tensor.storage
        wanted += math.prod(tensor.size) * dtype.itemsize
        if key in storages:
            continue
        info = archive.getinfo(f"{folder}{key}")
        # An uncompressed member cannot be larger than the file itself.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {key} is compressed or not of the size stated")
        content = bytearray(archive.read(info))
        storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
    if wanted > 8 * sum(storage.nbytes for storage in storages.values()):
        raise pickle.UnpicklingError("its tensors repeat their storages many times over")
    return {
        name: storages[tensor.storage.key]
        .view(tensor.storage.dtype)
        .as_strided(tensor.size, tensor.stride, tensor.offset)
        .clone()
        for name, tensor in stored.items()
    }


def _named_tensors(tree: _Object) -> Iterator[tuple[str, _Stored]]:
    todo: list[tuple[str, _Object]] = [("", tree)]
    seen: set[int] = set()
    while todo:
        prefix, module = todo.pop()
        if id(module) in seen:
            raise pickle.UnpicklingError("it has a module within itself, or one shared by two")
        seen.add(id(module))
        for name, value in module.items():
            if isinstance(value, _Stored):
                yield f"{prefix}{name}", value
            elif isinstance(value, _Object):
                todo.append((f"{prefix}{name}.", value))
