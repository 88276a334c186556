"""What the full-size parity cases share: models without random start, filled with the fixtures' weights."""

from functools import lru_cache

import pytest
import torch
from torch import nn

from tests.parity.fill import published_state


@pytest.fixture(scope="module")
def no_random_start():
    """Skip the random initialisation of big layers (12 s a model): strict loading overwrites all of it.

    For one module at a time: models of other tests must not start from whatever memory holds.
    """
    with pytest.MonkeyPatch.context() as patch:
        for layer in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding):
            patch.setattr(layer, "reset_parameters", lambda self: None)
        yield


@lru_cache(maxsize=1)
def _kept_state(manifest: str) -> dict[str, torch.Tensor]:
    return published_state(manifest)


@pytest.fixture
def filled_state():
    """The filled published state dict of a manifest; the last one of ViT-B is kept for the next test.

    That of ViT-L has 1.9 GB, as much as its model: a worker must not hold more than it needs of both.
    """

    def state(manifest: str) -> dict[str, torch.Tensor]:
        if "vitl" not in manifest:
            return _kept_state(manifest)
        _kept_state.cache_clear()
        return published_state(manifest)

    return state
