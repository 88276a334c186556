"""The published optimiser: a learning rate and a weight decay for every parameter, and clipping."""

from collections.abc import Iterator

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import clip_grad_norm_

from rskt_seg.errors import ConfigError

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)
_CLIP_TYPES = ("full_model", "value", "norm")


def learning_rate_factors(cfg: CfgNode) -> tuple[tuple[str, float], ...]:
    """(Prefix of a parameter's name in the plain model, factor on `SOLVER.BASE_LR`); 1 for all others."""
    return (("clip.", cfg.SOLVER.CLIP_MULTIPLIER),)


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict]:
    """The trainable parameters of a plain model, grouped by learning rate and weight decay.

    Published values: norms and embedding tables have their own decay, biases are decayed like weights.
    Raises `ConfigError` where nothing trains.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter, decay in _trainable(cfg, model):
        factor = next((f for prefix, f in learning_rate_factors(cfg) if name.startswith(prefix)), 1.0)
        groups.setdefault((cfg.SOLVER.BASE_LR * factor, decay), []).append(parameter)
    if not groups:
        raise ConfigError("no parameter of the model trains; see MODEL.RSKT.CLIP_FINETUNE and DINO_FINETUNE")
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
    """AdamW or SGD over `parameter_groups`, with the gradient clipping of `SOLVER.CLIP_GRADIENTS`.

    `CLIP_TYPE` "full_model" limits the L2 norm of all gradients together, just before every step;
    "value" and "norm" are Detectron2's own, parameter by parameter. Raises `ConfigError`.
    """
    groups = parameter_groups(cfg, model)
    if cfg.SOLVER.OPTIMIZER == "ADAMW":
        optimizer = torch.optim.AdamW(groups, cfg.SOLVER.BASE_LR)
    elif cfg.SOLVER.OPTIMIZER == "SGD":
        optimizer = torch.optim.SGD(groups, cfg.SOLVER.BASE_LR, momentum=cfg.SOLVER.MOMENTUM)
    else:
        raise ConfigError(f"SOLVER.OPTIMIZER must be ADAMW or SGD; found {cfg.SOLVER.OPTIMIZER!r}")
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if clipping.CLIP_TYPE not in _CLIP_TYPES:
        raise ConfigError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be one of {', '.join(_CLIP_TYPES)}; "
            f"found {clipping.CLIP_TYPE!r}"
        )
    if not clipping.ENABLED or clipping.CLIP_TYPE != "full_model":
        return maybe_add_gradient_clipping(cfg, optimizer)
    parameters = [parameter for group in groups for parameter in group["params"]]

    def clip(*_: object) -> None:
        clip_grad_norm_(parameters, clipping.CLIP_VALUE)

    optimizer.register_step_pre_hook(clip)
    return optimizer
