"""What the full-size parity cases share: models without random start, filled with the fixtures' weights."""

import ctypes
import gc
import hashlib
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import nn

from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.encoders.clip import VisionTower, VisionTrunk
from rskt_seg.encoders.dino import DINO
from rskt_seg.encoders.vgg import VGG
from rskt_seg.methods import method_of
from rskt_seg.typing import SegmentationModel
from tests.parity import fctl_fill
from tests.parity.fill import FIXTURES, fill, published_state

drawn = lru_cache(maxsize=None)(fill)  # most tensors are those of several models
drawn_for_fctl = lru_cache(maxsize=None)(fctl_fill.fill)


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
    drawn.cache_clear()
    drawn_for_fctl.cache_clear()
    return_memory()


@pytest.fixture(scope="module")
def encoded() -> dict[tuple[object, ...], object]:
    """What the encoders of a module's cases gave."""
    return {}


@pytest.fixture
def encoders_remember(encoded, monkeypatch) -> None:
    """Encode an image once for all cases of a module, which differ in what follows the encoders.

    Encoders are the same if they have the same layers and weights; the fill makes a tensor from its name, so
    that its first value tells it from others. Encoders that are trained compute anew.
    """

    def remembering(encode):
        def call(encoder, images, *args, **options):
            if torch.is_grad_enabled() and any(weight.requires_grad for weight in encoder.parameters()):
                return encode(encoder, images, *args, **options)
            pixels = hashlib.sha256(images.contiguous().numpy()).digest()
            key = (encode.__qualname__, *_identity(encoder), images.shape, pixels, repr((args, options)))
            if key not in encoded:
                with torch.inference_mode(False), torch.no_grad():  # a training step may have them next
                    encoded[key] = encode(encoder, images.clone(), *args, **options)
            return encoded[key]

        return call

    for owner, name in ((VisionTower, "dense"), (VisionTrunk, "tapped"), (DINO, "forward"), (VGG, "forward")):
        monkeypatch.setattr(owner, name, remembering(getattr(owner, name)))


def _identity(encoder: nn.Module) -> tuple[object, ...]:
    """Tell encoders of other layers, precisions or weights apart, and layers that training changes."""
    changed = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
    layers = tuple(
        (type(layer).__name__, layer.training and isinstance(layer, changed)) for layer in encoder.modules()
    )
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
    """The filled published state dict of a manifest; the next test has the same tensors."""

    def state(manifest: str, folder: Path = FIXTURES) -> dict[str, torch.Tensor]:
        return published_state(manifest, folder, drawn)

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
