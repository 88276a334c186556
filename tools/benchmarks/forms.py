"""The forms that are compared, and the stages that each is timed by."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import rskt_seg
from benchmarks.plain import Plain
from rskt_seg.data.class_sets import DLRSD
from rskt_seg.errors import ConfigError
from rskt_seg.models import RSKT
from rskt_seg.models.cost_volumes.cost import cosine_cost, rotated_cost

STAGES = ("text", "clip", "remote", "dino", "guidance", "cost", "layers", "decoder")
"""Stages in their order; names of `benchmarks.work.Work`."""
PER_CLASS = ("text", "cost", "layers", "decoder")
"""Stages whose work depends on the number of classes."""


@dataclass(frozen=True)
class Form:
    """One form of the computation.

    Attributes:
        name: "plain" (the published computation), "model" (the model as it is trained), "form" (optimized
            for inference) or "published" (the published code itself).
        precision: "fp32" or "bf16".
        model: What is called.
    """

    name: str
    precision: str
    model: Any

    @property
    def label(self) -> str:
        """Name and precision."""
        return f"{self.name} {self.precision}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run what is inside as inference in the precision of the form."""
        with torch.inference_mode(), self._autocast():
            yield

    def _autocast(self) -> AbstractContextManager[object]:
        if self.name == "model" and self.precision == "bf16":
            return torch.autocast(self.model.device.type, torch.bfloat16)
        return nullcontext()

    def logits(self, images: Tensor, vocabulary: Sequence[str]) -> Tensor:
        """Compute the logits (B, T, 4G, 4G) of images (B, 3, H, W)."""
        with self.running():
            output = self.model(images, vocabulary)
        return output if isinstance(output, Tensor) else output.logits

    def embed_text(self, vocabulary: Sequence[str]) -> Tensor:
        """Encode a vocabulary anew."""
        if self.name != "plain":
            self.model.text_bank.clear()
        return self.model.embed_text(vocabulary)

    def stages(self, images: Tensor, vocabulary: Sequence[str]) -> dict[str, Callable[[], object]]:
        """Run all stages once, and return calls that repeat each on the same inputs.

        Args:
            images: (B, 3, H, W).
            vocabulary: T class names.

        Returns:
            Stage -> call; its names are `STAGES`.
        """
        model, sets = self.model, self.model.encoders
        with self.running():
            text = self.embed_text(vocabulary)
            squares = model.squares(images, None)
            features, clip_taps = model.see_by_clip(squares["clip"], 4)
            remote = model.remote_clip.tapped(squares["remote_clip"], sets.remote_taps)
            dino_features, dino_taps = model.see_by_dino(squares["dino"])
            taps = {
                "clip": clip_taps,
                "remote_clip": [remote.taps[i] for i in sets.remote_taps],
                "dino": dino_taps,
            }
            costs = (rotated_cost(features, text), cosine_cost(dino_features, text))
            image, guides = _guide(model, features, taps)
            embedding = model.cost(*costs)
            refined = _refine(model, embedding, image, text)
            model.decoder(refined, guides)
        calls: dict[str, Callable[[], object]] = {
            "text": lambda: self.embed_text(vocabulary),
            "clip": lambda: model.see_by_clip(squares["clip"], 4),
            "remote": lambda: model.remote_clip.tapped(squares["remote_clip"], sets.remote_taps),
            "dino": lambda: model.see_by_dino(squares["dino"]),
            "guidance": lambda: _guide(model, features, taps),
            "cost": lambda: model.cost(*costs),
            "layers": lambda: _refine(model, embedding, image, text),
            "decoder": lambda: model.decoder(refined, guides),
        }
        return {name: self._run(call) for name, call in calls.items()}

    def _run(self, call: Callable[[], object]) -> Callable[[], object]:
        def timed() -> object:
            with self.running():
                return call()

        return timed


def _guide(
    model: Any, features: Tensor, taps: Mapping[str, Sequence[Tensor]]
) -> tuple[Tensor, list[list[Tensor]]]:
    return F.relu(model.image_guidance(features[0])), model.guide(taps)


def _refine(model: Any, embedding: Tensor, image: Tensor, text: Tensor) -> Tensor:
    words = F.relu(model.text_guidance(F.normalize(text.mean(dim=1), dim=-1)))[None]
    # A clone, as layers may reuse the memory of the embedding.
    return model.aggregate(embedding.clone(), image, words)


def build_form(model: RSKT, name: str, precision: str) -> Form:
    """Build one form over the weights of a model.

    Args:
        model: A model in evaluation mode.
        name: "plain", "model" or "form".
        precision: "fp32" or "bf16"; plain is fp32 alone.

    Returns:
        The form.
    """
    if name == "plain":
        return Form(name, precision, Plain(model))
    if name == "form":
        return Form(name, precision, rskt_seg.optimize_for_inference(model, precision=precision))
    return Form(name, precision, model)


def form_keys(precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Return name and precision of the forms of a run; plain, which the others are compared with, first."""
    return [("plain", "fp32"), *((name, each) for each in precisions for name in ("model", "form"))]


def make_model(preset: str, device: torch.device) -> RSKT:
    """Build a model with random weights, the same in every process.

    Args:
        preset: Name of a preset of RSKT-Seg.
        device: Its device.

    Returns:
        The model in evaluation mode.
    """
    torch.manual_seed(0)
    model = rskt_seg.create_model(preset)
    assert isinstance(model, RSKT)
    return model.to(device).eval()


def make_images(model: RSKT, batch: int) -> Tensor:
    """Draw images (B, 3, S, S) of the working side, 0..255, on the device of a model."""
    side, generator = model.working_side, torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (batch, 3, side, side), generator=generator)
    return images.float().to(model.device)


def class_names(count: int) -> list[str]:
    """Return class names: those of DLRSD, then two of them side by side, then three.

    Raises:
        ConfigError: There are not so many.
    """
    joined = (" ".join(each) for length in (1, 2, 3) for each in permutations(DLRSD.names, length))
    names = list(dict.fromkeys(joined))
    if count > len(names):
        raise ConfigError(f"--classes must be at most {len(names)}; found {count}")
    return names[:count]


def prompt_tokens(model: RSKT, vocabulary: Sequence[str]) -> int:
    """Return the tokens of the longest prompt of a vocabulary."""
    bank = model.text_bank
    return max(
        bank.tokenizer.length(template.replace("{}", name))
        for name in vocabulary
        for template in bank.templates
    )
