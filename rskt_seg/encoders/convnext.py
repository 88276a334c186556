"""ConvNeXt: torchvision's own module without its classifier, the output of its four stages as features."""

from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as TorchvisionConvNeXt

from rskt_seg.encoders.features import EncoderFeatures

IMAGENET_PIXEL_MEAN = (123.675, 116.28, 103.53)
"""Per-channel RGB mean of ImageNet on the 0..255 scale."""
IMAGENET_PIXEL_STD = (58.395, 57.12, 57.375)
"""Per-channel RGB standard deviation of ImageNet on the 0..255 scale."""


@dataclass(frozen=True)
class ConvNeXtPreset:
    """Widths and depths of the four stages; `layer_scale` is the initial scale of every residual branch."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    layer_scale: float


CONVNEXT_PRESETS: dict[str, ConvNeXtPreset] = {
    "convnextb": ConvNeXtPreset((128, 256, 512, 1024), (3, 3, 27, 3), 1e-6),
    # This project's own: the same code path at a size that two CPU cores train from nothing, for which the
    # branches must count from the start.
    "tiny": ConvNeXtPreset((16, 32, 64, 128), (1, 1, 2, 1), 1.0),
}
"""Name of an encoder option -> its sizes."""


class ConvNeXt(nn.Module):
    """The four stages of a ConvNeXt ("A ConvNet for the 2020s", CVPR 2022), random weights.

    Parameters are named as in torchvision (`features.*`), whose weight files fit once their classifier is
    left out. `stochastic_depth` is the probability with which the last residual branch is dropped for an
    image in training; it grows linearly from 0 at the first.
    """

    def __init__(self, preset: ConvNeXtPreset, stochastic_depth: float) -> None:
        super().__init__()
        self.widths = preset.widths
        following = (*preset.widths[1:], None)
        stages = [
            CNBlockConfig(*sizes) for sizes in zip(preset.widths, following, preset.depths, strict=True)
        ]
        self.features = TorchvisionConvNeXt(stages, stochastic_depth, preset.layer_scale).features

    def forward(self, images: Tensor) -> EncoderFeatures:
        """`taps` 0..3: the output of each stage, (B, widths[i], H / 2 ** (i + 2), W / 2 ** (i + 2)), sizes
        rounded down at every stage; `final` is the last.

        Args: images (B, 3, H, W), normalised by ImageNet's statistics; sides of at least 32 px.
        """
        taps = {}
        x = images
        for stage in range(4):
            # Entries of `features` alternate: stem or downsampling, then the blocks of the stage.
            x = self.features[2 * stage + 1](self.features[2 * stage](x))
            taps[stage] = x
        return EncoderFeatures(x, taps)
