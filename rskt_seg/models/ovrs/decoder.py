"""The upsampler of OVRS, whose guides are scaled by the mean of all classes.

Shapes: B image, T class, C channel, G guidance channel, H W grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rskt_seg.layers.containers import ModuleListOf
from rskt_seg.models.cost_volumes.decoder import Decoder


class GuideScale(nn.Module):
    """Scale a guide by channel and by place, by what the classes of an image have in common."""

    def __init__(self, channels: int, guidance_dim: int) -> None:
        super().__init__()
        self.by_channel = nn.Conv2d(channels, guidance_dim, 1)
        self.by_place = nn.Conv2d(1, 1, 1)

    def forward(self, guide: Tensor, mean: Tensor) -> Tensor:
        """Return guide + c guide + s guide.

        Args:
            guide: (B, G, H, W).
            mean: The upsampled cost, averaged over the classes, (B, C, H, W).

        Returns:
            (B, G, H, W).
        """
        c = self.by_channel(mean.mean(dim=(2, 3), keepdim=True))  # (B, G, 1, 1)
        s = self.by_place(mean.mean(dim=1, keepdim=True))  # (B, 1, H, W)
        return guide * (1 + c + s)


class ScaledDecoder(Decoder):
    """Two upsampling stages and a 3x3 head; each stage begins when all classes have passed the one before.

    The mean runs over all classes of an image, so that logits depend on the whole vocabulary.
    """

    def __init__(self, dim: int, chunk: int) -> None:
        super().__init__(dim, 1, chunk)
        widths = [(stage.raised, stage.up.in_channels - stage.raised) for stage in self.stages]
        self.scales: ModuleListOf[GuideScale] = ModuleListOf([GuideScale(*width) for width in widths])

    def forward(self, x: Tensor, guides: Sequence[Sequence[Tensor]]) -> Tensor:
        """Decode a cost embedding, a few classes at a time within a stage.

        Args:
            x: (B, T, C, h, w).
            guides: Entry j: the guidance map (B, G, H, W) of stage j, alone in its sequence.

        Returns:
            Logits (B, T, 4h, 4w).
        """
        for stage, scale, (guide,) in zip(self.stages, self.scales, guides, strict=True):
            # Upsampling is affine: the mean of the upsampled classes is their upsampled mean.
            scaled = scale(guide, stage.up(x.mean(dim=1)))
            guidance = stage.convolve_guidance([scaled])
            x = torch.cat([stage(part, guidance) for part in x.split(self.chunk, dim=1)], dim=1)
        return torch.cat([self.predict(part) for part in x.split(self.chunk, dim=1)], dim=1)
