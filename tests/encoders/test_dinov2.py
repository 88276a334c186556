"""DINOv2 against timm's from the same weights, with both ways of resizing positions, and its limits."""

from types import SimpleNamespace

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from rskt_seg.checkpoints.dino import normalise_names
from rskt_seg.checkpoints.dinov2 import RULES
from rskt_seg.checkpoints.rules import LoadReport, convert, load_strict
from rskt_seg.encoders.dinov2 import DinoV2
from rskt_seg.encoders.presets import (
    DINO_PIXEL_MEAN,
    DINO_PIXEL_STD,
    DINOV2_PRESETS,
    DINOV2_TINY,
    DINOV2_VITB14,
    DINOV2_VITS14,
)
from rskt_seg.errors import ConfigError


def perturbed(module: nn.Module) -> nn.Module:
    """Random numbers in every parameter, norms, biases and layer scales included."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


def reference(side: int, **kwargs) -> VisionTransformer:
    """timm's transformer in the sizes of the tiny preset, with positions for images of `side` px."""
    return VisionTransformer(
        img_size=side,
        patch_size=7,
        embed_dim=64,
        depth=3,
        num_heads=1,
        init_values=1.0,
        num_classes=0,
        **kwargs,
    )


def loaded(state: dict, preset=DINOV2_TINY, positions: str = "hub") -> DinoV2:
    model = DinoV2(preset, positions).eval()
    converted = convert(normalise_names(state), RULES, LoadReport("timm"))
    load_strict(model, converted, "timm", "is DINOv2 another?")
    return model


def patch_map(tokens, side):
    height, width = side
    return tokens[:, 1:].transpose(1, 2).unflatten(2, (height, width))


@pytest.fixture(scope="module")
def native() -> VisionTransformer:
    return perturbed(reference(91, dynamic_img_size=True))


@pytest.mark.parametrize("grid", [(13, 13), (44, 44), (9, 16), (20, 3), (1, 1)])
def test_features_equal_timms_on_grids_of_any_shape(native, grid):
    images = torch.randn(2, 3, 7 * grid[0], 7 * grid[1])
    ours = loaded(native.state_dict(), positions="timm")
    with torch.inference_mode():
        expected = patch_map(native.forward_features(images), grid)
        actual = ours(images)
    assert actual.shape == (2, 64, *grid)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_small_model_equals_timms_at_308_px():
    kwargs = {"pretrained": False, "num_classes": 0, "dynamic_img_size": True}
    theirs = perturbed(timm.create_model("vit_small_patch14_dinov2.lvd142m", **kwargs))
    ours = loaded(theirs.state_dict(), DINOV2_VITS14, "timm")
    images = torch.randn(1, 3, 308, 308)
    with torch.inference_mode():
        expected = patch_map(theirs.forward_features(images), (22, 22))
        torch.testing.assert_close(ours(images), expected, rtol=1e-4, atol=1e-4)


def hub_table(table: torch.Tensor, side: int, grid: int) -> torch.Tensor:
    """(1, 1 + side ** 2, C) resized as Meta's code does it, written for this test alone."""
    square = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (grid + 0.1) / side
    square = F.interpolate(square, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    return torch.cat([table[:, :1], square.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


@pytest.mark.parametrize("grid", [8, 22])
def test_hub_positions_are_bicubic_by_the_scale_with_its_tenth_and_without_antialiasing(native, grid):
    theirs = reference(7 * grid).eval()
    resized = hub_table(native.pos_embed, 13, grid)
    theirs.load_state_dict({**native.state_dict(), "pos_embed": resized})
    images = torch.randn(1, 3, 7 * grid, 7 * grid)
    with torch.inference_mode():
        expected = patch_map(theirs.forward_features(images), (grid, grid))
        torch.testing.assert_close(loaded(native.state_dict())(images), expected, rtol=1e-4, atol=1e-5)
        other = loaded(native.state_dict(), positions="timm")(images)
    assert (other - expected).abs().max() > 1e-3, "the two ways must differ, or this test could not fail"


def test_the_published_table_of_37_is_resized_to_22_by_22_point_1_over_37(monkeypatch):
    import rskt_seg.layers.position as position

    seen = []

    def spy(x, **how):
        seen.append((tuple(x.shape), how))
        return interpolate(x, **how)

    interpolate = F.interpolate
    monkeypatch.setattr(position, "F", SimpleNamespace(interpolate=spy))
    with torch.device("meta"):
        DinoV2(DINOV2_VITS14)(torch.empty(1, 3, 308, 280))
    ((shape, how),) = seen
    assert shape == (1, 384, 37, 37) and how["mode"] == "bicubic" and not how.get("antialias", False)
    assert how["scale_factor"] == (22.1 / 37, 20.1 / 37) and "size" not in how


def test_both_ways_leave_the_native_table_alone(native):
    images = torch.randn(1, 3, 91, 91)
    with torch.inference_mode():
        hub, like_timm = (loaded(native.state_dict(), positions=name)(images) for name in ("hub", "timm"))
    assert torch.equal(hub, like_timm)


@pytest.mark.parametrize(("preset", "count"), [(DINOV2_VITB14, 86_579_712), (DINOV2_VITS14, 22_056_192)])
def test_sizes_are_the_published_ones(preset, count):
    with torch.device("meta"):
        encoder = DinoV2(preset)
        features = encoder(torch.empty(1, 3, 308, 518))
    assert sum(p.numel() for p in encoder.parameters()) == count
    assert features.shape == (1, preset.width, 22, 37)


@pytest.mark.parametrize(("name", "model"), [("vitb14", "base"), ("vits14", "small")])
def test_keys_and_shapes_are_timms(name, model):
    with torch.device("meta"):
        ours = DinoV2(DINOV2_PRESETS[name]).state_dict()
        theirs = timm.create_model(
            f"vit_{model}_patch14_dinov2", pretrained=False, num_classes=0
        ).state_dict()
    assert {key: t.shape for key, t in ours.items()} == {key: t.shape for key, t in theirs.items()}


def test_pixel_statistics_are_those_that_timm_states():
    config = timm.models.get_pretrained_cfg("vit_base_patch14_dinov2.lvd142m")
    assert pytest.approx([255 * value for value in config.mean]) == DINO_PIXEL_MEAN
    assert pytest.approx([255 * value for value in config.std]) == DINO_PIXEL_STD


def test_every_parameter_counts_in_an_untrained_encoder():
    torch.manual_seed(0)
    encoder = DinoV2(DINOV2_TINY)
    encoder(torch.randn(1, 3, 28, 28)).square().mul(torch.rand(1, 64, 4, 4)).sum().backward()
    assert [name for name, p in encoder.named_parameters() if not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("size", [(30, 28), (28, 34), (0, 28), (5, 5)])
def test_sides_that_are_no_multiples_of_the_patch_are_refused(size):
    with pytest.raises(ConfigError, match=rf"multiples of the patch of 7 px; found {size[0]} x {size[1]}"):
        DinoV2(DINOV2_TINY)(torch.zeros(1, 3, *size))


def test_another_way_of_resizing_positions_is_refused():
    with pytest.raises(ConfigError, match="positions must be one of hub, timm; found 'bilinear'"):
        DinoV2(DINOV2_TINY, "bilinear")
