"""The scripts of `tools/` and their packages, as Python finds them for a script; and one tiny run."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from benchmarks.forms import make_model
from benchmarks.measuring import Plan, measure


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model():
    """A tiny model whose weights are large enough for every part to matter."""
    model = make_model("rskt_tiny", torch.device("cpu"))
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
            parameter += 0.1 * parameter.std(correction=0) * noise + 0.02 * noise
    return model


def plan(**changed):
    """A run of the tiny model that takes seconds."""
    usual = {
        "preset": "rskt_tiny", "classes": (3, 5), "precisions": ("fp32", "bf16"), "batch": 1, "pairs": 2,
        "threads": 1, "device": "cpu", "stages": True, "memory": False, "training": True, "small": True,
    }  # fmt: skip
    return Plan(**(usual | changed))


@pytest.fixture(scope="package")
def result():
    """What a run of the tiny model finds."""
    return measure(plan())
