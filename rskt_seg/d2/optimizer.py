"""The published optimisers: a learning rate and a weight decay for every parameter, clipping, Lookahead."""

from collections.abc import Iterator

import torch
from detectron2.config import CfgNode
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from rskt_seg.d2.methods.registry import method_of
from rskt_seg.errors import ConfigError

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)
_CLIP_TYPES = ("full_model", "value", "norm")


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict]:
    """The trainable parameters of a plain model, grouped by learning rate and weight decay.

    Published values: norms and embedding tables have their own decay, biases are decayed like weights.
    Raises `ConfigError` where nothing trains.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    factors = tuple(method_of(cfg).learning_rate_factors(cfg))
    for name, parameter, decay in _trainable(cfg, model):
        factor = next((factor for prefix, factor in factors if name.startswith(prefix)), 1.0)
        groups.setdefault((cfg.SOLVER.BASE_LR * factor, decay), []).append(parameter)
    if not groups:
        raise ConfigError(
            f"no parameter of the model trains; MODEL.{method_of(cfg).section} must leave some of them free"
        )
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def _trainable(cfg: CfgNode, model: nn.Module) -> Iterator[tuple[str, nn.Parameter, float]]:
    for prefix, module in model.named_modules():
        decay = cfg.SOLVER.WEIGHT_DECAY
        if isinstance(module, _NORMS):
            decay = cfg.SOLVER.WEIGHT_DECAY_NORM
        elif isinstance(module, nn.Embedding):
            decay = cfg.SOLVER.WEIGHT_DECAY_EMBED
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.requires_grad:
                yield name, parameter, decay


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of `SOLVER.OPTIMIZER` over `parameter_groups`, clipped and wrapped as configured.

    ADAMW, ADAM (weight decay is an L2 term of the gradient; both with betas 0.9 and 0.999, epsilon 1e-8)
    or SGD. Of `SOLVER.CLIP_GRADIENTS`, `CLIP_TYPE` "full_model" limits the L2 norm of all gradients
    together, just before every step; "value" and "norm" are Detectron2's, parameter by parameter.
    `SOLVER.LOOKAHEAD_STEPS` above 0 adds Lookahead (Zhang et al., 2019), see `add_lookahead`. Raises
    `ConfigError`.
    """
    optimizer = _plain_optimizer(cfg, parameter_groups(cfg, model))
    _add_clipping(cfg, optimizer)
    steps, alpha = cfg.SOLVER.LOOKAHEAD_STEPS, cfg.SOLVER.LOOKAHEAD_ALPHA
    if steps < 0:
        raise ConfigError(f"SOLVER.LOOKAHEAD_STEPS must be 0 (no Lookahead) or more; found {steps}")
    if not 0 < alpha <= 1:
        raise ConfigError(f"SOLVER.LOOKAHEAD_ALPHA must be above 0 and at most 1; found {alpha}")
    if steps > 0:
        add_lookahead(optimizer, steps, alpha)
    return optimizer


def _plain_optimizer(cfg: CfgNode, groups: list[dict]) -> torch.optim.Optimizer:
    name = cfg.SOLVER.OPTIMIZER
    if name == "ADAMW":
        return torch.optim.AdamW(groups, cfg.SOLVER.BASE_LR)
    if name == "ADAM":
        return torch.optim.Adam(groups, cfg.SOLVER.BASE_LR)
    if name == "SGD":
        return torch.optim.SGD(groups, cfg.SOLVER.BASE_LR, momentum=cfg.SOLVER.MOMENTUM)
    raise ConfigError(f"SOLVER.OPTIMIZER must be ADAMW, ADAM or SGD; found {name!r}")


def _add_clipping(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> None:
    """Clip gradients before every step, by a hook.

    Detectron2's own clipping changes the class of the optimiser; PyTorch then runs all hooks twice a step
    once a state was loaded.
    """
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if clipping.CLIP_TYPE not in _CLIP_TYPES:
        raise ConfigError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be one of {', '.join(_CLIP_TYPES)}; "
            f"found {clipping.CLIP_TYPE!r}"
        )
    if not clipping.ENABLED:
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def clip(*_: object) -> None:
        """Before each step."""
        if clipping.CLIP_TYPE == "full_model":
            clip_grad_norm_(parameters, clipping.CLIP_VALUE)
        elif clipping.CLIP_TYPE == "value":
            clip_grad_value_(parameters, clipping.CLIP_VALUE)
        else:
            for parameter in parameters:
                clip_grad_norm_(parameter, clipping.CLIP_VALUE, clipping.NORM_TYPE)

    optimizer.register_step_pre_hook(clip)


def add_lookahead(optimizer: torch.optim.Optimizer, steps: int, alpha: float) -> None:
    """Make every `steps`-th step of an optimiser end on weights that follow it slowly.

    After its steps 1, `steps` + 1, 2 `steps` + 1 and so on: slow += alpha (fast - slow), fast = slow, where
    fast are the weights that the optimiser left; slow starts as their copy at the first of these steps
    that finds a gradient. So published for BiCoR-Seg; the paper (Zhang et al., 2019) starts at step 0.
    Slow weights are part of the optimiser's state and the count of steps of its groups, so that both are
    saved and restored with it. A step that mixed precision leaves out does not count.
    """

    @torch.no_grad()
    def follow(stepped: torch.optim.Optimizer, *_: object) -> None:
        """After each step."""
        for group in stepped.param_groups:
            done = group.get("lookahead_count", 0)
            group["lookahead_count"] = done + 1
            if done % steps == 0:
                for fast in group["params"]:
                    _synchronize(stepped, fast, alpha)

    optimizer.register_step_post_hook(follow)


def _synchronize(optimizer: torch.optim.Optimizer, fast: nn.Parameter, alpha: float) -> None:
    if fast.grad is None and fast not in optimizer.state:
        return  # Adam takes a parameter with any state for one that it has prepared
    state = optimizer.state[fast]
    if "slow" not in state:
        state["slow"] = fast.detach().clone()
    slow = state["slow"]
    slow.add_(fast - slow, alpha=alpha)
    fast.copy_(slow)
