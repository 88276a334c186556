"""Decoders of FCtL: where they put what the encoder saw, and SegFormer's written a second time."""

import pytest
import torch
import torch.nn.functional as F

from rskt_seg.models.fctl.fcn import PADDED_VGG, UNPADDED, FcnDecoder
from rskt_seg.models.fctl.segformer import SegFormerDecoder


def transparent(layout):
    """A decoder whose first class is the first channel of the last map, skips unread."""
    decoder = FcnDecoder((2, 2, 2), 2, 2, layout).eval()
    with torch.no_grad():
        for name in ("conv6", "conv7", "score", "skip4", "skip3"):
            layer = getattr(decoder, name)
            layer.weight.zero_()
            layer.bias.zero_()
        decoder.conv6.weight[0, 0, 3, 3] = decoder.conv7.weight[0, 0] = decoder.score.weight[0, 0] = 1
    return decoder


@pytest.mark.parametrize(
    ("layout", "cells", "offset", "skips"),
    [(PADDED_VGG, 23, -83.0, (45, 89)), (UNPADDED, 16, 16.0, (32, 64))],
)
@torch.inference_mode()
def test_upsampling_puts_every_cell_of_fcn8s_where_it_lies_in_the_image(layout, cells, offset, skips):
    decoder = transparent(layout)
    pixels = 1000 + 32 * torch.arange(cells) + offset
    last = torch.stack([pixels.expand(cells, cells), torch.zeros(cells, cells)])[None]
    empty = tuple(torch.zeros(1, 2, side, side) for side in skips)
    for x in (last, last.mT):
        logits = decoder(empty, x, (508, 508))[0, 0]
        across = logits[250] if x is last else logits[:, 250]
        # Centres of pixels; towards the border the map ends.
        expected = 1000 + torch.arange(508) + 0.5
        torch.testing.assert_close(across[100:400], expected[100:400], rtol=0, atol=1e-2)


@pytest.mark.parametrize("which", [0, 1])
@torch.inference_mode()
def test_skips_of_fcn8s_lie_on_the_last_map(which):
    """A ramp in a skip comes out as a ramp at the same pixels, scaled by the published factor."""
    decoder = transparent(PADDED_VGG)
    layer = (decoder.skip4, decoder.skip3)[which]
    layer.weight[0, 0] = 1 / PADDED_VGG.skip_scales[which]
    stride, cells = ((16, 45), (8, 89))[which]
    # Centres: pool3 at 8 i - 95 (and one half step more for every pooling), then 16 i - 91.
    offset = (-91.0, -95.0)[which]
    skips = [torch.zeros(1, 2, side, side) for side in (45, 89)]
    skips[which][0, 0] = stride * torch.arange(cells) + offset
    across = decoder(tuple(skips), torch.zeros(1, 2, 23, 23), (508, 508))[0, 0, 250]
    torch.testing.assert_close(across[100:400], torch.arange(508)[100:400] + 0.5, rtol=0, atol=1e-2)


@torch.inference_mode()
def test_segformers_decoder_equals_its_description():
    torch.manual_seed(0)
    widths, grids = (3, 4, 5, 6), ((20, 13), (10, 7), (5, 4), (3, 2))
    decoder = SegFormerDecoder(widths, 8, 2).eval()
    decoder.norm.running_mean.uniform_(-1, 1)
    decoder.norm.running_var.uniform_(0.5, 2)
    stages = [torch.randn(2, c, *grid) for c, grid in zip(widths, grids, strict=True)]
    joined = []
    # The deepest stage comes first in the weights of the joining convolution.
    for layer, x in reversed(list(zip(decoder.project, stages, strict=True))):
        linear = torch.einsum("oc,bchw->bohw", layer.weight, x) + layer.bias[:, None, None]
        joined.append(F.interpolate(linear, size=grids[0], mode="bilinear", align_corners=False))
    mixed = torch.einsum("oc,bchw->bohw", decoder.fuse.weight[:, :, 0, 0], torch.cat(joined, dim=1))
    norm = decoder.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    mixed = (mixed - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    scored = F.conv2d(mixed.clamp(min=0), decoder.score.weight, decoder.score.bias)
    expected = F.interpolate(scored, size=(77, 50), mode="bilinear", align_corners=False)
    torch.testing.assert_close(decoder(stages, (77, 50)), expected, rtol=1e-5, atol=1e-5)


def test_upsampling_is_fixed_unless_it_is_to_be_learned():
    for trained in (False, True):
        decoder = FcnDecoder((2, 2, 2), 4, 3, PADDED_VGG, trained)
        grads = {name: p.requires_grad for name, p in decoder.named_parameters()}
        assert all(grads[f"up{i}.weight"] == trained for i in (3, 4, 5))
        assert all(value for name, value in grads.items() if not name.startswith("up"))
