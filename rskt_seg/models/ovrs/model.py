"""OVRS as one plain torch module.

Source: "Open-Vocabulary Remote Sensing Image Semantic Segmentation" (arXiv 2409.07683) and its published
code. Shapes: B image, R rotation, T class, C channel, E text channel, G side of the cost volume in cells.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from rskt_seg.models.cost_volumes.cost import ConcatFusion, CostEmbedding, rotated_cost
from rskt_seg.models.cost_volumes.decoder import Decoder
from rskt_seg.models.cost_volumes.finetune import set_trainable
from rskt_seg.models.cost_volumes.model import CostVolumeModel, Encoded
from rskt_seg.models.cost_volumes.original import original_layers
from rskt_seg.models.ovrs.decoder import ScaledDecoder
from rskt_seg.models.ovrs.spec import OVRSSpec


class OVRS(CostVolumeModel):
    """Open-vocabulary segmentation model, called with images and a list of class names."""

    spec: OVRSSpec

    def __init__(self, spec: OVRSSpec) -> None:
        super().__init__(spec)
        self.class_limit = spec.class_limit
        dim, chunk = spec.hidden_dim, spec.class_chunk
        self.rotations = 4 if spec.rotations else 1
        self.add_aggregation(
            CostEmbedding(ConcatFusion(self.rotations, 0, dim), chunk),
            original_layers(spec, self.grid_side),
            ScaledDecoder(dim, chunk) if spec.scaled_guides else Decoder(dim, len(self.guides), chunk),
        )
        set_trainable(self, spec.clip_finetune)

    def encode(self, squares: Mapping[str, Tensor], text: Tensor) -> Encoded:
        """See `CostVolumeModel.encode`."""
        # (R, B, E, G, G), and (B, W, G, G) each
        features, taps = self.see_by_clip(squares["clip"], self.rotations)
        return Encoded(
            costs={"clip": rotated_cost(features, text)},  # (B, T, R, G, G)
            image_guidance=F.relu(self.image_guidance(features[0])),
            taps={"clip": taps},
        )
