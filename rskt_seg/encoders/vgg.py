"""VGG16 (Simonyan and Zisserman 2015, no batch norm) as FCN-8s uses it; torchvision's key names.

FCN-8s changes two things: the first convolution pads by 100 pixels, and every pooling rounds up.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from rskt_seg.encoders.features import EncoderFeatures

PADDING = 100
"""Zero padding (px) of the first convolution in FCN-8s."""
_CONVOLUTIONS = (2, 2, 3, 3, 3)


@dataclass(frozen=True)
class VggPreset:
    """Sizes of a VGG with the 13 convolutions of VGG16.

    Attributes:
        widths: Channels of the five blocks.
        head_width: Channels of the two layers that FCN-8s makes of VGG's classifier.
    """

    widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    head_width: int = 4096


VGG_PRESETS: dict[str, VggPreset] = {
    "vgg16": VggPreset(),
    "vgg_tiny": VggPreset((8, 12, 16, 24, 32), 64),
}


class VGG(nn.Module):
    """The 13 convolutions of VGG16 with FCN-8s' padding, without a classifier.

    `features.N` are torchvision's layers of that number (0..30), each registered once. Cell i of the
    final map is centred at the continuous input pixel `stride * i + offset` (pixel 0 covers [0, 1)).
    """

    stride = 32
    offset = -83.0
    pixel_mean = (0.0, 0.0, 0.0)
    pixel_std = (255.0, 255.0, 255.0)

    def __init__(self, preset: VggPreset) -> None:
        super().__init__()
        self.widths = preset.widths
        layers: list[nn.Module] = []
        before = 3
        for width, count in zip(preset.widths, _CONVOLUTIONS, strict=True):
            for _ in range(count):
                padding = 1 if layers else PADDING
                layers += [nn.Conv2d(before, width, 3, padding=padding), nn.ReLU(inplace=True)]
                before = width
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> EncoderFeatures:
        """Return the outputs of the three poolings that FCN-8s reads.

        Args:
            images: RGB in 0..1, (B, 3, H, W).

        Returns:
            `final`: pool5, (B, 512, h, w) (23 x 23 for 508 x 508). `taps`: {3: pool3 (B, 256, about 4h, about
            4w), 4: pool4 (B, 512, about 2h, about 2w)}.
        """
        pool3 = self.features[:17](images)
        pool4 = self.features[17:24](pool3)
        return EncoderFeatures(final=self.features[24:](pool4), taps={3: pool3, 4: pool4})
