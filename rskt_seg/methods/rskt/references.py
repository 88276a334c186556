"""Which row of the paper's table 1 a model repeats."""

from rskt_seg.metrics.published import Published, published
from rskt_seg.models.rskt import RSKTSpec

_BACKBONES = {"vitb16": "ViT-B", "vitl14": "ViT-L"}


def published_row(spec: RSKTSpec, trained_on: str) -> Published | None:
    """Return the row of the encoder and the training set; None where there is none."""
    return published(trained_on, _BACKBONES.get(spec.encoder, ""))
