"""The deterministic fill of the parity fixtures: every tensor follows from its published key alone."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rskt_seg.layers.attention import shift_mask

FIXTURES = Path(__file__).parent / "rskt"


def generator(text: str) -> np.random.Generator:
    """The generator that a key or a unit's name seeds."""
    return np.random.Generator(
        np.random.PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") % 2**63)
    )


def fill(key: str, shape: tuple[int, ...], rule: str, gain: float = 1.0) -> torch.Tensor:
    """One tensor; draws are float64, then cast, a part at a time to save memory."""
    draws, n = generator(key), torch.empty(tuple(shape))
    for part in n.view(-1).split(1 << 20):
        part.copy_(torch.from_numpy(draws.standard_normal(len(part))))
    if rule == "norm":
        n.mul_(0.1).add_(1)
    elif rule in ("bias", "small"):
        n.mul_(0.1)
    elif rule == "fan_in":
        n.div_(float(np.sqrt(np.prod(shape[1:]))))
    else:
        raise ValueError(f"{key}: no fill for rule {rule!r}")
    return n.mul_(gain)


def published_state(
    manifest: str, folder: Path = FIXTURES, draw: Callable[..., torch.Tensor] = fill
) -> dict[str, torch.Tensor]:
    """The filled state dict of a manifest; `draw` makes its tensors as `fill` does."""
    entries = json.loads((folder / f"manifest_{manifest}.json").read_text())["state_dict"]
    state = {}
    for key, entry in entries.items():
        if entry["rule"] == "keep":
            state[key] = shift_mask(24, 24, 12, 6)  # the one computed entry: the mask of shifted windows
            continue
        state[key] = draw(key, tuple(entry["shape"]), entry["rule"], entry.get("gain", 1.0))
    return state


def unit(name: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The filled state dict of a unit fixture and its arrays."""
    entry = json.loads((FIXTURES / "units_index.json").read_text())[name]
    state = {
        key: fill(f"{name}/{key}", tuple(v["shape"]), v["rule"])
        for key, v in entry["state_dict"].items()
        if v["rule"] != "keep"
    }
    with np.load(FIXTURES / f"unit_{name}.npz") as arrays:
        return state, {key: torch.from_numpy(arrays[key]) for key in arrays}


def strip(state: dict[str, torch.Tensor], *renames: tuple[str, str]) -> dict[str, torch.Tensor]:
    """Rename keys by regular expressions, all applied in order."""
    for pattern, to in renames:
        state = {re.sub(pattern, to, key): value for key, value in state.items()}
    return state


def make_image(h: int, w: int, seed: int) -> torch.Tensor:
    """The fixture's image: coarse blocks and fine noise, (3, h, w) float32 in 0..255."""
    rng = np.random.Generator(np.random.PCG64(seed))
    coarse = rng.integers(0, 256, (3, h // 16 + 2, w // 16 + 2))
    coarse = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :h, :w]
    fine = rng.integers(0, 256, (3, h, w))
    return torch.from_numpy(np.floor(0.75 * coarse + 0.25 * fine).astype(np.float32))


def make_target(
    h: int, w: int, classes: int, seed: int, ignore: bool, ignore_value: int = 255
) -> torch.Tensor:
    """The fixture's target: one id per 32 px cell, the first eighth of the rows ignored."""
    rng = np.random.Generator(np.random.PCG64(seed))
    target = rng.integers(0, classes, (h // 32, w // 32)).repeat(32, axis=0).repeat(32, axis=1)
    if ignore:
        target[: h // 8] = ignore_value
    return torch.from_numpy(target)
