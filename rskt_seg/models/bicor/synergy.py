"""HBIS, the heatmap-driven bidirectional synergy of class embeddings and pixel features.

Shapes: B image, N class, C channel, S pixel of the stride-4 map. Pixel features are (B, S, C) throughout.
Two exact rearrangements make a layer cheap. A linear map of a weighted sum is the weighted sum of the mapped
features, so features are pooled before they are projected. And the modulated features of all classes,
weighted by the assignment A (B, S, N), are F * (A gamma) + A beta, so that no tensor has an entry for every
class, channel and pixel.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from rskt_seg.models.bicor.spec import BiCoRSpec

_EPSILON = 1e-6


class HBIS(nn.Module):
    """One layer: heatmaps, then class embeddings updated from features, then features from embeddings."""

    def __init__(self, spec: BiCoRSpec, pixel_width: int, class_width: int) -> None:
        """Build a layer with random weights.

        Args:
            spec: Options, among them those that restore the paper's equations.
            pixel_width: Channels of the pixel features.
            class_width: Channels of the class embeddings.
        """
        super().__init__()
        self.spec = spec
        self.gate_inputs = "normalized" if spec.gate == "channel" else "raw"
        reads_classes = "normalized" in (spec.heatmap_inputs, self.gate_inputs)
        reads_pixels = "normalized" in (spec.heatmap_inputs, spec.pooled_inputs)
        self.class_norm = nn.LayerNorm(class_width) if reads_classes else nn.Identity()
        self.pixel_norm = nn.LayerNorm(pixel_width) if reads_pixels else nn.Identity()
        self.query = nn.Linear(class_width, pixel_width, bias=False)
        self.value = nn.Linear(pixel_width, class_width, bias=False)
        per_channel = spec.gate == "channel"
        self.gate = _mlp(2 * class_width, class_width) if per_channel else nn.Linear(2 * class_width, 1)
        self.candidate = _mlp(class_width, class_width) if spec.candidate == "mlp" else nn.Identity()
        self.gamma = nn.Linear(class_width, pixel_width)
        self.beta = nn.Linear(class_width, pixel_width)
        learned = spec.mixing == "learned"
        self.film_weight = nn.Parameter(torch.tensor(spec.film_weight)) if learned else spec.film_weight

    def forward(self, classes: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Update class embeddings and pixel features.

        Args:
            classes: (B, N, C).
            pixels: (B, S, C).

        Returns:
            Both, updated, and heatmap logits (B, N, S).
        """
        for _ in range(self.spec.inner_steps):
            classes, pixels, scores = self._step(classes, pixels)
        return classes, pixels, scores / self.spec.temperature

    def _step(self, classes: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Apply the weights of the layer once; returns classes, pixels and scores (B, N, S)."""
        inputs = {"raw": (classes, pixels), "normalized": (self.class_norm(classes), self.pixel_norm(pixels))}
        scores = self._scores(*inputs[self.spec.heatmap_inputs])
        weights = pool_weights(scores, self.spec).to(pixels.dtype)  # (B, N, S)
        context = self.value(weights @ inputs[self.spec.pooled_inputs][1])  # (B, N, C), equation 3
        # Equations 4 and 5; the gate is (B, N, C), or (B, N, 1) for one gate a class.
        gate = self.gate(torch.cat([inputs[self.gate_inputs][0], context], dim=-1)).sigmoid()
        classes = torch.lerp(classes, self.candidate(context).to(classes.dtype), gate.to(classes.dtype))
        return classes, self._modulate(classes, pixels, self._assignment(scores)), scores

    def _scores(self, classes: Tensor, pixels: Tensor) -> Tensor:
        """Compute equation 1 before its sigmoid, (B, N, S)."""
        scale = 1 / math.sqrt(pixels.shape[-1]) if self.spec.heatmap_inputs == "normalized" else 1.0
        return (self.query(classes) * scale) @ pixels.transpose(1, 2)

    def _assignment(self, scores: Tensor) -> Tensor:
        """Compute equation 9, (B, S, N), which sums to one over classes."""
        logits = scores / self.spec.temperature if self.spec.assignment == "scores" else scores.sigmoid()
        return logits.softmax(dim=1).transpose(1, 2)

    def _modulate(self, classes: Tensor, pixels: Tensor, assignment: Tensor) -> Tensor:
        """Compute equations 6, 7, 8 and 10 for an assignment (B, S, N); returns features (B, S, C).

        The assignment sums to one, so the share of the unmodulated features is part of the scale.
        """
        scale = 1 + self.film_weight * self.gamma(classes).tanh()
        shift = self.film_weight * self.beta(classes)
        return pixels * (assignment @ scale) + assignment @ shift


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.GELU(), nn.Linear(outputs, outputs))


@torch.no_grad()
def pool_weights(scores: Tensor, spec: BiCoRSpec) -> Tensor:
    """Divide the heatmap values of the selected pixels by their sum (equation 2), without gradient.

    If the values selected for a class sum to 1e-6 or less, all pixels are selected.

    Args:
        scores: Heatmap logits (B, N, S), not divided by the temperature.
        spec: `pooling` and its options select the pixels.

    Returns:
        Weights (B, N, S), in at least single precision.
    """
    heat = scores.to(torch.promote_types(scores.dtype, torch.float32)).sigmoid()
    kept = heat * _SELECTIONS[spec.pooling](heat, spec)
    total = kept.sum(dim=-1, keepdim=True)
    everywhere = heat / (heat.sum(dim=-1, keepdim=True) + _EPSILON)
    return torch.where(total <= _EPSILON, everywhere, kept / (total + _EPSILON))


def _highest(heat: Tensor, spec: BiCoRSpec) -> Tensor:
    pixels = int(heat.shape[-1])  # a tensor while torch.jit traces, which cannot be rounded
    count = min(pixels, max(spec.min_pixels, round(spec.topk_ratio * pixels)))
    if count == pixels:
        return torch.ones_like(heat)
    return torch.zeros_like(heat).scatter(-1, heat.topk(count, dim=-1, sorted=False).indices, 1.0)


def _above_quantile(heat: Tensor, spec: BiCoRSpec) -> Tensor:
    # Row by row: torch.quantile refuses tensors of over 2 ** 24 elements.
    bounds = torch.stack([row.quantile(spec.percentile) for row in heat.flatten(0, 1)])
    return heat >= bounds.view(*heat.shape[:2], 1)


# Name of `BiCoRSpec.pooling` -> mask of the pixels selected by heatmaps (B, N, S).
_SELECTIONS: Mapping[str, Callable[[Tensor, BiCoRSpec], Tensor]] = {
    "topk": _highest,
    "threshold": lambda heat, spec: heat >= spec.threshold,
    "percentile": _above_quantile,
    "all": lambda heat, spec: torch.ones_like(heat),
}
