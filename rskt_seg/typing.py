"""Protocols of what generic code may ask of a model, instead of probing it."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn


class Spec(Protocol):
    """A frozen dataclass whose fields are the options of a model."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Output(Protocol):
    """What a model returns: `logits` (B, T, h, w), and whatever else the method has."""

    @property
    def logits(self) -> Tensor: ...


class SegmentationModel(Protocol):
    """A plain torch module that segments images: what every method of the project provides.

    `rskt_seg.methods.method_of(model)` says how it is called: with a vocabulary or without, on whole images,
    tiles or patches.
    """

    training: bool

    @property
    def spec(self) -> Any:
        """The options it was built with (see `Spec`)."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return an `Output`."""

    def scores(self, output: Any) -> Tensor:
        """Return class scores (B, T, h, w) in 0..1 of an output."""

    def losses(self, output: Any, target: Tensor, ignore_value: int = 255) -> dict[str, Tensor]:
        """Return named scalars whose sum is the training objective, for targets (B, H, W) int64."""

    # What is used of torch.nn.Module.
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...
    def get_submodule(self, target: str) -> nn.Module: ...
    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...
    def requires_grad_(self, requires_grad: bool = True) -> Self: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...
    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]: ...
    def train(self, mode: bool = True) -> Self: ...
    def eval(self) -> Self: ...
    def to(self, device: torch.device | str) -> Self: ...


class ClosedSetModel(SegmentationModel, Protocol):
    """A model with a fixed set of classes."""

    class_names: tuple[str, ...] | None
    """What the classes are called, in the order of their ids; None where a checkpoint did not say so."""


class OpenVocabularyModel(SegmentationModel, Protocol):
    """A model called as `model(images, vocabulary, padding=...)`; see `WholeImageStrategy`."""

    @property
    def working_side(self) -> int:
        """Side (px) of the square that the model sees."""
