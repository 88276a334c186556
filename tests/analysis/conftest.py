"""Every registered method and one of a test, in its smallest model."""

import rskt_seg.d2  # prepares Detectron2 for the imports below

# isort: split
import pytest
import torch

import rskt_seg
from rskt_seg.methods import unregister_method
from rskt_seg.methods.registry import registered_methods
from rskt_seg.methods.use import make_strategy, strategy_options
from tests.methods.test_fifth_method import COLOUR

NAMES = ("ship", "storage tank", "tennis court", "bridge", "large vehicle")


def preset_of(method):
    return next((name for name in method.presets if "tiny" in name), next(iter(method.presets)))


@pytest.fixture(params=[*registered_methods(), COLOUR], ids=lambda method: method.name)
def method(request):
    """Every registered method, and a further one that says nothing about its cost."""
    if request.param is COLOUR:
        rskt_seg.register_method(COLOUR)
        request.addfinalizer(lambda: unregister_method(COLOUR.name))
    return request.param


@pytest.fixture
def build(method):
    """Build a strategy of the method by options and device; `model` is that of the strategy."""

    def strategy(device="cpu", **options):
        torch.manual_seed(0)
        with torch.device(device):
            model = rskt_seg.create_model(preset_of(method), NAMES if method.is_closed else None)
        return make_strategy(model, None if method.is_closed else NAMES, options)

    return strategy


@pytest.fixture
def several(method):
    """Options under which a small image has several crops, of those that the strategy has."""
    options = {"tile": 64, "tile_overlap": 16, "sliding": True, "views": "lr"}
    return {key: value for key, value in options.items() if key in strategy_options(method)}
