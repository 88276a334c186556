"""From a model with its names to graphs of tensors, by `torch.export`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from rskt_seg.encoders.text import TextTower
from rskt_seg.inference.cells import WindowPlan
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.strategies import Strategy
from rskt_seg.layers.inference_form import copy_around
from rskt_seg.methods.registry import method_of

_EXAMPLES = 2  # of a batch; one would become a constant of the graph
M = TypeVar("M", bound=nn.Module)


class WindowGraph(nn.Module):
    """What becomes of windows: their scores at pixels, and the maps that a scene blends.

    Args:
        strategy: The model with its names.
        plan: How windows cover a large scene.
    """

    def __init__(self, strategy: Strategy, plan: WindowPlan) -> None:
        super().__init__()
        self.model = cast(nn.Module, strategy.model)  # so that its weights are those of the graph
        self.strategy, self.plan = strategy, plan

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Compute scores and maps.

        Args:
            inputs: (B, ...), in the order of `Strategy.graph_inputs`.

        Returns:
            "scores" (B, T, side, side) in 0..1 and "maps" (B, K, rows, columns).
        """
        names = self.strategy.graph_inputs(self.plan)
        maps = self.strategy.graph_maps(dict(zip(names, inputs, strict=True)), self.plan)
        pixels, side = maps, self.plan.side
        if self.plan.cell > 1:  # as `CellMeans.pixels` does
            pixels = F.interpolate(maps, (side, side), mode="bilinear", align_corners=False)
        # A strategy takes one map of any size: all windows, one below the other.
        scores = self.strategy.map_scores(pixels.transpose(0, 1).flatten(1, 2))
        return {"scores": scores.unflatten(1, (-1, side)).transpose(0, 1), "maps": maps}


class ScoreGraph(nn.Module):
    """What becomes of blended maps: the scores of their pixels."""

    def __init__(self, map_scores: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.map_scores = map_scores

    def forward(self, maps: Tensor) -> Tensor:
        """Compute scores.

        Args:
            maps: (K, h, w).

        Returns:
            (T, h, w).
        """
        return self.map_scores(maps).clone()  # a graph may not return its input


def trace_windows(strategy: Strategy, plan: WindowPlan) -> ExportedProgram:
    """Trace what becomes of windows, in the plain form of the model, for any number of them.

    Args:
        strategy: The model with its names.
        plan: How windows cover a large scene.

    Returns:
        The program of `WindowGraph`, without the text encoder of the model: its embeddings are constants.
    """
    examples = tuple(torch.ones(_EXAMPLES, *shape) for shape in strategy.graph_inputs(plan).values())
    batch = Dim("windows", min=1)
    shapes = (tuple({0: batch} for _ in examples),)
    model, text_tower = strategy.model, method_of(strategy.model).text_tower
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(torch.inference_mode(False))
        if text_tower is not None:
            tower = text_tower(model)
            stack.enter_context(_holding(tower, strategy.prompts))
            strategy = replace(strategy, model=_without_texts(model, text_tower))
        # What spares memory where no gradient is asked for, by loops over images and strips, is no graph.
        stack.enter_context(torch.enable_grad())
        return torch.export.export(WindowGraph(strategy, plan), examples, dynamic_shapes=shapes, strict=False)


def channels_of(program: ExportedProgram) -> int:
    """Return the number K of maps that the program of `trace_windows` returns."""
    maps = program.graph_signature.user_outputs[-1]
    (node,) = (each for each in program.graph.nodes if each.name == maps)
    return int(node.meta["val"].shape[1])


def trace_scores(strategy: Strategy, channels: int) -> ExportedProgram:
    """Trace what becomes of blended maps of any size.

    Args:
        strategy: The model with its names.
        channels: K, the number of maps.

    Returns:
        The program of `ScoreGraph`.
    """
    shapes = ({1: Dim("rows", min=1), 2: Dim("columns", min=1)},)
    with torch.no_grad():
        graph = ScoreGraph(strategy.map_scores).eval()
        return torch.export.export(graph, (torch.rand(channels, 5, 7),), dynamic_shapes=shapes, strict=False)


@contextmanager
def _holding(tower: TextTower, names: tuple[str, ...]) -> Iterator[None]:
    """Make the embeddings of names constants, which need no text encoder."""
    with torch.no_grad():
        tower.bank.held = names, tower.bank(tower.clip, names).clone()
    try:
        yield
    finally:
        tower.bank.held = None


def _without_texts(model: Any, text_tower: Callable[[Any], TextTower]) -> Any:
    """Return a copy that shares the weights of a model, but for those of its text encoder, which it lacks."""
    copied = _copy(model)
    clip = text_tower(copied).clip
    texts = set(map(id, clip.text_parameters()))
    for module in clip.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in texts:
                module.register_parameter(name, None)
    return copied


def _copy(module: M) -> M:
    children = {name: child and _copy(child) for name, child in module._modules.items()}
    return copy_around(module, children)
