"""The last block of a CLIP image tower attends by like with like, as the training-free methods define it."""

import pytest
import torch

from rskt_seg.encoders.clip import VisionTower
from rskt_seg.encoders.last_block import LAST_BLOCKS, attend_by, embed_patches
from rskt_seg.encoders.presets import VisionPreset
from rskt_seg.errors import ConfigError
from rskt_seg.layers.position import rescale_to_grid

PRESET = VisionPreset(32, 8, 128, 3, 2)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    built = VisionTower(PRESET, 16).double().requires_grad_(False)
    for block in built.transformer.resblocks:  # biases are zero at first, and would not be seen
        torch.nn.init.normal_(block.attn.in_proj_bias)
        torch.nn.init.normal_(block.attn.out_proj.bias)
    return built


def by_equation(attention, x, pairs):
    """The equation in loops over heads: the sum of softmax(a b^T / 8) of all pairs, times the values."""
    q_bias, k_bias, v_bias = attention.in_proj_bias.chunk(3)
    parts = {
        "q": x @ attention.q_proj_weight.T + q_bias,
        "k": x @ attention.k_proj_weight.T + k_bias,
        "v": x @ attention.v_proj_weight.T + v_bias,
    }
    out = torch.zeros_like(x)
    for head in range(attention.heads):
        q, k, v = (parts[name][:, :, 64 * head : 64 * (head + 1)] for name in "qkv")
        by_name = {"q": q, "k": k, "v": v}
        weights = torch.eye(x.shape[1], dtype=x.dtype)
        if pairs != "v":
            scores = [by_name[a] @ by_name[b].transpose(1, 2) / 8 for a, b in pairs.split("+")]
            weights = sum(score.softmax(dim=-1) for score in scores)
        out[:, :, 64 * head : 64 * (head + 1)] = weights @ v
    return out @ attention.out_proj.weight.T + attention.out_proj.bias


@pytest.mark.parametrize("pairs", LAST_BLOCKS)
def test_the_weights_are_the_sum_over_the_pairs(tower, pairs):
    x = torch.randn(2, 5, 128, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    attention = tower.transformer.resblocks[-1].attn
    torch.testing.assert_close(attend_by(attention, x, pairs), by_equation(attention, x, pairs))


def test_queries_to_keys_are_the_attention_that_was_trained(tower):
    x = torch.randn(2, 5, 128, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    attention = tower.transformer.resblocks[-1].attn
    torch.testing.assert_close(attend_by(attention, x, "qk"), attention(x))


def images(height, width):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_with_residual_and_trained_attention_the_tower_computes_what_it_was_trained_to(tower):
    whole, patches = embed_patches(tower, images(32, 32), "qk", residual=True)
    torch.testing.assert_close(whole, tower.pool(images(32, 32)))
    torch.testing.assert_close(patches, tower.traced(images(32, 32), (), 3).final)


def test_without_residual_the_value_path_is_that_of_the_traced_pass(tower):
    _, patches = embed_patches(tower, images(32, 32), "v")
    torch.testing.assert_close(patches, tower.traced(images(32, 32), (), 3, value_path=True).final)


@pytest.mark.parametrize(("height", "width"), [(8, 32), (24, 40), (64, 16)])
def test_images_of_any_multiple_of_the_patch_have_their_own_grid(tower, height, width):
    whole, patches = embed_patches(tower, images(height, width), "qq+kk+vv")
    assert whole.shape == (2, 16) and patches.shape == (2, 16, height // 8, width // 8)


def test_positions_follow_the_scale_factor_of_the_published_code(tower):
    tokens, _ = tower.embed(images(24, 40), rescale_to_grid)
    for block in tower.transformer.resblocks:
        tokens = block(tokens)
    whole, _ = embed_patches(tower, images(24, 40), "qk", residual=True)
    torch.testing.assert_close(whole, tower.ln_post(tokens[:, 0]) @ tower.proj)


def test_other_sizes_are_refused(tower):
    with pytest.raises(ConfigError, match="multiples of the patch of 8 px; found 33 x 32"):
        embed_patches(tower, images(33, 32), "qq")
