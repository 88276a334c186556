"""ConvNeXt: torchvision's module without its classifier, with the outputs of its four stages as features."""

from dataclasses import dataclass

from torch import Tensor, nn

from rskt_seg.encoders.features import EncoderFeatures


@dataclass(frozen=True)
class ConvNeXtPreset:
    """Sizes of a ConvNeXt.

    Attributes:
        widths: Channels of the four stages.
        depths: Blocks of the four stages.
        layer_scale: Initial scale of every residual branch.
    """

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    layer_scale: float


CONVNEXT_PRESETS: dict[str, ConvNeXtPreset] = {
    "convnextb": ConvNeXtPreset((128, 256, 512, 1024), (3, 3, 27, 3), 1e-6),
    # This project's own: the same code path at a size that two CPU cores train from scratch, for which the
    # residual branches must count from the start.
    "tiny": ConvNeXtPreset((16, 32, 64, 128), (1, 1, 2, 1), 1.0),
}
"""Name of an encoder option -> its sizes."""


class ConvNeXt(nn.Module):
    """The four stages of a ConvNeXt ("A ConvNet for the 2020s", CVPR 2022), random weights.

    Parameters are named as in torchvision (`features.*`), whose weight files fit once their classifier is
    left out.
    """

    def __init__(self, preset: ConvNeXtPreset, stochastic_depth: float) -> None:
        """Build the stages with random weights.

        Args:
            preset: Sizes of the stages.
            stochastic_depth: Probability in 0..1 that training drops the last residual branch for an image;
                it grows linearly from 0 at the first branch.
        """
        # Not above: torchvision takes as long to import as torch, and only this encoder needs it.
        from torchvision.models.convnext import CNBlockConfig
        from torchvision.models.convnext import ConvNeXt as TorchvisionConvNeXt

        super().__init__()
        self.widths = preset.widths
        following = (*preset.widths[1:], None)
        stages = [
            CNBlockConfig(*sizes) for sizes in zip(preset.widths, following, preset.depths, strict=True)
        ]
        self.features = TorchvisionConvNeXt(stages, stochastic_depth, preset.layer_scale).features

    def forward(self, images: Tensor) -> EncoderFeatures:
        """Run the four stages.

        Args:
            images: (B, 3, H, W), normalised by ImageNet's statistics; sides of at least 32 px.

        Returns:
            `taps` 0..3: the output of each stage, (B, widths[i], H / 2 ** (i + 2), W / 2 ** (i + 2)), sizes
            rounded down at every stage. `final` is the last of them.
        """
        taps: dict[int, Tensor] = {}
        x = images
        for stage in range(4):
            # Entries of `features` alternate: stem or downsampling, then the blocks of the stage.
            x = self.features[2 * stage + 1](self.features[2 * stage](x))
            taps[stage] = x
        return EncoderFeatures(final=x, taps=taps)
