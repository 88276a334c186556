"""Learning rates are the published ones in every iteration."""

import copy
import logging
import warnings

import pytest
import torch
from detectron2.engine import hooks
from detectron2.solver.lr_scheduler import LRMultiplier
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.d2 import load_config
from rskt_seg.d2.schedule import IterationLR, epoch_cosine, poly, warmed_up
from rskt_seg.d2.trainer import Trainer
from rskt_seg.errors import ConfigError
from tests.d2.conftest import CONFIGS, tiny_config

WARM_UP = ("SOLVER.POLY_POWER", "1.0", "SOLVER.WARMUP_ITERS", "4", "SOLVER.WARMUP_FACTOR", "1e-6")


def optimizer_of(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def schedule(optimizer, name: str, iterations: int, *opts: str):
    cfg = tiny_config("SOLVER.LR_SCHEDULER_NAME", name, "SOLVER.MAX_ITER", str(iterations), *opts)
    return Trainer.build_lr_scheduler(cfg, optimizer)


def rates(optimizer, scheduler, iterations: int) -> list[list[float]]:
    """The rates of all groups that each of the next iterations runs at."""
    seen = []
    for _ in range(iterations):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def annealed(base: float, floor: float, epochs: int) -> list[float]:
    """PyTorch's own rates of each epoch."""
    optimizer = optimizer_of(base)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, floor)
    return [rate for (rate,) in rates(optimizer, scheduler, epochs)]


@pytest.mark.parametrize(("base", "epochs", "per_epoch"), [(8e-5, 30, 7), (5e-5, 45, 3), (1e-4, 45, 2)])
def test_the_cosine_of_epochs_is_that_of_torch_stepped_once_an_epoch(base, epochs, per_epoch):
    optimizer = optimizer_of(base)
    scheduler = schedule(optimizer, "EpochCosineLR", epochs * per_epoch, "SOLVER.EPOCHS", str(epochs))
    seen = [rate for (rate,) in rates(optimizer, scheduler, epochs * per_epoch)]
    expected = [rate for rate in annealed(base, 1e-6, epochs) for _ in range(per_epoch)]
    assert seen == pytest.approx(expected, rel=1e-9)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-6, rel=1e-12)


def test_loveda_starts_at_its_rate_is_half_way_in_its_middle_and_ends_above_the_floor():
    rate = epoch_cosine(max_iter=30 * 523, epochs=30, floor=1e-6)
    assert rate(8e-5, 0) == rate(8e-5, 522) == 8e-5
    assert rate(8e-5, 523) == pytest.approx(7.97836e-05, rel=1e-5)
    assert rate(8e-5, 15 * 523) == pytest.approx((8e-5 + 1e-6) / 2, rel=1e-12)
    assert rate(8e-5, 30 * 523 - 1) == pytest.approx(1.21636e-06, rel=1e-4)


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 400))
def test_epochs_that_do_not_divide_the_iterations_differ_by_one_iteration(epochs, more):
    iterations = epochs + more
    rate = epoch_cosine(iterations, epochs, floor=0.0)
    seen = [rate(1.0, i) for i in range(iterations)]
    lengths = [seen.count(value) for value in sorted(set(seen), reverse=True)]
    assert len(lengths) == epochs and max(lengths) - min(lengths) <= 1
    assert seen == sorted(seen, reverse=True)
    assert rate(1.0, iterations) == rate(1.0, iterations + 5) == pytest.approx(0.0, abs=1e-12)


def test_a_trial_of_a_few_iterations_goes_through_the_same_curve():
    few, many = epoch_cosine(3, 30, 1e-6), epoch_cosine(300, 30, 1e-6)
    assert [few(8e-5, i) for i in range(4)] == [many(8e-5, 100 * i) for i in range(4)]


def test_the_published_fctl_rates():
    deepglobe, inria = poly(50 * 76, 0.9, start=0.0), poly(50 * 21, 0.9, start=0.5)
    assert deepglobe(5e-5, 0) == 5e-5
    assert inria(5e-5, 0) == pytest.approx(2.68e-5, rel=1e-3)
    # The published loop: epochs 50 to 99 of 100, 21 iterations each.
    for epoch in (50, 51, 75, 99):
        for i in (0, 20):
            expected = 5e-5 * (1 - (epoch * 21 + i) / (100 * 21)) ** 0.9
            assert inria(5e-5, (epoch - 50) * 21 + i) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60)
