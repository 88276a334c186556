"""What generic code relies on in a model: the base of its specification, and protocols of its interface."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor, nn

ScoreKind = Literal["probabilities", "sigmoids", "shares"]
"""What the scores of a pixel are, each in 0..1: probabilities of the classes, which sum to one; independent
sigmoids; or shares of a softmax over more names than classes, which sum to one at most."""


@dataclass(frozen=True)
class Spec:
    """Base of the specifications: a frozen dataclass whose fields are the options of one model.

    A field is annotated as bool, int, float or str, or as a tuple of any length of one of these
    (`tuple[int, ...]`). `__post_init__` calls `rskt_seg.models.check_options`, then checks what concerns
    several options.
    """


class Output(Protocol):
    """Output of a model: `logits` (B, T, h, w), and whatever else the method returns."""

    @property
    def logits(self) -> Tensor: ...


class SegmentationModel(Protocol):
    """A torch module that segments images: the interface that every method provides.

    `rskt_seg.methods.method_of(model)` says how it is called: with a vocabulary or without, on whole images,
    tiles or patches. Arguments and outputs differ between methods, hence `Any`.
    """

    training: bool

    @property
    def spec(self) -> Any:
        """The options it was built with: an instance of a `Spec` subclass of its method."""

    @property
    def device(self) -> torch.device:
        """Device of its parameters."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return an `Output`."""

    def scores(self, output: Any) -> Tensor:
        """Return the class scores (B, T, h, w) in 0..1 of an output."""

    def losses(self, output: Any, target: Tensor, ignore_value: int = 255) -> dict[str, Tensor]:
        """Compute the losses of an output.

        Args:
            output: Output for B images.
            target: (B, H, W) int64 class ids, on the device of the output. Ids are checked on the CPU alone:
                on another device that would make every step wait for it.
            ignore_value: Id of pixels without a label.

        Returns:
            Named scalars whose sum is the training objective.
        """

    # Methods of torch.nn.Module that generic code calls.
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
    """Names of the classes in the order of their ids; None if they are unknown."""


class OpenVocabularyModel(SegmentationModel, Protocol):
    """A model called as `model(images, vocabulary, padding=...)`; see `WholeImageStrategy`."""

    @property
    def working_side(self) -> int:
        """Side (px) of the square to which the model resizes images."""

    @property
    def logits_side(self) -> int:
        """Side of the logits in cells."""
