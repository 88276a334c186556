"""Weights with values that are not finite are refused, with their names, before anything is copied."""

import pytest
import torch
from safetensors.torch import save_file

import rskt_seg
from rskt_seg.errors import CheckpointError

NAN, INF = float("nan"), float("inf")
MODELS = [("rskt_tiny", None), ("bicor_tiny", 2), ("fctl_tiny", 2)]


def build(name, classes, seed):
    torch.manual_seed(seed)
    return rskt_seg.create_model(name, classes)


def broken(state, part, value):
    return {
        key: torch.full_like(tensor, value) if part in key and tensor.is_floating_point() else tensor
        for key, tensor in state.items()
    }


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize(("name", "classes"), MODELS)
def test_a_checkpoint_is_refused_and_changes_nothing(tmp_path, name, classes, value):
    model = build(name, classes, 0)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    torch.save({"model": broken(build(name, classes, 1).state_dict(), "decoder", value)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth has values that are not finite .*decoder\.") as error:
        rskt_seg.load_checkpoint(model, tmp_path / "w.pth")
    assert "\n" not in str(error.value) and "earlier checkpoint" in str(error.value)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_single_value_in_a_safetensors_file_is_enough(tmp_path, place):
    state = {key: tensor.clone() for key, tensor in build("rskt_tiny", None, 1).state_dict().items()}
    key = [key for key, tensor in state.items() if tensor.is_floating_point()][0 if place == "first" else -1]
    state[key].view(-1)[-1] = NAN
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=rf"in 1 tensor \({key}\)"):
        rskt_seg.load_checkpoint(build("rskt_tiny", None, 0), tmp_path / "w.safetensors")


@pytest.mark.parametrize("role", ["clip", "dino"])
def test_an_encoder_is_refused_and_changes_nothing(role):
    model, other = build("rskt_tiny", None, 0), build("rskt_tiny", None, 1)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state = broken(other.get_submodule(role).state_dict(), "ln_" if role == "clip" else "norm", NAN)
    with pytest.raises(CheckpointError, match="not finite"):
        rskt_seg.load_encoder(model, role, state)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_values_that_are_infinite_in_the_precision_of_the_model_are_refused():
    state = build("rskt_tiny", None, 1).state_dict()
    large = torch.full_like(state["decoder.head.bias"], 1e300, dtype=torch.float64)
    with pytest.raises(CheckpointError, match=r"in 1 tensor \(decoder\.head\.bias\)"):
        rskt_seg.load_checkpoint(build("rskt_tiny", None, 0), {**state, "decoder.head.bias": large})
