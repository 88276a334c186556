"""What the full-size parity cases share: models without random start, filled with the fixtures' weights."""

import ctypes
import gc
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.encoders.clip import VisionTower, VisionTrunk
from rskt_seg.encoders.dino import DINO
from rskt_seg.methods import method_of
from rskt_seg.typing import SegmentationModel
from tests.parity.fill import FIXTURES, published_state

_KEPT: dict[str, dict[str, torch.Tensor]] = {}
"""Manifest of ViT-B -> its filled state dict; one at most, while the tests of a module run."""


@pytest.fixture(scope="module")
def no_random_start():
    """Skip the random initialisation of big layers (12 s a model): strict loading overwrites all of it.

    For one module at a time: models of other tests must not start from whatever memory holds.
    """
    with pytest.MonkeyPatch.context() as patch:
        for layer in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding):
            patch.setattr(layer, "reset_parameters", lambda self: None)
        for start in ("normal_", "trunc_normal_"):
            patch.setattr(nn.init, start, lambda tensor, **_: tensor)
        yield
    _KEPT.clear()
    return_memory()


@pytest.fixture(scope="module")
def encoded() -> dict[tuple[object, ...], object]:
    """What the encoders of a module's cases gave."""
    return {}


@pytest.fixture
def encoders_remember(encoded, monkeypatch) -> None:
    """Encode an image once for all cases of a module, which differ in what follows the encoders.

    Encoders are the same if they have the same layers and weights; the fill makes a tensor from its name, so
    that its first value tells it from others.
    """

    def remembering(encode):
        def call(encoder, images, *args, **options):
            pixels = hashlib.sha256(images.contiguous().numpy()).digest()
            key = (encode.__qualname__, *_identity(encoder), images.shape, pixels, repr((args, options)))
            if key not in encoded:
                encoded[key] = encode(encoder, images, *args, **options)
            return encoded[key]

        return call

    for owner, name in ((VisionTower, "dense"), (VisionTrunk, "tapped"), (DINO, "forward")):
        monkeypatch.setattr(owner, name, remembering(getattr(owner, name)))


def _identity(encoder: nn.Module) -> tuple[object, ...]:
    """Tell encoders of other layers, precisions or weights apart."""
    layers = tuple(type(layer).__name__ for layer in encoder.modules())
    weights = tuple(
        (name, weight.dtype, weight.shape, weight[(0,) * weight.ndim].item())
        for name, weight in encoder.state_dict().items()
    )
    return layers, weights


@pytest.fixture
def memory_returned() -> Iterator[None]:
    """Give the memory of a big model back after the test.

    Modules refer to each other, and glibc keeps freed blocks of up to 32 MB in a heap that only grows.
    """
    yield
    return_memory()


def return_memory() -> None:
    """Free what nothing refers to, and give the free blocks of glibc's heap back."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture
def filled_state():
    """The filled published state dict of a manifest; the last one of ViT-B is kept for the next test."""

    def state(manifest: str, folder: Path = FIXTURES) -> dict[str, torch.Tensor]:
        if manifest in _KEPT:
            return _KEPT[manifest]
        _KEPT.clear()
        return_memory()
        filled = published_state(manifest, folder=folder)
        if "vitl" not in manifest:
            _KEPT[manifest] = filled
        return filled

    return state


def share_tensors(model: SegmentationModel, state: dict[str, torch.Tensor]) -> None:
    """Make the tensors of a published state dict the parameters of a model, where name and shape fit.

    Loading the state dict then checks everything as ever, and needs no second copy of 1.5 GB (ViT-B) or
    2.7 GB (ViT-L). The model must not be trained: the next test has the same tensors.
    """
    own = dict(model.named_parameters())
    rules = method_of(model).checkpoint.published_rules(model, state, "shared")
    for name, part in convert(state, rules, LoadReport("shared")).items():
        if name in own and part.shape == own[name].shape:
            own[name].data = part
