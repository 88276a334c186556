"""CAT-Seg as one plain torch module.

Source: "CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation" (CVPR 2024) and its published
code. Shapes: B image, T class, C channel, E text channel, G side of the cost volume in cells.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from rskt_seg.models.catseg.spec import CATSegSpec
from rskt_seg.models.cost_volumes.cost import ConcatFusion, CostEmbedding, rotated_cost
from rskt_seg.models.cost_volumes.decoder import Decoder
from rskt_seg.models.cost_volumes.finetune import set_trainable
from rskt_seg.models.cost_volumes.model import CostVolumeModel, CostVolumeOutput, Encoded
from rskt_seg.models.cost_volumes.original import original_layers


class CATSeg(CostVolumeModel):
    """Open-vocabulary segmentation model, called with images and a list of class names."""

    spec: CATSegSpec

    def __init__(self, spec: CATSegSpec) -> None:
        super().__init__(spec)
        self.add_aggregation(
            CostEmbedding(ConcatFusion(1, 0, spec.hidden_dim), spec.class_chunk),
            original_layers(spec, self.grid_side),
            Decoder(spec.hidden_dim, len(self.guides), spec.class_chunk),
        )
        set_trainable(self, spec.clip_finetune)

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        vocabulary: Sequence[str],
        padding: str | None = None,
        return_cost_maps: bool = False,
    ) -> CostVolumeOutput:
        """Compute the logits of every class of a vocabulary; see `CostVolumeModel.forward`."""
        square = self.squares(images, padding)["clip"]
        text = self.embed_text(vocabulary)  # (T, 1, E)
        features, taps = self.see_by_clip(square)  # (1, B, E, G, G), and (B, W, G, G) each
        encoded = Encoded(
            costs={"clip": rotated_cost(features, text)},  # (B, T, 1, G, G)
            image_guidance=F.relu(self.image_guidance(features[0])),
            taps={"clip": taps},
        )
        return self.decode(encoded, text, return_cost_maps, self.spec.class_limit)
