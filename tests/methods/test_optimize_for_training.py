"""A training form gives the gradients of its model, to the model's own parameters."""

import pytest
import torch

import rskt_seg
from rskt_seg.layers.inference_form import InferenceLinear
from rskt_seg.layers.training_form import Recomputed
from rskt_seg.methods.optimize import optimize_for_training

NAMES = ("water", "road", "building")
RECOMPUTE = pytest.mark.parametrize("recompute", [False, True])
MODELS = [
    ("rskt_tiny", {}),
    ("rskt_tiny", {"clip_finetune": "full", "dino_finetune": "full"}),
    ("rskt_tiny", {"clip_finetune": "frozen", "aggregator": "original"}),
    ("catseg_tiny", {}),
    ("ovrs_tiny", {}),
    ("gsnet_tiny", {}),
]


def build(name="rskt_tiny", **options):
    torch.manual_seed(0)
    return rskt_seg.create_model(name, **options).train()


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, 60, 70), generator=generator).float()
    return images, torch.randint(0, 3, (2, 60, 70), generator=generator)


def gradients(model, form):
    images, target = batch()
    (loss,) = form.losses(form(images, NAMES), target).values()
    model.zero_grad()
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def saved_bytes(form):
    """Bytes that a forward pass keeps for the backward pass."""
    known = {p.data_ptr() for p in form.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = form(batch()[0], NAMES)
    assert output.logits.requires_grad
    return sum(kept.values())


@RECOMPUTE
@pytest.mark.parametrize(("name", "options"), MODELS, ids=str)
def test_loss_and_gradients_are_those_of_the_model(name, options, recompute):
    model = build(name, **options)
    expected_loss, expected = gradients(model, model)
    loss, found = gradients(model, optimize_for_training(model, recompute=recompute))
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert found.keys() == expected.keys()
    whole = sum(float(each.norm()) ** 2 for each in expected.values()) ** 0.5
    for key, gradient in found.items():
        assert (gradient - expected[key]).norm() <= 1e-4 * expected[key].norm() + 1e-6 * whole, key


def test_recomputing_keeps_less_than_half():
    model = build()
    plain, recomputing = (saved_bytes(optimize_for_training(model, recompute=each)) for each in (False, True))
    assert recomputing < plain / 2


def test_frozen_encoders_are_in_their_inference_form_and_trained_ones_are_not():
    def converted(form, tower):
        return any(isinstance(part, InferenceLinear) for part in form.get_submodule(tower).modules())

    frozen = optimize_for_training(build())
    assert converted(frozen, "dino") and converted(frozen, "remote_clip") and not converted(frozen, "clip")
    trained = optimize_for_training(build(dino_finetune="attention"))
    assert not converted(trained, "dino") and converted(trained, "remote_clip")


def test_the_parts_that_are_trained_are_the_model_s_own_and_follow_its_mode():
    model = build()
    form = optimize_for_training(model, recompute=True)
    own = {id(p) for p in model.parameters() if p.requires_grad}
    assert own == {id(p) for p in form.parameters() if p.requires_grad}
    model.eval()
    assert not any(part.module.training for part in form.modules() if isinstance(part, Recomputed))


def test_other_kinds_of_models_are_trained_as_they_are():
    model = rskt_seg.create_model("bicor_tiny", 3).train()
    assert optimize_for_training(model) is model
