"""The published optimizers: a learning rate and a weight decay for every parameter, clipping, Lookahead."""

from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from rskt_seg.d2.methods.registry import method_of
from rskt_seg.errors import ConfigError
from rskt_seg.typing import SegmentationModel

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)
_CLIP_TYPES = ("full_model", "value", "norm")


def parameter_groups(cfg: CfgNode, model: SegmentationModel) -> list[dict[str, Any]]:
    """Group the trainable parameters of a plain model by learning rate and weight decay.

    As published, norms and embedding tables have a weight decay of their own, and biases that of weights.

    Args:
        cfg: The configuration.
        model: The plain model.

    Returns:
        Groups for an optimizer, each with `params`, `lr` and `weight_decay`.

    Raises:
        ConfigError: No parameter is trainable.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    factors = tuple(method_of(cfg).learning_rate_factors(cfg))
    for path, module in model.named_modules():
        decay = cfg.SOLVER.WEIGHT_DECAY
        if isinstance(module, _NORMS):
            decay = cfg.SOLVER.WEIGHT_DECAY_NORM
        elif isinstance(module, nn.Embedding):
            decay = cfg.SOLVER.WEIGHT_DECAY_EMBED
        for name, parameter in module.named_parameters(path, recurse=False):
            if parameter.requires_grad:
                factor = next((factor for prefix, factor in factors if name.startswith(prefix)), 1.0)
                groups.setdefault((cfg.SOLVER.BASE_LR * factor, decay), []).append(parameter)
    if not groups:
        raise ConfigError(
            f"no parameter of the model is trainable; change the options of MODEL.{method_of(cfg).section} "
            "that freeze its encoders"
        )
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def build_optimizer(cfg: CfgNode, model: SegmentationModel) -> torch.optim.Optimizer:
    """Return the optimizer of `SOLVER.OPTIMIZER` over `parameter_groups`.

    * `OPTIMIZER` is ADAMW, ADAM (weight decay is an L2 term of the gradient; both with betas 0.9 and 0.999,
      epsilon 1e-8) or SGD.
    * `CLIP_GRADIENTS.CLIP_TYPE` "full_model" limits the L2 norm of all gradients together, just before every
      step; "value" and "norm" are Detectron2's, parameter by parameter.
    * `LOOKAHEAD_STEPS` above 0 adds Lookahead (Zhang et al., 2019), see `add_lookahead`.

    Args:
        cfg: The configuration.
        model: The plain model.

    Returns:
        The optimizer, with its hooks.

    Raises:
        ConfigError: A key of `SOLVER` cannot be used, or no parameter is trainable.
    """
    groups, name = parameter_groups(cfg, model), cfg.SOLVER.OPTIMIZER
    optimizer: torch.optim.Optimizer
    if name == "ADAMW":
        optimizer = torch.optim.AdamW(groups, cfg.SOLVER.BASE_LR)
    elif name == "ADAM":
        optimizer = torch.optim.Adam(groups, cfg.SOLVER.BASE_LR)
    elif name == "SGD":
        optimizer = torch.optim.SGD(groups, cfg.SOLVER.BASE_LR, momentum=cfg.SOLVER.MOMENTUM)
    else:
        raise ConfigError(f"SOLVER.OPTIMIZER must be ADAMW, ADAM or SGD; found {name!r}")
    _add_clipping(cfg, optimizer)
    steps, alpha = cfg.SOLVER.LOOKAHEAD_STEPS, cfg.SOLVER.LOOKAHEAD_ALPHA
    if steps < 0:
        raise ConfigError(f"SOLVER.LOOKAHEAD_STEPS must be 0 (no Lookahead) or more; found {steps}")
    if not 0 < alpha <= 1:
        raise ConfigError(f"SOLVER.LOOKAHEAD_ALPHA must be above 0 and at most 1; found {alpha}")
    if steps > 0:
        add_lookahead(optimizer, steps, alpha)
    return optimizer


def _add_clipping(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> None:
    """Clip gradients before every step, by a hook.

    Detectron2's own clipping changes the class of the optimizer; PyTorch then runs all hooks twice a step
    once a state has been loaded.
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
        if clipping.CLIP_TYPE == "full_model":
            clip_grad_norm_(parameters, clipping.CLIP_VALUE)
        elif clipping.CLIP_TYPE == "value":
            clip_grad_value_(parameters, clipping.CLIP_VALUE)
        else:
            for parameter in parameters:
                clip_grad_norm_(parameter, clipping.CLIP_VALUE, clipping.NORM_TYPE)

    optimizer.register_step_pre_hook(clip)


def add_lookahead(optimizer: torch.optim.Optimizer, steps: int, alpha: float) -> None:
    """Add Lookahead to an optimizer: every `steps` steps its weights move back towards slow weights.

    After the steps 1, `steps` + 1, 2 `steps` + 1 and so on: slow += alpha (fast - slow), fast = slow, where
    fast are the weights that the optimizer left; slow starts as a copy of them at the first of these steps
    that finds a gradient. This is published for BiCoR-Seg; the paper (Zhang et al., 2019) starts at step 0.
    Slow weights are in the state of the optimizer and the number of steps in its groups, so that both are
    saved and restored with it. A step that mixed precision skips does not count.

    Args:
        optimizer: Changed in place, by a hook.
        steps: Steps from one synchronization to the next, at least 1.
        alpha: Share of the way from slow to fast weights, above 0 and at most 1.
    """

    @torch.no_grad()
    def follow(stepped: torch.optim.Optimizer, *_: object) -> None:
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