@given(st.integers(1, 300), st.floats(0, 3), st.floats(0, 0.99))
def test_poly_falls_steadily_to_nothing(iterations, power, start):
    rate = poly(iterations, power, start)
    seen = [rate(1.0, i) for i in range(iterations + 1)]
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in seen)
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == pytest.approx((1 - start) ** power)
    assert seen[-1] == (1.0 if power == 0 else 0.0)


def test_the_published_rates_of_the_weakly_supervised_method():
    """40,000 iterations at 2e-3, power 1, 50 iterations of warm-up from a millionth."""
    optimizer = optimizer_of(2e-3)
    opts = ("SOLVER.POLY_POWER", "1.0", "SOLVER.WARMUP_ITERS", "50", "SOLVER.WARMUP_FACTOR", "1e-6")
    seen = [rate for (rate,) in rates(optimizer, schedule(optimizer, "PolyLR", 40_000, *opts), 40_000)]
    assert (seen[0], seen[25]) == pytest.approx((2e-9, 1.000001e-3), rel=1e-12)
    expected = [2e-3 * (1 - (1 - t / 50) * (1 - 1e-6)) for t in range(50)]
    expected += [2e-3 * (1 - t / 40_000) for t in range(50, 40_000)]
    assert seen == pytest.approx(expected, rel=1e-9)
    # The power law takes over where it is after 50 iterations, above the last step of the warm-up.
    assert (seen[49], seen[50]) == pytest.approx((1.96000004e-3, 1.9975e-3), rel=1e-12)
    assert (seen[20_000], seen[-1]) == pytest.approx((1e-3, 5e-8), rel=1e-9)
    assert optimizer.param_groups[0]["lr"] == 0


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 300), st.floats(0, 1), st.floats(0, 3), st.floats(0, 0.99))
def test_a_warm_up_rises_in_equal_steps_to_what_the_curve_begins_with(warm, more, factor, power, start):
    curve = poly(warm + more, power, start)
    rate = warmed_up(curve, warm, factor)
    first = curve(1.0, 0)
    seen = [rate(1.0, t) for t in range(warm)]
    assert seen[0] == pytest.approx(factor * first)
    steps = [b - a for a, b in zip(seen, [*seen[1:], first], strict=True)]
    assert steps == pytest.approx([(1 - factor) * first / warm] * warm, abs=1e-12)
    assert [rate(1.0, t) for t in range(warm, warm + more + 5)] == [
        curve(1.0, t) for t in range(warm, warm + more + 5)
    ]


def test_a_warm_up_of_a_curve_that_begins_midway_ends_on_that_curve():
    """Its rates stay below those that training without a warm-up would begin with."""
    opts = ("SOLVER.POLY_POWER", "0.9", "SOLVER.POLY_START", "0.5")
    optimizer = optimizer_of(1e-3)
    plain = rates(optimizer, schedule(optimizer, "PolyLR", 20, *opts), 20)
    optimizer = optimizer_of(1e-3)
    warm = ("SOLVER.WARMUP_ITERS", "5", "SOLVER.WARMUP_FACTOR", "0.2")
    seen = rates(optimizer, schedule(optimizer, "PolyLR", 20, *opts, *warm), 20)
    assert seen[5:] == plain[5:]
    (first,) = plain[0]
    assert first == pytest.approx(1e-3 * 0.5**0.9)
    expected = [first * share for share in (0.2, 0.36, 0.52, 0.68, 0.84)]
    assert [rate for (rate,) in seen[:5]] == pytest.approx(expected)


@pytest.mark.parametrize("iterations", [3, 4])
def test_a_trial_that_ends_within_its_warm_up_runs_and_says_so(iterations, caplog):
    optimizer = optimizer_of(1.0)
    with caplog.at_level(logging.WARNING, "rskt_seg.d2.schedule"):
        seen = rates(optimizer, schedule(optimizer, "PolyLR", iterations, *WARM_UP), iterations)
    assert [rate for (rate,) in seen] == pytest.approx([1e-6, 0.25, 0.5, 0.75][:iterations], abs=1e-6)
    assert f"WARMUP_ITERS is 4, SOLVER.MAX_ITER {iterations}" in caplog.text


def test_a_training_longer_than_its_warm_up_has_nothing_to_say(caplog):
    with caplog.at_level(logging.WARNING, "rskt_seg.d2.schedule"):
        schedule(optimizer_of(1.0), "PolyLR", 5, *WARM_UP)
    assert not caplog.records


