"""MiT against PVT v2 of timm: SegFormer's encoder is that network with an MLP ratio of 4 in every stage."""

import pytest
import torch
from timm.models.pvt_v2 import PyramidVisionTransformerV2

from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.encoders.mit import MIT_PRESETS, MiT, MitPreset
from rskt_seg.methods.fctl.encoders import mit_rules

SMALL = MitPreset((16, 24, 40, 48), (1, 2, 1, 2), (1, 2, 5, 8))
PARTS = {"attn.sr.": "attn.reduce.", "embed.proj.": "proj.", "embed.norm.": "proj_norm."}


def perturbed(module):
    """Random numbers in every parameter, norms and biases included."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def pvt(preset: MitPreset) -> PyramidVisionTransformerV2:
    return PyramidVisionTransformerV2(
        depths=preset.depths,
        embed_dims=preset.widths,
        num_heads=preset.heads,
        sr_ratios=preset.reductions,
        mlp_ratios=(4, 4, 4, 4),
        num_classes=0,
    )


def from_pvt(state):
    """timm's names -> ours, written for this test alone."""
    own = {}
    for key, value in state.items():
        key = key.replace("patch_embed.", "stages.0.embed.").replace(".downsample.", ".embed.")
        for old, new in PARTS.items():
            key = key.replace(old, new)
        if ".attn.kv." in key:
            for part, half in zip("kv", value.chunk(2), strict=True):
                own[key.replace(".kv.", f".{part}.")] = half
        else:
            own[key] = value
    return own


@pytest.mark.parametrize("size", [(64, 96), (127, 70)])
def test_all_four_stages_equal_pvt_v2_with_an_mlp_ratio_of_4(size):
    reference, ours = perturbed(pvt(SMALL)), MiT(SMALL).eval()
    ours.load_state_dict(from_pvt(reference.state_dict()))
    images = torch.randn(2, 3, *size)
    with torch.inference_mode():
        features, x = ours(images), reference.patch_embed(images)
        for number, stage in enumerate(reference.stages, start=1):
            x = stage(x)
            actual = features.final if number == 4 else features.taps[number]
            torch.testing.assert_close(actual, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "count"), [("mitb2", 24_196_288), ("mitb5", 81_443_008)])
def test_sizes_are_the_published_ones(name, count):
    with torch.device("meta"):
        encoder = MiT(MIT_PRESETS[name])
        features = encoder(torch.empty(1, 3, 508, 508))
    assert sum(p.numel() for p in encoder.parameters()) == count
    assert features.final.shape == (1, 512, 16, 16)
    assert [tuple(features.taps[i].shape[1:]) for i in (1, 2, 3)] == [
        (64, 127, 127),
        (128, 64, 64),
        (320, 32, 32),
    ]


def test_cells_of_the_last_map_are_centred_where_stride_and_offset_say():
    """Through the four patch embeddings alone, whose fields are symmetric."""
    encoder = MiT(MIT_PRESETS["mit_tiny"])
    images = torch.randn(1, 3, 640, 640, requires_grad=True)
    x = images
    for stage in encoder.stages:
        x = stage.proj(x)
    cell = 10
    x[0, :, cell, cell].sum().backward()
    seen = images.grad[0].abs().sum(dim=(0, 1)).nonzero().flatten()
    assert (int(seen[0]) + int(seen[-1]) + 1) / 2 == encoder.stride * cell + encoder.offset


def test_training_leaves_out_branches_of_single_images_and_evaluation_none():
    torch.manual_seed(0)
    encoder = MiT(MitPreset((8, 8, 8, 8), (1, 1, 1, 3), (1, 1, 1, 1), drop_path=0.9))
    images = torch.randn(1, 3, 64, 64).expand(8, -1, -1, -1)
    with torch.no_grad():
        trained = encoder.train()(images).final
        evaluated = encoder.eval()(images).final
    assert len(trained.flatten(1).unique(dim=0)) > 1
    torch.testing.assert_close(evaluated, evaluated[:1].expand_as(evaluated))


def test_the_mean_of_dropped_branches_is_the_branch():
    torch.manual_seed(0)
    block = (
        MiT(MitPreset((8, 8, 8, 8), (1, 1, 1, 2), (1, 1, 1, 1), drop_path=0.5)).stages[3].blocks[1].train()
    )
    assert block.drop_path == 0.5
    dropped = block._drop(torch.ones(20_000, 1, 1))
    assert float(dropped.mean()) == pytest.approx(1, abs=0.05)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}


def test_encoders_equal_segformer_of_transformers(tmp_path):
    import transformers
    from safetensors.torch import load_file

    config = transformers.SegformerConfig(
        hidden_sizes=list(SMALL.widths), depths=list(SMALL.depths), num_attention_heads=list(SMALL.heads)
    )
    reference = perturbed(transformers.SegformerModel(config))
    reference.save_pretrained(tmp_path)
    state = convert(load_file(tmp_path / "model.safetensors"), mit_rules(), LoadReport("hub"))
    ours = MiT(SMALL).eval()
    ours.load_state_dict({key.removeprefix("encoder."): value for key, value in state.items()})
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = reference(images, output_hidden_states=True).hidden_states
        features = ours(images)
    for actual, reference_map in zip([*features.taps.values(), features.final], expected, strict=True):
        torch.testing.assert_close(actual, reference_map, rtol=0, atol=1e-4)
