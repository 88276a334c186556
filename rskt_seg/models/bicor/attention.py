"""The baseline of table 4: cross-attention in place of HBIS.

The paper says no more than "a standard cross-attention layer, which also enables interactions between
class embeddings and pixel feature maps"; this is the usual pre-norm form, once in either direction.
Shapes: B image, N class, C channel, S pixel of the stride-4 map.
"""

from torch import Tensor, nn

from rskt_seg.layers.attention import attend
from rskt_seg.models.bicor.spec import BiCoRSpec


class CrossAttention(nn.Module):
    """Classes attend to pixels and pass an MLP, then pixels attend to classes; all with residuals."""

    def __init__(self, spec: BiCoRSpec, pixel_width: int, class_width: int) -> None:
        super().__init__()
        self.gather = _Attention(class_width, pixel_width, spec.attention_heads)
        self.mlp_norm = nn.LayerNorm(class_width)
        self.mlp = nn.Sequential(
            nn.Linear(class_width, 4 * class_width), nn.GELU(), nn.Linear(4 * class_width, class_width)
        )
        self.scatter = _Attention(pixel_width, class_width, spec.attention_heads)

    def forward(self, classes: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, None]:
        """Update class embeddings and pixel features.

        Args:
            classes: (B, N, C).
            pixels: (B, S, C).

        Returns:
            Both, updated, and None: there is no heatmap.
        """
        classes = self.gather(classes, pixels)
        classes = classes + self.mlp(self.mlp_norm(classes))
        return classes, self.scatter(pixels, classes), None


class _Attention(nn.Module):
    """`x + out(attention(norm(x), norm(source)))`."""

    def __init__(self, width: int, source_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.source_norm = nn.LayerNorm(width), nn.LayerNorm(source_width)
        self.query = nn.Linear(width, width)
        self.key, self.value = nn.Linear(source_width, width), nn.Linear(source_width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Attend from `x` (B, L, C) to `source` (B, S, C'), and add the result to `x`."""
        source = self.source_norm(source)
        values = attend(self.query(self.norm(x)), self.key(source), self.value(source), self.heads)
        return x + self.out(values)
