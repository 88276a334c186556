"""GSNet as one plain torch module.

Source: "Towards Open-Vocabulary Remote Sensing Image Semantic Segmentation" (AAAI 2025) and its published
code. Shapes: B image, T class, C channel, E text channel, G side of the cost volume in cells.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from rskt_seg.models.cost_volumes.cost import CostEmbedding, SeparateFusion, cosine_cost, rotated_cost
from rskt_seg.models.cost_volumes.decoder import Decoder
from rskt_seg.models.cost_volumes.finetune import set_trainable
from rskt_seg.models.cost_volumes.model import CostVolumeModel, Encoded
from rskt_seg.models.cost_volumes.original import original_layers
from rskt_seg.models.gsnet.spec import GSNetSpec


class GSNet(CostVolumeModel):
    """Open-vocabulary segmentation model, called with images and a list of class names."""

    spec: GSNetSpec

    def __init__(self, spec: GSNetSpec) -> None:
        super().__init__(spec)
        self.add_dino()
        self.add_aggregation(
            CostEmbedding(SeparateFusion(1, 1, spec.hidden_dim), spec.class_chunk),
            original_layers(spec, self.grid_side),
            Decoder(spec.hidden_dim, len(self.guides), spec.class_chunk),
        )
        set_trainable(self, spec.clip_finetune, spec.dino_finetune)

    def encode(self, squares: Mapping[str, Tensor], text: Tensor) -> Encoded:
        """See `CostVolumeModel.encode`."""
        features, clip_taps = self.see_by_clip(squares["clip"])  # (1, B, E, G, G), and (B, W, G, G) each
        dino_features, dino_taps = self.see_by_dino(squares["dino"])  # (B, E, G, G), and (B, W, 2G, 2G) each
        return Encoded(
            costs={"clip": rotated_cost(features, text), "dino": cosine_cost(dino_features, text)},
            image_guidance=F.relu(self.image_guidance(features[0])),
            taps={"clip": clip_taps, "dino": dino_taps},
        )
