"""What learns: adapters and decoder, against torch's own layers."""

import math

import pytest
import torch
from torch import nn

from rskt_seg.models.wsss.adapters import Adapter, Decoder
from tests.models.wsss_draw import randn


def test_each_level_has_two_linear_layers_with_relu_between_and_one_mixture_follows():
    torch.manual_seed(0)
    adapter, levels = Adapter(2, 5, 4), [randn(1, 2, 5, 3, 6), randn(2, 2, 5, 3, 6)]
    found = adapter(levels)
    assert found.shape == (2, 4, 3, 6)
    for image, y, x in ((0, 0, 0), (1, 2, 5), (1, 1, 4)):
        parts = []
        for own, maps in zip(adapter.levels, levels, strict=True):
            hidden = (own.fc1.weight @ maps[image, :, y, x] + own.fc1.bias).clamp(min=0)
            parts.append(own.fc2.weight @ hidden + own.fc2.bias)
        expected = adapter.fuse.weight[:, :, 0, 0] @ torch.cat(parts) + adapter.fuse.bias
        torch.testing.assert_close(found[image, :, y, x], expected)


def theirs(block: nn.Module, dim: int, heads: int) -> nn.Module:
    """torch's own pre-norm layer with the weights of a block of the decoder."""
    layer = nn.TransformerEncoderLayer(
        dim, heads, 4 * dim, 0.0, lambda x: x * (1.702 * x).sigmoid(), batch_first=True, norm_first=True
    )
    for own, other in (
        (block.attn.qkv, (layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias)),
        (block.attn.proj, (layer.self_attn.out_proj.weight, layer.self_attn.out_proj.bias)),
        (block.mlp.fc1, (layer.linear1.weight, layer.linear1.bias)),
        (block.mlp.fc2, (layer.linear2.weight, layer.linear2.bias)),
        (block.norm1, (layer.norm1.weight, layer.norm1.bias)),
        (block.norm2, (layer.norm2.weight, layer.norm2.bias)),
    ):
        other[0].data.copy_(own.weight.data)
        other[1].data.copy_(own.bias.data)
    return layer


def test_the_decoder_is_torchs_pre_norm_transformer_with_quick_gelu_and_a_logit_a_class():
    torch.manual_seed(0)
    decoder, features = Decoder(8, 2, 2, 3), randn(3, 2, 8, 3, 5)
    for parameter in decoder.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    tokens = features.flatten(2).transpose(1, 2)
    for block in decoder.blocks:
        tokens = theirs(block, 8, 2)(tokens)
    logits = tokens @ decoder.classifier.weight[:, :, 0, 0].T + decoder.classifier.bias
    torch.testing.assert_close(decoder(features), logits.transpose(1, 2).unflatten(2, (3, 5)))


@pytest.mark.parametrize("dim", [64, 256])
def test_attention_of_the_decoder_starts_as_torchs_own(dim):
    torch.manual_seed(0)
    (block,) = Decoder(dim, 1, 8, 3).blocks
    bound = math.sqrt(6 / (4 * dim))  # Xavier over the three projections together
    assert 0.95 * bound < float(block.attn.qkv.weight.detach().abs().max()) <= bound
    assert not block.attn.qkv.bias.any() and not block.attn.proj.bias.any()
