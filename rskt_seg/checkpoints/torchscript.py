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
from collections.abc import Sequence
from pathlib import Path
from typing import IO

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
            # The C unpickler allocates memory up to the largest memo index.
            for opcode, argument, _ in pickletools.genops(content):
                if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(content):
                    raise pickle.UnpicklingError("it has a memo index beyond the stream")
            tree = _ArchiveUnpickler(io.BytesIO(content), archive, f"{root}data/").load()
            if not isinstance(tree, _Object):
                raise pickle.UnpicklingError(f"expected a module; found {type(tree).__name__}")
            return dict(_named_tensors(tree))
        except Exception as error:  # a forged stream can make the unpickler and torch raise anything
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckpointError(
                f"{path}: a TorchScript archive from which tensors cannot be read without running its code "
                f"({reason}). If you trust its origin, save torch.jit.load(path).state_dict() as "
                ".safetensors on a machine without valuable data, and use that"
            ) from error


class _ArchiveUnpickler(pickle.Unpickler):
    """An unpickler that builds modules (as dictionaries), tensors and plain values only."""

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, storages: str) -> None:
        super().__init__(file)
        self._archive = archive
        self._storages = storages
        self._read: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> object:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Object
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A new function for each archive, because a stream can set attributes of what it is given.
            def rebuild(
                storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_unused: object
            ) -> Tensor:
                # as_strided checks the bounds of the storage, but a stride of 0 repeats items without limit.
                if math.prod(size) > storage.numel():
                    raise pickle.UnpicklingError("it has a tensor larger than its storage")
                return storage.as_strided(tuple(size), tuple(stride), offset).clone()

            return rebuild
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch.jit._pickle" and name in _LISTS:
            return list
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: object) -> Tensor:
        """Return a storage as a flat tensor; `pid` is ("storage", dtype, key, location, number of items)."""
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), str(), int(count)) if re.fullmatch(
                r"\d+", key
            ):
                if key not in self._read:
                    self._read[key] = self._storage(key, dtype, count)
                return self._read[key]
        raise pickle.UnpicklingError("it has a storage of an unknown kind")

    def _storage(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        info = self._archive.getinfo(f"{self._storages}{key}")
        # An uncompressed member cannot be larger than the file itself.
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * dtype.itemsize:
            raise pickle.UnpicklingError(f"storage {key} is compressed or not of the size stated")
        content = bytearray(self._archive.read(info))
        return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _named_tensors(tree: _Object) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []
    todo: list[tuple[str, _Object]] = [("", tree)]
    seen: set[int] = set()
    while todo:
        prefix, module = todo.pop()
        if id(module) in seen:
            raise pickle.UnpicklingError("it has a module within itself, or one shared by two")
        seen.add(id(module))
        for name, value in module.items():
            if isinstance(value, Tensor):
                found.append((f"{prefix}{name}", value))
            elif isinstance(value, _Object):
                todo.append((f"{prefix}{name}.", value))
    return found
