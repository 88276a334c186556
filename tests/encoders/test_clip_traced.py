"""The traced pass of the CLIP image tower against open_clip: tokens, dense features, attention, positions."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CLIP as OpenClip
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, resize_pos_embed

from rskt_seg.checkpoints.clip import RULES, normalise_names
from rskt_seg.checkpoints.rules import LoadReport, convert, load_strict
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.presets import ClipPreset, TextPreset, VisionPreset
from rskt_seg.errors import ConfigError
from rskt_seg.layers.attention import attend, attend_with_weights
from rskt_seg.layers.position import resize_to_grid

PRESET = ClipPreset(32, VisionPreset(224, 16, 64, 4, 4), TextPreset(64, 1, 1, context_length=8))
BLOCKS = range(4)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def open_clip(side: int) -> OpenClip:
    vision = CLIPVisionCfg(layers=4, width=64, head_width=16, patch_size=16, image_size=side)
    text = CLIPTextCfg(context_length=8, width=64, heads=1, layers=1)
    return OpenClip(32, vision, text, quick_gelu=True).eval()


@pytest.fixture(scope="module")
def reference() -> OpenClip:
    torch.manual_seed(2)
    model = open_clip(224)
    with (
        torch.no_grad()
    ):  # in halves, which the loading keeps exactly; biases start at zero and would hide swaps
        for parameter in model.parameters():
            parameter.copy_((parameter + 0.05 * torch.randn_like(parameter)).half().float())
    return model


@pytest.fixture(scope="module")
def own(reference) -> CLIP:
    model = CLIP(PRESET).eval()
    state = convert(normalise_names(reference.state_dict()), RULES, LoadReport("open_clip"))
    load_strict(model, state, "open_clip", "is CLIP another?")
    return model


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def traced(own, images):
    with torch.no_grad():
        return own.visual.traced(images, BLOCKS, 0)


@pytest.fixture(scope="module")
def theirs(reference, images):
    return forward_intermediates(reference, images)


def forward_intermediates(model: OpenClip, images: torch.Tensor) -> dict:
    with torch.no_grad():
        return model.visual.forward_intermediates(
            images, indices=None, output_fmt="NLC", output_extra_tokens=True, intermediates_only=True
        )


def test_outputs_of_all_blocks_are_open_clips(traced, theirs):
    assert list(traced.taps) == list(BLOCKS)
    for index, tokens in enumerate(theirs["image_intermediates"]):
        close(traced.taps[index], tokens.transpose(1, 2).unflatten(2, (14, 14)))


def test_dense_features_are_the_normed_and_projected_tokens_and_not_normalised(reference, traced, theirs):
    visual = reference.visual
    with torch.no_grad():
        expected = visual.ln_post(theirs["image_intermediates"][-1]) @ visual.proj
    close(traced.final, expected.transpose(1, 2).unflatten(2, (14, 14)))
    assert (traced.final.norm(dim=1) - 1).abs().min() > 0.05


def attention_of(reference, theirs, index):
    """What the block's own `nn.MultiheadAttention` says, class token included."""
    block = reference.visual.transformer.resblocks[index]
    before = torch.cat([theirs[f"image_intermediates{part}"][index - 1] for part in ("_prefix", "")], dim=1)
    with torch.no_grad():
        x = block.ln_1(before)
        return block.attn(x, x, x, need_weights=True, average_attn_weights=True)[1]


@pytest.mark.parametrize("index", [1, 2, 3])
def test_attention_is_the_average_over_heads_that_torchs_module_gives(reference, theirs, traced, index):
    whole = attention_of(reference, theirs, index)
    assert traced.attention[index].shape == (2, 196, 196)
    close(traced.attention[index], whole[:, 1:, 1:])


@pytest.mark.parametrize("index", [1, 2, 3])
def test_rows_of_patches_keep_their_sums_and_lack_what_the_class_token_took(reference, theirs, traced, index):
    whole = attention_of(reference, theirs, index)
    close(traced.attention[index].sum(dim=2), 1 - whole[:, 1:, 0])
    assert traced.attention[index].sum(dim=2).max() < 1


@pytest.mark.parametrize("first", [0, 2, 3, 4])
def test_attention_comes_from_the_blocks_asked_for_alone_and_changes_nothing_else(own, traced, images, first):
    with torch.no_grad():
        some = own.visual.traced(images, BLOCKS, first)
    assert list(some.attention) == list(range(first, 4))
    for index, weights in some.attention.items():
        close(weights, traced.attention[index])
    close(some.final, traced.final)
    for index in BLOCKS:
        close(some.taps[index], traced.taps[index])


def test_weights_are_never_formed_before_the_first_block_asked_for(own, images, monkeypatch):
    import rskt_seg.encoders.clip_blocks as module

    calls = []

    def spy(*args):
        calls.append(args)
        return attend_with_weights(*args)

    monkeypatch.setattr(module, "attend_with_weights", spy)
    with torch.no_grad():
        own.visual.traced(images[:, :, :32, :32], (), 3)
        own.visual.traced(images[:, :, :32, :32], (), 4)
    assert len(calls) == 1


@pytest.mark.parametrize("antialias", [False, True])
def test_traced_and_tapped_give_the_same_taps(own, images, antialias):
    crop = images[:, :, :96, :160]
    with torch.no_grad():
        tapped = own.visual.tapped(crop, (0, 2), antialias=antialias).taps
        taps = own.visual.traced(crop, (2, 0), 4, antialias=antialias).taps
    assert taps.keys() == tapped.keys() == {0, 2}
    assert all(torch.equal(taps[index], tapped[index]) and taps[index].shape[2:] == (6, 10) for index in taps)


