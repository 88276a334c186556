"""Cost of an image: parameters of a model, and the FLOPs of every call that an inference strategy makes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from rskt_seg.analysis.flops import count_flops, counting
from rskt_seg.inference.strategies import ModelCall, Strategy


@dataclass(frozen=True)
class Parameters:
    """Numbers of values in the parameters of a model; buffers are not counted.

    Attributes:
        total: All.
        trained: Those of parameters that an optimizer changes.
    """

    total: int
    trained: int

    @property
    def frozen(self) -> int:
        """Values of parameters that training leaves as they are."""
        return self.total - self.trained


@dataclass(frozen=True)
class CallCost:
    """Cost of a `rskt_seg.inference.strategies.ModelCall`.

    Attributes:
        crop: What the model sees.
        crops: Number of crops of one call; None if the strategy does not state it.
        times: Number of such calls for one image.
        flops: FLOPs of one call.
    """

    crop: str
    crops: int | None
    times: int
    flops: int


@dataclass(frozen=True)
class ImageCost:
    """Cost of one image of a size.

    Attributes:
        height: Height (px) of the image.
        width: Width (px) of the image.
        calls: The calls of the model.
        vocabulary_flops: FLOPs that the first image of a vocabulary costs more than those after it, such as
            those of a text encoder, whose results are kept.
    """

    height: int
    width: int
    calls: tuple[CallCost, ...]
    vocabulary_flops: int

    @property
    def flops(self) -> int:
        """FLOPs of the image, once its vocabulary is encoded."""
        return sum(call.times * call.flops for call in self.calls)

    @property
    def crops(self) -> int | None:
        """Crops that the model sees; None if the strategy does not state them."""
        counts = [None if call.crops is None else call.times * call.crops for call in self.calls]
        return None if None in counts else sum(count for count in counts if count is not None)


def count_parameters(model: Any) -> Parameters:
    """Count the parameters of a model.

    Args:
        model: The model, which may be on the device "meta".

    Returns:
        Their numbers.
    """
    sizes = [(each.numel(), each.requires_grad) for each in model.parameters()]
    return Parameters(sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains))


def calls_of(strategy: Strategy, size: tuple[int, int]) -> tuple[tuple[ModelCall, ...], bool]:
    """Return the calls of the model for an image.

    Args:
        strategy: How the model sees the image.
        size: (H, W) of the image.

    Returns:
        The calls, and whether the strategy states them; if not, there is one of `Strategy.score_map`.
    """
    stated = strategy.model_calls(size)
    if stated is not None:
        return stated, True
    blank = np.zeros((*size, 3), np.uint8)
    whole = ModelCall("whole image, in crops that are not stated", 0, 1, lambda: strategy.score_map(blank))
    return (whole,), False


def image_cost(strategies: Iterable[tuple[Strategy, int]], size: tuple[int, int]) -> ImageCost:
    """Count what an image costs.

    Args:
        strategies: How the image is seen, each with the number of times: one strategy once, or several for
            test-time augmentation. Their models are best on the device "meta", where nothing is computed.
        size: (H, W) of the image.

    Returns:
        The cost.
    """
    calls: list[CallCost] = []
    vocabulary = 0
    for strategy, times in strategies:
        model: nn.Module = strategy.model
        with counting(model):
            made, stated = calls_of(strategy, size)
            first = [count_flops(call.run) for call in made]
            flops = [count_flops(call.run) for call in made]
        vocabulary += sum(first) - sum(flops)
        calls += [
            CallCost(call.crop, call.crops if stated else None, call.times * times, count)
            for call, count in zip(made, flops, strict=True)
        ]
    return ImageCost(*size, tuple(calls), vocabulary)
