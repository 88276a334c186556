"""The optimiser is the published one, parameter by parameter."""

import json
import math
from pathlib import Path

import pytest
import torch

from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.d2.methods import method_of
from rskt_seg.d2.optimizer import build_optimizer, parameter_groups
from rskt_seg.d2.specs import model_spec
from rskt_seg.d2.trainer import Trainer
from rskt_seg.errors import ConfigError
from rskt_seg.methods.rskt.checkpoint import rules_for
from rskt_seg.models.rskt import RSKT
from tests.d2.conftest import CONFIGS, load_config, tiny_config

PUBLISHED = Path(__file__).parents[1] / "parity" / "rskt"
CASES = {
    "vitb_L5_efficient": ("vitb_dlrsd", []),
    "vitb_L2_original": ("vitb_dlrsd", ["MODEL.RSKT.NUM_LAYERS", "2", "MODEL.RSKT.AGGREGATOR", "original"]),
    "vitb_L2_concat_nodetail": ("vitb_dlrsd", ["MODEL.RSKT.NUM_LAYERS", "2", "MODEL.RSKT.FUSION", "concat"]),
    "vitl_L2_efficient": ("vitl_isaid", []),
}


@pytest.mark.parametrize("case", CASES)
def test_learning_rate_and_decay_of_every_parameter_are_the_published_ones(case):
    name, opts = CASES[case]
    cfg = load_config(str(CONFIGS / f"{name}.yaml"), opts)
    with torch.device("meta"):
        model = RSKT(model_spec(cfg))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    ours = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(cfg, model)
        for parameter in group["params"]
    }
    published = json.loads((PUBLISHED / f"param_groups_{case}.json").read_text())
    assert published["base_lr"] == cfg.SOLVER.BASE_LR
    values = {
        key: torch.tensor([v["lr"], v["weight_decay"]], dtype=torch.float64)
        for key, v in published["params"].items()
    }
    converted = convert(values, rules_for(model), LoadReport("published optimiser"))
    assert ours.keys() == converted.keys()
    for key, (rate, decay) in ours.items():
        assert [rate, decay] == pytest.approx(converted[key].tolist(), rel=1e-12), key


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return RSKT(model_spec(tiny_config()))


def test_every_trainable_parameter_is_in_one_group_and_no_frozen_one(model):
    grouped = [id(p) for group in parameter_groups(tiny_config(), model) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters() if p.requires_grad}


def test_the_keys_of_rates_and_decays_bite():
    rates = ("SOLVER.BASE_LR", "0.5", "SOLVER.CLIP_MULTIPLIER", "0.25", "MODEL.RSKT.CLIP_FINETUNE", "full")
    cfg = tiny_config(*rates, "SOLVER.WEIGHT_DECAY", "0.125", "SOLVER.WEIGHT_DECAY_NORM", "0.0625")
    pairs = {(g["lr"], g["weight_decay"]) for g in parameter_groups(cfg, RSKT(model_spec(cfg)))}
    assert pairs == {(0.5, 0.125), (0.5, 0.0625), (0.125, 0.125), (0.125, 0.0625)}


def test_embedding_tables_have_their_own_decay():
    cfg = tiny_config("SOLVER.WEIGHT_DECAY_EMBED", "0.75")
    table = torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.Linear(2, 2))
    decays = {g["weight_decay"]: [p.shape for p in g["params"]] for g in parameter_groups(cfg, table)}
    assert decays[0.75] == [(3, 2)]


def test_factors_go_by_the_beginning_of_a_name(model):
    factors = dict(method_of(cfg := tiny_config()).learning_rate_factors(cfg))
    assert all(any(name.startswith(prefix) for name, _ in model.named_parameters()) for prefix in factors)


def test_the_optimizer_is_the_one_asked_for(model):
    assert isinstance(build_optimizer(tiny_config(), model), torch.optim.AdamW)
    sgd = build_optimizer(tiny_config("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", "0.5"), model)
    assert isinstance(sgd, torch.optim.SGD) and sgd.defaults["momentum"] == 0.5
    adam = build_optimizer(tiny_config("SOLVER.OPTIMIZER", "ADAM"), model)
    assert type(adam) is torch.optim.Adam
    assert (adam.defaults["betas"], adam.defaults["eps"]) == ((0.9, 0.999), 1e-8)
    with pytest.raises(ConfigError, match="ADAMW, ADAM or SGD"):
        build_optimizer(tiny_config("SOLVER.OPTIMIZER", "LION"), model)
    with pytest.raises(ConfigError, match="CLIP_TYPE"):
        build_optimizer(tiny_config("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "whole"), model)


def test_a_model_of_which_nothing_trains_is_refused():
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ConfigError, match=r"no parameter.*MODEL\.RSKT"):
        build_optimizer(tiny_config(), frozen)


def clipped_norms(cfg, scale: float) -> list[float]:
    """Norms of the gradients of two layers after a step that found them `scale` and 2 `scale` large."""
    layers = torch.nn.ModuleList([torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)])
    optimizer = build_optimizer(cfg, layers)
    for factor, layer in enumerate(layers, start=1):
        layer.weight.grad = torch.full((4, 4), scale * factor / 4)
    optimizer.step()
    return [layer.weight.grad.norm().item() for layer in layers]


def test_full_model_clipping_limits_the_norm_of_all_gradients_together():
    kind = ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.01", "SOLVER.OPTIMIZER", "SGD")
    small, large = clipped_norms(tiny_config(*kind), scale=3.0)
    assert math.hypot(small, large) == pytest.approx(0.01, rel=1e-3)
    assert large / small == pytest.approx(2)
    assert clipped_norms(tiny_config(*kind), scale=1e-3) == pytest.approx([1e-3, 2e-3])


def test_other_clipping_is_by_parameter_and_none_leaves_gradients_alone():
    norm = ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.01", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm")
    assert clipped_norms(tiny_config(*norm), scale=3.0) == pytest.approx([0.01, 0.01], rel=1e-3)
    assert clipped_norms(tiny_config(*norm), scale=1e-3) == pytest.approx([1e-3, 2e-3])
    value = ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "0.01", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value")
    assert clipped_norms(tiny_config(*value), scale=0.03) == pytest.approx([0.03, 0.04])
    off = ("SOLVER.CLIP_GRADIENTS.ENABLED", "False")
    assert clipped_norms(tiny_config(*off), scale=3.0) == pytest.approx([3, 6])


def test_the_schedule_is_the_published_cosine_for_every_group():
    cfg = load_config(str(CONFIGS / "vitb_dlrsd.yaml"))
    rates = [2e-4, 2e-6]
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    optimizer = torch.optim.AdamW(groups)
    schedule = Trainer.build_lr_scheduler(cfg, optimizer)
    for t in (0, 1, 7500, 15000, 29999):
        schedule.last_epoch = t
        expected = [0.5 * rate * (1 + math.cos(math.pi * t / 30000)) for rate in rates]
        assert schedule.get_lr() == pytest.approx(expected, rel=1e-9, abs=1e-18)