def test_the_value_path_projects_the_last_values_alone(reference, own, images, traced, theirs):
    visual = reference.visual
    last = visual.transformer.resblocks[-1]
    width = 64
    with torch.no_grad():
        x = last.ln_1(theirs["image_intermediates"][-2])
        v = F.linear(x, last.attn.in_proj_weight[2 * width :], last.attn.in_proj_bias[2 * width :])
        expected = visual.ln_post(last.attn.out_proj(v)) @ visual.proj
        actual = own.visual.traced(images, BLOCKS, 2, value_path=True)
    close(actual.final, expected.transpose(1, 2).unflatten(2, (14, 14)))
    assert list(actual.attention) == [2, 3]
    close(actual.attention[3], traced.attention[3])
    close(actual.taps[3], traced.taps[3])
    assert (actual.final - traced.final).abs().max() > 0.1


@pytest.mark.parametrize("side", [160, 320])
def test_at_another_size_everything_is_open_clips_with_its_resized_positions(reference, own, side):
    resized = open_clip(side)
    state = {key: value.clone() for key, value in reference.state_dict().items()}
    resize_pos_embed(state, resized)
    resized.load_state_dict(state)
    grid = (side // 16, side // 16)
    table = own.visual.positional_embedding
    torch.testing.assert_close(
        resize_to_grid(table, grid, antialias=True), resized.visual.positional_embedding, rtol=0, atol=1e-6
    )
    images = torch.randn(1, 3, side, side)
    theirs = forward_intermediates(resized, images)["image_intermediates"]
    with torch.no_grad():
        ours = own.visual.traced(images, BLOCKS, 4, antialias=True)
        plain = own.visual.traced(images, BLOCKS, 4)
    for index in BLOCKS:
        close(ours.taps[index], theirs[index].transpose(1, 2).unflatten(2, grid))
    assert (ours.final - plain.final).abs().max() > 1e-3, "larger tables differ too: the cubic is another"


def test_positions_of_rskt_stay_without_antialiasing(own):
    table = own.visual.positional_embedding.detach()
    square = table[1:].T.reshape(1, -1, 14, 14)
    expected = F.interpolate(square, (5, 9), mode="bicubic", align_corners=False)[0].flatten(1).T
    assert torch.equal(resize_to_grid(table, (5, 9))[1:], expected)
    images = torch.randn(1, 3, 80, 144)
    with torch.no_grad():
        tapped, traced = own.visual.tapped(images, (1,)), own.visual.traced(images, (1,), 4)
        smooth = own.visual.tapped(images, (1,), antialias=True)
    assert torch.equal(tapped.taps[1], traced.taps[1])
    assert not torch.allclose(tapped.taps[1], smooth.taps[1], atol=1e-3)


def test_images_of_a_batch_do_not_see_each_other(own, images, traced):
    with torch.no_grad():
        alone = own.visual.traced(images[1:], (3,), 3)
    close(alone.final, traced.final[1:])
    close(alone.attention[3], traced.attention[3][1:])


def test_blocks_and_sides_that_do_not_fit_are_refused(own):
    images = torch.zeros(1, 3, 32, 32)
    for taps, first in (((4,), 0), ((-1,), 0), ((), 5), ((), -1)):
        with pytest.raises(ConfigError, match=r"taps must be blocks 0\.\.3 and attention_from 0\.\.4"):
            own.visual.traced(images, taps, first)
    with pytest.raises(ConfigError, match="multiples of the patch of 16 px; found 32 x 40"):
        own.visual.traced(torch.zeros(1, 3, 32, 40), (), 0)


@settings(max_examples=20)
@given(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 4]), st.integers(0, 99)
)
def test_attending_with_weights_is_attending(batch, queries, keys, heads, seed):
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(batch, n, 8, generator=draw) * 3 for n in (queries, keys, keys))
    out, weights = attend_with_weights(q, k, v, heads)
    close(out, attend(q, k, v, heads))
    close(weights.sum(dim=2), torch.ones(batch, queries))
    parts = [attend_with_weights(*(x.chunk(heads, -1)[h] for x in (q, k, v)), 1)[1] for h in range(heads)]
    close(weights, torch.stack(parts).mean(dim=0))


def test_in_half_precision_the_softmax_is_computed_and_returned_in_float32():
    q, k, v = (torch.randn(1, 400, 16, generator=torch.Generator().manual_seed(s)) for s in range(3))
    q, k, v = (x.bfloat16() for x in (q, k, v))
    out, weights = attend_with_weights(q, k, v, 2)
    assert out.dtype == torch.bfloat16 and weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(1, 400), rtol=0, atol=1e-5)


@pytest.mark.parametrize("length", [1, 512, 1025])
def test_weights_in_strips_of_queries_are_those_of_all_at_once(length):
    """With gradients, all weights are formed at once; without, a strip of queries of a head at a time."""
    q, k, v = torch.randn(3, 2, length, 8, generator=torch.Generator().manual_seed(0))
    expected = attend_with_weights(q, k.requires_grad_(), v, 2)
    with torch.no_grad():
        found = attend_with_weights(q, k, v, 2)
    for a, b in zip(expected, found, strict=True):
        assert b.dtype == torch.float32 and (b - a).abs().max() <= 2e-6
