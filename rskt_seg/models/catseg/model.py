"""CAT-Seg as one plain torch module.

Source: "CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation" (CVPR 2024) and its published
code. Shapes: B image, T class, C channel, E text channel, G side of the cost volume in cells.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from rskt_seg.models.catseg.spec import CATSegSpec
from rskt_seg.models.cost_volumes.cost import ConcatFusion, CostEmbedding, rotated_cost
from rskt_seg.models.cost_volumes.decoder import Decoder
from rskt_seg.models.cost_volumes.finetune import set_trainable
from rskt_seg.models.cost_volumes.model import CostVolumeModel, Encoded
from rskt_seg.models.cost_volumes.original import original_layers


class CATSeg(CostVolumeModel):
    """Open-vocabulary segmentation model, called with images and a list of class names."""

    spec: CATSegSpec

    def __init__(self, spec: CATSegSpec) -> None:
        super().__init__(spec)
        self.class_limit = spec.class_limit
        self.add_aggregation(
            CostEmbedding(ConcatFusion(1, 0, spec.hidden_dim), spec.class_chunk),
            original_layers(spec, self.grid_side),
            Decoder(spec.hidden_dim, len(self.guides), spec.class_chunk),
        )
        set_trainable(self, spec.clip_finetune)

    def encode(self, squares: Mapping[str, Tensor], text: Tensor) -> Encoded:
        """See `CostVolumeModel.encode`."""
        features, taps = self.see_by_clip(squares["clip"])  # (1, B, E, G, G), and (B, W, G, G) each
        return Encoded(
            costs={"clip": rotated_cost(features, text)},  # (B, T, 1, G, G)
            image_guidance=F.relu(self.image_guidance(features[0])),
            taps={"clip": taps},
        )
