"""Reading weight files without ever running what is inside them."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rskt_seg.errors import CheckpointError, WeightsNotFoundError

_WRAPPERS = ("model", "state_dict", "teacher")


def read_state_dict(path: str | os.PathLike) -> dict[str, Tensor]:
    """The tensors of a weight file, on the CPU, under the names they have there.

    Accepts safetensors, `torch.save` files (bare, or wrapped as Detectron2's `model`, `state_dict`, or
    DINO's `teacher`), and OpenAI's TorchScript archives. The safe loader is used throughout; the one
    class it may build besides tensors is `argparse.Namespace`, which the published DINO files contain.

    Raises `WeightsNotFoundError` for a missing file; `CheckpointError` for a `.pkl`, for a file the safe
    loader refuses, and for one without tensors.
    """
    path = Path(path)
    if path.suffix == ".pkl":
        raise CheckpointError(
            f"{path}: .pkl files can run code when read; convert it to .pth or .safetensors"
        )
    if not path.is_file():
        raise WeightsNotFoundError(f"weight file {path} does not exist; check the path")
    content = _read(path)
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: expected a dictionary of tensors; found {type(content).__name__}")
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors; its entries are {sorted(map(str, content))[:10]}")
    return tensors


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if _is_torchscript(path):
            return torch.jit.load(path, map_location="cpu").state_dict()
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: cannot be read safely as weights ({reason}); it may be truncated, or hold objects "
            "other than tensors: save its state dict alone"
        ) from error


def _is_torchscript(path: Path) -> bool:
    import zipfile

    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())
