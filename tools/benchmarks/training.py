"""One training step: forward, loss and backward, in the published form and in ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.equality import UnequalError
from benchmarks.plain import Plain
from benchmarks.timing import Clock, Sample, turns
from rskt_seg.methods.optimize import optimize_for_training
from rskt_seg.models import RSKT

FORMS = ("plain", "model", "form", "recomputed")
_MOST_RELATIVE = 1e-4
"""Greatest relative difference of the loss and of the norm of all gradients."""


class Step:
    """A step of one form; its forward pass is followed by one backward pass."""

    def __init__(self, model: nn.Module, forward: Callable[[], Tensor]) -> None:
        self.model, self._forward = model, forward
        self.loss = torch.tensor(torch.nan)

    def forward(self) -> None:
        """Compute the loss."""
        for parameter in self.model.parameters():
            parameter.grad = None
        self.loss = self._forward()

    def backward(self) -> None:
        """Compute the gradients; what was saved for them is freed."""
        self.loss.backward()
        self.loss = self.loss.detach()

    def run(self) -> None:
        """Make both passes."""
        self.forward()
        self.backward()


def make_target(images: Tensor, classes: int) -> Tensor:
    """Draw labels (B, H, W) of images (B, 3, H, W) on their device, a tenth of them ignored."""
    generator = torch.Generator().manual_seed(2)
    target = torch.randint(0, classes, (len(images), *images.shape[2:]), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.1] = 255
    return target.to(images.device)


def make_step(model: RSKT, form: str, images: Tensor, vocabulary: Sequence[str]) -> Step:
    """Prepare the step of a form on random labels.

    Args:
        model: The model, which is put in training mode.
        form: One of `FORMS`.
        images: (B, 3, H, W).
        vocabulary: T class names.

    Returns:
        The step.
    """
    model.train()
    target = make_target(images, len(vocabulary))
    if form == "plain":
        plain = Plain(model)
        return Step(model, lambda: plain.loss(plain(images, vocabulary), target))
    trained = model
    if form != "model":
        trained = optimize_for_training(model, recompute=form == "recomputed")
    return Step(model, lambda: model.losses(trained(images, vocabulary), target)["loss_sem_seg"])


@dataclass(frozen=True)
class TrainingTimes:
    """Samples of a form.

    Attributes:
        forward: Forward passes with the loss.
        backward: Backward passes.
        saved: Bytes that the forward pass keeps for the backward one, parameters excluded.
    """

    forward: tuple[Sample, ...]
    backward: tuple[Sample, ...]
    saved: int

    @property
    def whole(self) -> list[Sample]:
        """Both passes of each step."""
        return [
            Sample(a.seconds + b.seconds, a.wall + b.wall, a.cpu + b.cpu)
            for a, b in zip(self.forward, self.backward, strict=True)
        ]


def saved_bytes(step: Step) -> int:
    """Run a forward pass, and count the storages that it saves for the backward one.

    Args:
        step: A step; its backward pass may follow.

    Returns:
        Bytes of all storages, each counted once, those of parameters left out.
    """
    weights = {each.untyped_storage().data_ptr() for each in step.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        step.forward()
    return sum(kept.values())


def gradient_norm(model: nn.Module) -> float:
    """Return the L2 norm of all gradients."""
    squares = [each.grad.double().square().sum() for each in model.parameters() if each.grad is not None]
    return float(torch.stack(squares).sum().sqrt())


def time_steps(steps: Mapping[str, Step], pairs: int, clock: Clock) -> dict[str, TrainingTimes]:
    """Time the steps of all forms in turns, once they have given the same loss and gradients.

    Args:
        steps: Form -> its step, the plain one first; their models are in evaluation mode again afterwards.
        pairs: Number of rounds.
        clock: What measures.

    Returns:
        Form -> its times.

    Raises:
        UnequalError: The forms differ.
    """
    saved, values = {}, {}
    for form, step in steps.items():
        saved[form] = saved_bytes(step)
        step.backward()
        values[form] = (float(step.loss), gradient_norm(step.model))
    _require_equal(values)
    forward: dict[str, list[Sample]] = {form: [] for form in steps}
    backward: dict[str, list[Sample]] = {form: [] for form in steps}
    for order in turns(tuple(steps), pairs):
        for form in order:
            forward[form].append(clock.measure(steps[form].forward))
            backward[form].append(clock.measure(steps[form].backward))
    for step in steps.values():
        step.model.zero_grad(set_to_none=True)
        step.model.eval()
    return {form: TrainingTimes(tuple(forward[form]), tuple(backward[form]), saved[form]) for form in steps}


def _require_equal(values: dict[str, tuple[float, float]]) -> None:
    (_, expected), *others = values.items()
    for form, given in others:
        compared = zip(("loss", "norm of the gradients"), expected, given, strict=True)
        for what, plain, found in compared:
            if not abs(found - plain) <= _MOST_RELATIVE * abs(plain):
                raise UnequalError(
                    f"a training step of {form} differs from the plain one: expected a {what} of {plain:.7g} "
                    f"within {_MOST_RELATIVE:g}; found {found:.7g}. No time is given for another computation"
                )