@pytest.mark.parametrize("file", ["deepglobe/1_local", "inria/4_published", "tiny"])
def test_the_files_of_fctl_have_no_warm_up(file):
    cfg = load_config(str(CONFIGS.parent / "fctl" / f"{file}.yaml"))
    optimizer = optimizer_of(cfg.SOLVER.BASE_LR)
    scheduler = Trainer.build_lr_scheduler(cfg, optimizer)
    law = poly(cfg.SOLVER.MAX_ITER, 0.9, 0.5 if file == "inria/4_published" else 0.0)
    expected = [law(cfg.SOLVER.BASE_LR, t) for t in range(60)]
    assert [rate for (rate,) in rates(optimizer, scheduler, 60)] == expected


def test_every_group_starts_at_its_own_rate():
    optimizer = optimizer_of(1e-3, 1e-4)
    seen = rates(optimizer, schedule(optimizer, "PolyLR", 10, "SOLVER.POLY_POWER", "1.0"), 10)
    assert seen[0] == [1e-3, 1e-4] and seen[5] == pytest.approx([5e-4, 5e-5])
    optimizer = optimizer_of(1e-3, 1e-4)
    seen = rates(optimizer, schedule(optimizer, "EpochCosineLR", 10, "SOLVER.EPOCHS", "10"), 10)
    assert seen[5] == pytest.approx([(1e-3 + 1e-6) / 2, (1e-4 + 1e-6) / 2])


@pytest.mark.parametrize(
    ("name", "opts"), [("EpochCosineLR", ("SOLVER.EPOCHS", "5")), ("PolyLR", ()), ("PolyLR", WARM_UP)]
)
@pytest.mark.parametrize("done", [0, 1, 2, 4, 11])
def test_a_resumed_run_goes_on_with_the_same_rates(name, opts, done):
    optimizer = optimizer_of(1e-3, 1e-4)
    whole = rates(optimizer, schedule(optimizer, name, 12, *opts), 12)
    optimizer = optimizer_of(1e-3, 1e-4)
    scheduler = schedule(optimizer, name, 12, *opts)
    rates(optimizer, scheduler, done)
    # As Detectron2 keeps it in a checkpoint: the state of its hook, and that of the optimiser.
    saved = copy.deepcopy([hooks.LRScheduler(optimizer, scheduler).state_dict(), optimizer.state_dict()])
    again = optimizer_of(1e-3, 1e-4)
    fresh = schedule(again, name, 12, *opts)
    hooks.LRScheduler(again, fresh).load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    with warnings.catch_warnings():  # PyTorch misses the first step, which the other run made
        warnings.simplefilter("ignore", UserWarning)
        assert rates(again, fresh, 12 - done) == whole[done:]


def test_a_warm_up_that_would_not_happen_is_refused():
    with pytest.raises(ConfigError, match=r"no warm-up: set SOLVER.WARMUP_ITERS to 0; found 1000"):
        schedule(optimizer_of(1e-3), "EpochCosineLR", 10, "SOLVER.WARMUP_ITERS", "1000")


@pytest.mark.parametrize(
    ("key", "value"), [("METHOD", "constant"), ("FACTOR", "-0.1"), ("FACTOR", "1.5"), ("ITERS", "-1")]
)
def test_a_warm_up_that_is_no_linear_rise_is_refused(key, value):
    with pytest.raises(ConfigError, match=rf"SOLVER\.WARMUP_{key}.*found '?{value}"):
        schedule(optimizer_of(1e-3), "PolyLR", 10, *WARM_UP, f"SOLVER.WARMUP_{key}", value)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("EpochCosineLR", "EPOCHS", "0"),
        ("EpochCosineLR", "LR_FLOOR", "0.01"),
        ("EpochCosineLR", "LR_FLOOR", "-0.01"),
        ("PolyLR", "POLY_POWER", "-1.0"),
        ("PolyLR", "POLY_START", "1.0"),
        ("PolyLR", "POLY_START", "-0.1"),
    ],
)
def test_impossible_settings_are_refused(name, key, value):
    with pytest.raises(ConfigError, match=f"SOLVER.{key}"):
        schedule(optimizer_of(1e-3), name, 10, f"SOLVER.{key}", value)


def test_other_names_are_those_of_detectron2():
    assert isinstance(schedule(optimizer_of(1e-3), "PolyLR", 10), IterationLR)
    assert isinstance(schedule(optimizer_of(1e-3), "WarmupCosineLR", 10), LRMultiplier)
    with pytest.raises(ConfigError, match=r"CosineLR.*EpochCosineLR and PolyLR"):
        schedule(optimizer_of(1e-3), "CosineLR", 10)
