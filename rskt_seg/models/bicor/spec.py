"""The options of a BiCoR-Seg model, all in one place.

Defaults are those of the published code in its LoveDA configuration; the options that restore the paper's
own wording name the equation. The Vaihingen and Potsdam configurations set `topk_ratio=1.0` (all pixels),
`final_fisher_weight=0.0`, and Potsdam `num_layers=3`.

Two differences between paper and code have no option. In the paper the initial class embeddings come from
the encoder, in a way that it does not describe: here they are a learned table, as in the code. It aggregates
by "MLPs": here one linear layer a scale, as in the code (SegFormer uses the same word).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from rskt_seg.errors import ConfigError
from rskt_seg.models.options import Range, check_options, refuse_unread
from rskt_seg.typing import Spec

_CHOICES = {
    "encoder": ("convnextb", "tiny"),
    "padding": ("published", "aligned"),
    "interaction": ("hbis", "cross_attention"),
    "pooling": ("topk", "threshold", "percentile", "all"),
    "heatmap_inputs": ("normalized", "raw"),
    "pooled_inputs": ("normalized", "raw"),
    "gate": ("channel", "class"),
    "candidate": ("mlp", "context"),
    "assignment": ("scores", "heatmap"),
    "mixing": ("fixed", "learned"),
    "head": ("shuffle", "product"),
    "heat_loss": ("logits", "heatmap"),
    "between": ("pairs", "center"),
}
_POOLING = {"topk": ("topk_ratio", "min_pixels"), "threshold": ("threshold",), "percentile": ("percentile",)}
_HBIS_ONLY = (
    "pooling",
    *(name for names in _POOLING.values() for name in names),
    "inner_steps",
    "temperature",
    "film_weight",
    "heatmap_inputs",
    "pooled_inputs",
    "gate",
    "candidate",
    "assignment",
    "mixing",
    "heat_weight",
    "heat_loss",
)
_RANGES: dict[str, Range] = {
    "num_classes": (2, 255),
    "num_layers": (1, 100),
    "width": (16, 16384),
    "min_pixels": (1, None),
    "inner_steps": (1, 100),
    "attention_heads": (1, None),
    "topk_ratio": (1e-6, 1.0),
    "threshold": (0.0, 1.0),
    "percentile": (0.0, 1.0),
    "temperature": (1e-3, None),
    "film_weight": (1e-3, 1.0),
    "stochastic_depth": (0.0, 0.99),
    "label_smoothing": (0.0, 0.99),
    **{f"{name}_weight": (0.0, None) for name in ("aux", "heat", "fisher", "final_fisher")},
}


@dataclass(frozen=True)
class BiCoRSpec(Spec):
    """Options of `rskt_seg.models.bicor.BiCoR`.

    Raises:
        ConfigError: A value is of the wrong type, not among its choices or out of range, or an option was
            changed that the chosen components do not read.
    """

    num_classes: int
    """Number of classes N."""
    encoder: str = "convnextb"
    """"convnextb" (ConvNeXt-B) or "tiny"."""
    num_layers: int = 2
    """Interaction layers L (table 5); published: 2, for Potsdam 3."""
    width: int = 256
    """Channels C of pixel features and class embeddings; a multiple of 16."""
    stochastic_depth: float = 0.5
    """Probability of dropping the encoder's last residual branch for an image in training."""
    padding: str = "published"
    """Images are padded with the mean colour at the right and bottom to multiples of 4 ("published": deeper
    stages round down, and their maps are stretched over the image) or of 32 ("aligned": every cell lies
    where its pixels are), and to at least 32 px. No difference for multiples of 32."""
    interaction: str = "hbis"
    """"hbis", or "cross_attention": the baseline of table 4, without heatmaps and heatmap loss."""
    attention_heads: int = 8
    """Heads of "cross_attention"."""
    pooling: str = "topk"
    """Pixels whose features update a class: the "topk" values of its heatmap, those above a "threshold" or a
    "percentile", or "all"."""
    topk_ratio: float = 0.02
    """Share of the pixels that "topk" keeps (figure 3); 1.0 for Vaihingen and Potsdam."""
    min_pixels: int = 64
    """Least number of pixels that "topk" keeps."""
    threshold: float = 0.5
    """Least heatmap value that "threshold" keeps."""
    percentile: float = 0.98
    """Quantile of the heatmap from which on "percentile" keeps a pixel."""
    inner_steps: int = 1
    """Number of times that a layer applies its weights."""
    temperature: float = 1.0
    """Divides the scores of the heatmap logits and of the class assignment, not those of the pooling."""
    film_weight: float = 0.5
    """Weight of the modulated features, 1 - alpha of equation 10; its initial value if `mixing="learned"`."""
    heatmap_inputs: str = "normalized"
    """Equation 1: dot products of "normalized" embeddings and features (layer norm), divided by sqrt(C)
    (published), or of the "raw" ones, not divided (paper)."""
    pooled_inputs: str = "normalized"
    """Equation 3: features are pooled "normalized" by a layer norm (published) or "raw" (paper)."""
    gate: str = "channel"
    """Equation 4: one gate a "channel", by a two-layer MLP on normalised embeddings and context (published),
    or one gate a "class", by a linear layer on raw embeddings and context (paper)."""
    candidate: str = "mlp"
    """Equation 5: the gate mixes in an "mlp" of the context (published) or the "context" (paper)."""
    assignment: str = "scores"
    """Equation 9: softmax over classes of the "scores" (published) or of the sigmoid "heatmap" (paper)."""
    mixing: str = "fixed"
    """Equation 10: `film_weight` is "fixed" (published) or "learned", one scalar a layer (paper)."""
    head: str = "shuffle"
    """"shuffle": pixel shuffle to full resolution, then the product with projected embeddings (published);
    "product": product at stride 4, then bilinear upsampling (paper, section 3.1)."""
    label_smoothing: float = 0.05
    """Smoothing of every cross-entropy; 0 restores equation 13."""
    mask_ignored: bool = False
    """Average cross-entropy over labelled pixels; published: over all, ignored ones count as 0."""
    aux_weight: float = 0.4
    """Weight of the cross-entropy of an auxiliary head before the layers; 0 (equation 12): no such head."""
    heat_weight: float = 0.1
    """Weight of the hierarchical heatmap loss, lambda_1 of equation 12."""
    heat_loss: str = "logits"
    """Equation 11: input of the heatmap loss, the "logits" of the heatmap (published) or the sigmoid
    "heatmap" (paper); the softmax is applied to either."""
    fisher_weight: float = 0.1
    """Weight of the Fisher loss summed over layers, lambda_2 of equation 12."""
    final_fisher_weight: float = 1.0
    """Additional weight of the last layer's Fisher loss: published 1 for LoveDA, else 0, as in the paper."""
    between: str = "pairs"
    """Equation 15: between-class scatter as mean squared distance of "pairs" of class means, at least 1e-4
    (published), or of class means to their "center" (paper)."""

    def __post_init__(self) -> None:
        check_options(self, _CHOICES, _RANGES)
        if self.width % 16:
            raise ConfigError(f"width must be a multiple of 16; found {self.width}")
        if self.interaction == "cross_attention" and self.width % self.attention_heads:
            raise ConfigError(f"attention_heads={self.attention_heads} must divide width={self.width}")
        for names, choice in self._unread():
            refuse_unread(self, names, choice)

    def _unread(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield options that the chosen components do not read, with the choice that makes it so."""
        if self.interaction == "cross_attention":
            yield _HBIS_ONLY, "interaction='cross_attention'"
        else:
            yield ("attention_heads",), "interaction='hbis'"
        for pooling, names in _POOLING.items():
            if pooling != self.pooling:
                yield names, f"pooling={self.pooling!r}"
        if self.topk_ratio == 1:
            yield ("min_pixels",), "topk_ratio=1.0"
        if self.heat_weight == 0:
            yield ("heat_loss",), "heat_weight=0.0"
        if self.fisher_weight == self.final_fisher_weight == 0:
            yield ("between",), "no Fisher loss"
