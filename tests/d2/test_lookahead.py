"""Lookahead is the published loop around any optimiser, and survives interruption."""

import copy
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.d2.checkpointer import AtomicCheckpointer
from rskt_seg.d2.optimizer import build_optimizer, parameter_groups
from rskt_seg.errors import ConfigError
from rskt_seg.models.bicor import BiCoR, BiCoRSpec
from rskt_seg.models.fctl import FCtL, FCtLSpec
from tests.d2.conftest import tiny_config

RATE, DECAY, MOMENTUM, STEPS = 0.05, 0.1, 0.9, 12
OPTIMIZERS = ("ADAMW", "ADAM", "SGD")
DATA = np.random.default_rng(0).normal(size=(8, 5))
WANTED = np.random.default_rng(1).normal(size=(8, 3))


def config(name: str, steps: int = 5, alpha: float = 0.5, *more: str):
    return tiny_config(
        "SOLVER.OPTIMIZER", name, "SOLVER.BASE_LR", str(RATE), "SOLVER.MOMENTUM", str(MOMENTUM),
        "SOLVER.WEIGHT_DECAY", str(DECAY), "SOLVER.CLIP_GRADIENTS.ENABLED", "False",
        "SOLVER.LOOKAHEAD_STEPS", str(steps), "SOLVER.LOOKAHEAD_ALPHA", repr(alpha), *more,
    )  # fmt: skip


def linear() -> torch.nn.Linear:
    torch.manual_seed(3)
    return torch.nn.Linear(5, 3, bias=False).double()


