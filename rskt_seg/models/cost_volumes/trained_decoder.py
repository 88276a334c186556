"""The decoder as it is trained on a CPU: the computation of its inference form, with gradients.

Shapes: B image, N = B * t images times classes, C channel, G guidance channel, H W grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.layers.inference_form import copy_around
from rskt_seg.models.cost_volumes.decoder import Decoder, UpsampleStage, compose_phases


def trained_decoder(decoder: Decoder) -> Decoder:
    """Return a decoder that computes the same faster, with the same parameters."""
    stages = {str(index): _TrainedStage(stage) for index, stage in enumerate(decoder.stages)}
    return copy_around(decoder, {"stages": copy_around(decoder.stages, stages)})


class _TrainedStage(UpsampleStage):
    """`UpsampleStage`, with the same parameters, that composes its first two convolutions in each pass."""

    def __init__(self, stage: UpsampleStage) -> None:
        nn.Module.__init__(self)
        self.raised, self.up, self.conv1, self.norm1 = stage.raised, stage.up, stage.conv1, stage.norm1
        self.conv2, self.norm2 = stage.conv2, stage.norm2

    def convolve_guidance(self, guides: Sequence[Tensor]) -> Tensor:
        """See `UpsampleStage.convolve_guidance`; the bias of the first convolution is one more channel."""
        cost, guidance = self.conv1.weight[:, : self.raised], self.conv1.weight[:, self.raised :]
        assert self.up.bias is not None
        bias = torch.einsum("orhw,r->ohw", cost, self.up.bias)[:, None]
        ones = torch.ones_like(guides[0][:, :1])
        return F.conv2d(torch.cat([*guides, ones], dim=1), torch.cat([guidance, bias], dim=1), padding=1)

    def raise_cost(self, x: Tensor) -> Tensor:
        """See `UpsampleStage.raise_cost`."""
        cost, (h, w) = self.conv1.weight[:, : self.raised], x.shape[2:]
        phases = F.conv2d(x, compose_phases(self.up.weight, cost), padding=1).unflatten(1, (2, 2, len(cost)))
        rows = [
            torch.stack([phases[:, p, q, :, p : p + h, q : q + w] for q in range(2)], dim=-1).flatten(-2)
            for p in range(2)
        ]
        return torch.stack(rows, dim=-2).flatten(-3, -2)
