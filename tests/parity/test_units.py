"""Building blocks equal the published ones on their unit fixtures (2e-6 of the largest value)."""

import pytest
import torch

from rskt_seg.checkpoints import clip as clip_rules
from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.encoders.clip import CLIP, VisionTrunk
from rskt_seg.encoders.dino import DINO
from rskt_seg.encoders.presets import ClipPreset, DinoPreset, TextPreset, VisionPreset
from rskt_seg.layers.position import rescale_to_grid
from rskt_seg.models.cost_volumes.decoder import UpsampleStage
from rskt_seg.models.cost_volumes.original import PaddedClassTransformer, WindowTransformer
from rskt_seg.models.rskt.fusion import ClassTransformer, SpatialTransformer
from tests.parity.fill import generator, strip, unit

TINY = ClipPreset(32, VisionPreset(32, 8, 128, 3, 2), TextPreset(64, 2, 1))
SET_NAMES = ((r"^sa\.", ""), (r"^mlp\.dwconv\.dwconv\.", "dwconv."))
ORIGINAL_NAMES = (
    (r"mlp\.fc1\.", "mlp.0."),
    (r"mlp\.fc2\.", "mlp.2."),
    (r"MLP\.", "mlp."),
    (r"^attention\.", ""),
)


def assert_equal_to_fixture(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def loaded(module, state):
    module.load_state_dict(state, strict=True)
    return module.eval()


def fold(x):
    """The fixtures keep (B, C, T, H, W); the package keeps (B, T, C, H, W)."""
    return x.transpose(1, 2)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", ["set_block", "set_block_nonsquare"])
def test_set_equals_the_published_block(name):
    state, arrays = unit(name)
    block = loaded(SpatialTransformer(32, 32), strip(state, *SET_NAMES))
    assert_equal_to_fixture(block(arrays["in_x"], arrays["in_guidance"]), arrays["out"])


@pytest.mark.parametrize("name", ["cet_block", "cet_block_odd"])
def test_cet_equals_the_published_block(name):
    state, arrays = unit(name)
    block = loaded(ClassTransformer(32, 32), strip(state, (r"^sa\.", "")))
    images = zip(fold(arrays["in_x"]), arrays["in_guidance"], strict=True)
    out = torch.cat([block(x[None], text[None]) for x, text in images])
    assert_equal_to_fixture(out.flatten(0, 1), arrays["out"])


def test_efficient_layer_equals_the_published_layer():
    state, arrays = unit("eff_layer")
    own = strip(
        state, (r"^spatial_fusion\.sa\.mlp\.dwconv\.dwconv\.", "0.dwconv."), (r"^spatial_fusion\.sa\.", "0.")
    )
    layer = torch.nn.ModuleList([SpatialTransformer(32, 32), ClassTransformer(32, 32)])
    loaded(layer, strip(own, (r"^class_fusion\.sa\.", "1.")))
    for x, image, text, out in zip(*(arrays[k] for k in ("in_x", "in_img", "in_txt", "out")), strict=True):
        x = x.transpose(0, 1)
        spatial = layer[0](x, image.expand(len(x), -1, -1, -1))
        assert_equal_to_fixture(layer[1](spatial[None], text[None])[0], out.transpose(0, 1))


def test_window_transformer_equals_the_published_wrapper():
    state, arrays = unit("swin_wrapper")
    block = loaded(WindowTransformer(32, 16, 4, grid=8, window=4), strip(state, *ORIGINAL_NAMES))
    x = fold(arrays["in_x"])[0]
    out = block(x, arrays["in_g"].expand(len(x), -1, -1, -1))
    assert_equal_to_fixture(out, fold(arrays["out"])[0])


@pytest.mark.parametrize(
    ("name", "attention", "padded", "pooling"),
    [("classtr_linear", "linear", 12, 2), ("classtr_full", "full", 12, 2), ("classtr_nopad", "linear", 2, 1)],
)
def test_padded_class_transformer_equals_the_published_one(name, attention, padded, pooling):
    state, arrays = unit(name)
    block = PaddedClassTransformer(32, 16, 4, pooling, attention, padded_classes=padded)
    loaded(block, strip(state, *ORIGINAL_NAMES))
    for x, text, out in zip(fold(arrays["in_x"]), arrays["in_g"], fold(arrays["out"]), strict=True):
        assert_equal_to_fixture(block(x[None], text[None])[0], out)


def test_original_layer_equals_the_published_layer():
    state, arrays = unit("ori_layer")
    spatial = {k.removeprefix("swin_block."): v for k, v in state.items() if k.startswith("swin_block.")}
    classes = {k.removeprefix("attention."): v for k, v in state.items() if k.startswith("attention.")}
    window = loaded(WindowTransformer(32, 16, 4, grid=8, window=4), strip(spatial, *ORIGINAL_NAMES))
    classes = loaded(PaddedClassTransformer(32, 16, 4, 2, "linear", 12), strip(classes, *ORIGINAL_NAMES))
    x = fold(arrays["in_x"])[0]
    out = classes(window(x, arrays["in_img"].expand(len(x), -1, -1, -1))[None], arrays["in_txt"])
    assert_equal_to_fixture(out, fold(arrays["out"]))


@pytest.mark.parametrize("remote", [0, 1])
@pytest.mark.parametrize("dino", [0, 1])
def test_upsample_stage_equals_the_published_block(remote, dino):
    state, arrays = unit(f"upsample_remote{remote}_dino{dino}")
    parts = (("0", "conv1"), ("1", "norm1"), ("3", "conv2"), ("4", "norm2"))
    own = strip(state, *((rf"^conv\.double_conv\.{i}\.", f"{part}.") for i, part in parts))
    stage = loaded(UpsampleStage(64, 32, 16, guides=1 + remote + dino), own)
    guides = [arrays[f"in_{name}"] for name in ("clip", "remote", "dino") if f"in_{name}" in arrays]
    x = arrays["in_x"].unflatten(0, (2, 3))
    assert_equal_to_fixture(stage(x, stage.convolve_guidance(guides)).flatten(0, 1), arrays["out"])


def test_clip_towers_equal_the_published_ones():
    state, arrays = unit("clip_tiny")
    clip = loaded(CLIP(TINY), state)
    dense = clip.visual.dense(arrays["in_image"], taps=(1,))
    assert_equal_to_fixture(dense.final.flatten(2).transpose(1, 2), arrays["out_dense"][:, 1:])
    assert_equal_to_fixture(dense.taps[1].flatten(2)[0].T, arrays["out_block1"][1:, 0])
    native = clip.visual.dense(arrays["in_image_native"]).final
    assert_equal_to_fixture(native.flatten(2).transpose(1, 2), arrays["out_dense_native"][:, 1:])
    assert_equal_to_fixture(clip.visual.pool(arrays["in_image_native"]), arrays["out_cls"])
    assert_equal_to_fixture(clip.encode_text(arrays["in_tokens"].long()), arrays["out_text"])


def test_a_truncated_trunk_gives_the_taps_of_the_whole_tower():
    state, arrays = unit("clip_tiny")
    tower = loaded(CLIP(TINY), state).visual
    report = LoadReport("unit")
    own = convert(state, clip_rules.trunk_rules(2), report)
    trunk = loaded(VisionTrunk(TINY.vision, layers=2), own)
    expected = tower.dense(arrays["in_image"], taps=(0, 1)).taps
    actual = trunk.tapped(arrays["in_image"], taps=(0, 1)).taps
    for index, tap in expected.items():
        assert torch.equal(actual[index], tap)
    assert any(key.startswith("visual.transformer.resblocks.2.") for key in report.dropped)


def test_dino_equals_the_published_encoder():
    state, arrays = unit("dino_tiny")
    dino = loaded(DINO(DinoPreset(28, 8, 48, 3, 3)), state)
    image = torch.from_numpy(generator("dino.i").standard_normal((1, 3, 384, 384))).float()
    maps = dino(image, taps=(0, 2)).taps
    for index in (0, 2):
        # The fixture's tokens start with the class token and are every 16th; the map lacks it.
        tokens = maps[index].flatten(2).transpose(1, 2)[:, 15::16]
        assert_equal_to_fixture(tokens, arrays[f"out_layer{index}_sub"][:, 1:])
    table = rescale_to_grid(dino.pos_embed[0], (48, 48))[None, ::8]
    assert_equal_to_fixture(table, arrays["out_pos_sub"])