def fit(layer: torch.nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    """One step towards the least squares of `DATA` and `WANTED`."""
    optimizer.zero_grad()
    residual = layer(torch.from_numpy(DATA)) - torch.from_numpy(WANTED)
    (residual.square().sum() / 2).backward()
    optimizer.step()


def descend(name: str, weight: np.ndarray, steps: int):
    """Yield the weights in place of the next ones, which the caller may change, by the textbook formulas."""
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for t in range(1, steps + 1):
        gradient = (DATA @ weight.T - WANTED).T @ DATA
        if name != "ADAMW":
            gradient = gradient + DECAY * weight
        if name == "SGD":
            first = gradient if t == 1 else MOMENTUM * first + gradient
            weight -= RATE * first
        else:
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            change = (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
            weight -= RATE * change + (RATE * DECAY * weight if name == "ADAMW" else 0)
        yield t


def reference(name: str, every: int, alpha: float) -> list[np.ndarray]:
    weight, slow, seen = linear().weight.detach().numpy().copy(), None, []
    for t in descend(name, weight, STEPS):
        if every and t % every == 1 % every:
            slow = weight.copy() if slow is None else slow + alpha * (weight - slow)
            weight[:] = slow
        seen.append(weight.copy())
    return seen


def trained(name: str, every: int, alpha: float) -> list[np.ndarray]:
    layer = linear()
    optimizer, seen = build_optimizer(config(name, every, alpha), layer), []
    for _ in range(STEPS):
        fit(layer, optimizer)
        seen.append(layer.weight.detach().numpy().copy())
    return seen


@settings(max_examples=30)
@given(st.sampled_from(OPTIMIZERS), st.integers(0, 7), st.floats(0.05, 1.0))
def test_twelve_steps_are_those_of_the_formulas(name, every, alpha):
    for ours, expected in zip(trained(name, every, alpha), reference(name, every, alpha), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


def test_the_first_synchronisation_changes_nothing_and_the_sixth_step_does():
    without, with_it = trained("ADAMW", 0, 0.5), trained("ADAMW", 5, 0.5)
    equal = [np.array_equal(a, b) for a, b in zip(without, with_it, strict=True)]
    assert equal == [True] * 5 + [False] * 7
    np.testing.assert_allclose(with_it[5], (without[0] + without[5]) / 2, rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("done", range(STEPS))
def test_a_run_resumed_after_any_step_is_the_uninterrupted_one(name, done):
    whole = trained(name, 5, 0.5)
    layer = linear()
    optimizer = build_optimizer(config(name), layer)
    for _ in range(done):
        fit(layer, optimizer)
    file = io.BytesIO()
    torch.save({"model": layer.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = torch.nn.Linear(5, 3, bias=False).double()
    optimizer = build_optimizer(config(name), again)
    again.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    for step in range(done, STEPS):
        fit(again, optimizer)
        assert np.array_equal(again.weight.detach().numpy(), whole[step])


@pytest.mark.parametrize("kind", ["full_model", "norm", "value"])
def test_the_checkpoints_of_a_training_carry_the_slow_weights(tmp_path, kind):
    clip = ("SOLVER.CLIP_GRADIENTS.ENABLED", "True", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind)
    cfg = config("ADAMW", 4, 0.5, *clip, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.5")
    layer, other = linear(), torch.nn.Linear(5, 3, bias=False).double()
    optimizer, second = build_optimizer(cfg, layer), build_optimizer(cfg, other)
    for _ in range(7):
        fit(layer, optimizer)
    AtomicCheckpointer(layer, str(tmp_path), optimizer=optimizer).save("last")
    checkpointer = AtomicCheckpointer(other, str(tmp_path), optimizer=second)
    checkpointer.load(str(tmp_path / "last.pth"))
    for _ in range(6):
        fit(layer, optimizer)
        fit(other, second)
    assert torch.equal(layer.weight, other.weight)
    assert optimizer.state[layer.weight].keys() >= {"slow", "step"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parameter_joins_when_it_first_has_a_gradient(name):
    used, late = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)
    before = late.weight.detach().clone()
    optimizer = build_optimizer(config(name, 2), torch.nn.ModuleList([used, late]))
    for step in range(8):
        optimizer.zero_grad()
        both = used.weight.sum() + (late.weight.sum() if step >= 4 else 0)
        both.backward()
        optimizer.step()
        assert torch.equal(late.weight, before) == (step < 4)
    assert "slow" in optimizer.state[late.weight]


def test_a_step_that_mixed_precision_leaves_out_does_not_count():
    layer, twin = linear().float(), linear().float()
    optimizer, reference_optimizer = (build_optimizer(config("ADAMW", 3), each) for each in (layer, twin))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for step in range(9):
        gradient = torch.full_like(layer.weight, float(step + 1))
        overflows = step in (1, 4)
        layer.weight.grad = (
            torch.full_like(gradient, torch.inf) if overflows else gradient * scaler.get_scale()
        )
        scaler.scale(torch.zeros(()))
        scaler.step(optimizer)
        scaler.update()
        if not overflows:
            twin.weight.grad = gradient.clone()
            reference_optimizer.step()
    assert torch.equal(layer.weight, twin.weight)


def test_the_state_is_at_the_precision_of_the_weights():
    layer = linear()
    optimizer = build_optimizer(config("ADAMW"), layer)
    fit(layer, optimizer)
    saved = copy.deepcopy(optimizer.state_dict())
    single = linear().float()
    other = build_optimizer(config("ADAMW"), single)
    other.load_state_dict(saved)
    assert other.state[single.weight]["slow"].dtype == torch.float32
    assert other.param_groups[0]["lookahead_count"] == 1


@pytest.mark.parametrize("opts", [("STEPS", "-1"), ("ALPHA", "0.0"), ("ALPHA", "1.5")])
def test_impossible_settings_are_refused(opts):
    with pytest.raises(ConfigError, match=f"SOLVER.LOOKAHEAD_{opts[0]}.*{opts[1].rstrip('0')}"):
        build_optimizer(tiny_config(f"SOLVER.LOOKAHEAD_{opts[0]}", opts[1]), linear())


CLOSED_SETS = {
    "bicor": lambda: BiCoR(BiCoRSpec(num_classes=3, encoder="tiny", width=16)),
    "fctl": lambda: FCtL(FCtLSpec(num_classes=3, encoder="vgg_tiny", patch_side=64, input_side=64)),
}


@pytest.mark.parametrize("method", CLOSED_SETS)
def test_closed_set_models_have_one_rate_and_decay_for_all_that_trains(method):
    model = CLOSED_SETS[method]()
    same = ("SOLVER.WEIGHT_DECAY_NORM", str(DECAY), "SOLVER.WEIGHT_DECAY_EMBED", str(DECAY))
    (group,) = parameter_groups(config("ADAM", 0, 0.5, *same), model)
    assert (group["lr"], group["weight_decay"]) == (RATE, DECAY)
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters() if p.requires_grad}
