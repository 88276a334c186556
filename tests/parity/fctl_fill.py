"""The deterministic fill of the FCtL fixtures: weights, images and labels follow from keys and seeds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rskt_seg.models.fctl.fcn import bilinear_kernel
from tests.parity.fill import generator

FIXTURES = Path(__file__).parent / "fctl"
MANIFEST = json.loads((FIXTURES / "manifest.json").read_text())["tensors"]
LAYOUTS = json.loads((FIXTURES / "state_dict_layout.json").read_text())
_STARTS = {"pool3": 0, "pool4": 17, "pool5": 24}
_GAINS = {"he": 2.0**0.5, "boost100": 100.0, "boost10000": 10000.0, "fan_in": 1.0}


def draw(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 draw that a key seeds, unscaled."""
    return generator(key).standard_normal(shape).astype(np.float32)


def fill(key: str, shape: tuple[int, ...], rule: str) -> torch.Tensor:
    """One float32 tensor."""
    if rule == "bilinear":
        return bilinear_kernel(shape[0], shape[2])
    n = draw(key, shape)
    if rule in ("bias", "small"):
        n = np.float32(0.1) * n
    elif rule in ("gate", "norm"):
        n = np.float32(1) + np.float32(0.1) * n
    elif rule == "he":
        n = n * np.float32(np.sqrt(2.0 / np.prod(shape[1:])))
    else:
        n = n * np.float32(_GAINS[rule]) / np.float32(np.sqrt(np.prod(shape[1:])))
    return torch.from_numpy(n)


def exact(key: str, shape: tuple[int, ...], rule: str) -> torch.Tensor:
    """One float64 tensor of the equation oracles: scaled after the conversion."""
    n = draw(key, shape).astype(np.float64)
    return torch.from_numpy(0.1 * n if rule == "bias" else n / np.sqrt(np.prod(shape[1:])))


def fill_key(key: str, prefix: str = "") -> str:
    """The key of the fixtures for a registered name: VGG16 is known by its poolings."""
    if key.startswith("vgg.features."):
        number, rest = key.removeprefix("vgg.features.").split(".", 1)
        pool = max((p for p, start in _STARTS.items() if start <= int(number)), key=_STARTS.get)
        key = f"{pool}.{int(number) - _STARTS[pool]}.{rest}"
    return prefix + key


def published_state(
    layout: str, prefix: str = "", parallel: bool = True, draw: Callable[..., torch.Tensor] = fill
) -> dict[str, torch.Tensor]:
    """A filled state dict in a published layout, with its aliases and (`parallel`) the prefix `module.`.

    `draw` makes its tensors as `fill` does. The unused classifier has no fill; its zeros take no memory.
    """
    state: dict[str, torch.Tensor] = {}
    for key, entry in LAYOUTS[layout].items():
        shape = tuple(entry["shape"])
        if "alias_of" in entry:
            state[key] = state[entry["alias_of"]]
        elif key.startswith("vgg.classifier."):
            state[key] = torch.zeros(1).expand(shape)
        else:
            name = fill_key(key, prefix)
            rule = MANIFEST.get(name) or MANIFEST.get(f"{name}@7cls") or _rule(key)
            state[key] = draw(name, shape, rule["rule"])
    return {f"module.{key}" if parallel else key: value for key, value in state.items()}


def _rule(key: str) -> dict[str, str]:
    # Single-context DeepGlobe stages (`big.*`) appear in no fixture; any values do.
    return {"rule": "gate" if key.endswith("gamma") else "bias" if key.endswith("bias") else "fan_in"}


def image(seed: int, height: int, width: int) -> np.ndarray:
    """The smooth image of a seed, (height, width, 3) uint8: coarse noise interpolated, and fine noise."""
    rng = np.random.Generator(np.random.PCG64(seed))
    coarse = rng.integers(0, 256, (-(-height // 16) + 1, -(-width // 16) + 1, 3)).astype(np.float64)
    (top, down), (left, right) = _steps(height), _steps(width)
    rows = coarse[top] * (1 - down[:, None, None]) + coarse[top + 1] * down[:, None, None]
    pixels = rows[:, left] * (1 - right[:, None]) + rows[:, left + 1] * right[:, None]
    return np.clip(np.rint(pixels + rng.integers(-20, 21, (height, width, 3))), 0, 255).astype(np.uint8)


def _steps(length: int) -> tuple[np.ndarray, np.ndarray]:
    position = np.arange(length) / 16
    whole = np.floor(position).astype(int)
    return whole, position - whole


def labels(seed: int, height: int, width: int, classes: int, block: int = 16) -> torch.Tensor:
    """Labels (height, width) int64 in blocks."""
    rng = np.random.Generator(np.random.PCG64(seed))
    ids = rng.integers(0, classes, (-(-height // block), -(-width // block)))
    return torch.from_numpy(ids.repeat(block, axis=0).repeat(block, axis=1)[:height, :width])


def arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of a fixture file."""
    with np.load(FIXTURES / f"{name}.npz") as file:
        return dict(file)
