"""VGG16 (Simonyan and Zisserman 2015, no batch norm) as FCN-8s uses it; torchvision's key names.

FCN-8s changes two things: the first convolution pads by 100 pixels, and every pooling rounds up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.canvas import Part, Span, framed, image_part
from rskt_seg.encoders.features import EncoderFeatures
from rskt_seg.layers.inference_form import FormBuilder, HasInferenceForm

PADDING = 100
"""Zero padding (px) of the first convolution in FCN-8s."""
_CONVOLUTIONS = (2, 2, 3, 3, 3)
_FRAMED = 4
"""Blocks of which the image reaches a part; it reaches all of the fifth."""
_BLANK_SIDE = 128
"""Least side (px) of a blank canvas: its edges leave a cell of the fourth pooling alone."""


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


class VGG(HasInferenceForm):
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

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`.

        Args:
            builder: States whether kernels of oneDNN are called.

        Returns:
            The form.
        """
        return _FramedVGG(self, builder.packed)


class _FramedVGG(VGG):
    """`VGG` that convolves only what an image reaches of its padded canvas.

    For 508 x 508 px that is two thirds of the multiplications. Black margins of an image, as contexts beyond
    the border of a scene have, cost nothing.
    """

    def __init__(self, vgg: VGG, fused: bool) -> None:
        """Share the layers of an encoder; `fused`: oneDNN convolves and rectifies in one pass."""
        nn.Module.__init__(self)
        self.widths, self.features, self.fused = vgg.widths, vgg.features, fused

    def forward(self, images: Tensor) -> EncoderFeatures:
        """See `VGG.forward`."""
        # Other images reach other cells. On an accelerator they are not looked at, and go together.
        groups = images.split(1) if images.device.type == "cpu" else (images,)
        blanks = self._blanks(images)
        pool3, pool4 = (
            torch.cat(maps) for maps in zip(*(self._taps(group, blanks) for group in groups), strict=True)
        )
        return EncoderFeatures(final=self._block(4, pool4, padding=1), taps={3: pool3, 4: pool4})

    def _blanks(self, images: Tensor) -> list[Tensor]:
        """Return a small blank canvas (1, 3, n, m), then what the `_FRAMED` blocks make of it."""
        multiple = 2**_FRAMED
        sides = [_BLANK_SIDE + (side + 2 * PADDING - 2 - _BLANK_SIDE) % multiple for side in images.shape[2:]]
        maps = [images.new_zeros(1, 3, *sides)]
        for block in range(_FRAMED):
            maps.append(self._block(block, maps[-1], padding=1))
        return maps

    def _taps(self, images: Tensor, blanks: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs of the third and the fourth pooling."""
        # Cell i of the first convolution sees rows i - PADDING to i - PADDING + 2 of the image.
        part, taps = image_part(images, PADDING - 1), []
        height, width = (side + 2 * PADDING - 2 for side in images.shape[2:])
        for block, reach in enumerate(_CONVOLUTIONS[:_FRAMED]):
            rows, columns = (span.grown(reach).aligned() for span in part[1:])
            seen = framed(part, blanks[block], (height, width), rows.grown(reach), columns.grown(reach))
            part = Part(self._block(block, seen, padding=0), rows.halved(), columns.halved())
            height, width = -(-height // 2), -(-width // 2)
            if block >= _FRAMED - 2:
                whole = Span(0, height), Span(0, width)
                taps.append(framed(part, blanks[block + 1], (height, width), *whole))
        return taps

    def _block(self, block: int, x: Tensor, padding: int) -> Tensor:
        """Convolve, rectify and pool by a block (counted from 0), every convolution with the same padding."""
        first = sum(2 * count + 1 for count in _CONVOLUTIONS[:block])
        for index in range(first, first + 2 * _CONVOLUTIONS[block], 2):
            layer = self.features[index]
            assert isinstance(layer, nn.Conv2d)
            x = self._convolve(x, layer.weight, layer.bias, padding)
        return F.max_pool2d(x, 2, ceil_mode=True)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        if not self.fused:
            return F.conv2d(x, weight, bias, padding=padding).relu_()
        both, one = [padding, padding], [1, 1]
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, both, one, one, 1, "relu", [], ""
        )
        return y
