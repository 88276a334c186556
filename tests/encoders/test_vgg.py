import copy

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.analysis.flops import count_flops
from rskt_seg.encoders.vgg import PADDING, VGG, VGG_PRESETS
from rskt_seg.layers.inference_form import FormBuilder, packing_pays


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return VGG(VGG_PRESETS["vgg_tiny"]).eval()


def test_features_equal_torchvisions_vgg16_with_the_two_changes_of_fcn8s():
    with torch.device("meta"):
        reference = torchvision.models.vgg16().features
    reference = reference.to_empty(device="cpu")
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    ours = VGG(VGG_PRESETS["vgg16"])
    assert list(ours.features.state_dict()) == list(reference.state_dict())
    ours.features.load_state_dict(reference.state_dict())
    reference[0].padding = (PADDING, PADDING)
    for layer in reference:
        if isinstance(layer, torch.nn.MaxPool2d):
            layer.ceil_mode = True
    images = torch.rand(1, 3, 20, 35)
    with torch.inference_mode():
        features = ours(images)
        pool3 = reference[:17](images)
        pool4 = reference[17:24](pool3)
        pool5 = reference[24:](pool4)
    # Both run the same kernels on the same numbers, so that nothing but equality is right.
    assert torch.equal(features.taps[3], pool3)
    assert torch.equal(features.taps[4], pool4)
    assert torch.equal(features.final, pool5)


def test_a_patch_of_508_gives_the_published_grids():
    with torch.device("meta"):
        features = VGG(VGG_PRESETS["vgg16"])(torch.empty(1, 3, 508, 508))
    assert features.final.shape == (1, 512, 23, 23)
    assert features.taps[4].shape == (1, 512, 45, 45)
    assert features.taps[3].shape == (1, 256, 89, 89)


def test_cells_of_the_last_map_are_centred_where_stride_and_offset_say(tiny):
    """The gradient of one cell covers its receptive field, whose middle is the centre of the cell."""
    with torch.no_grad():
        for parameter in tiny.parameters():
            parameter.abs_()  # positive everywhere: the field has no holes
    images = torch.ones(1, 3, 700, 700, requires_grad=True)
    # Average pooling spreads over the whole field what maximum pooling gives to one pixel.
    layers = [
        torch.nn.AvgPool2d(2, ceil_mode=True) if isinstance(m, torch.nn.MaxPool2d) else m
        for m in tiny.features
    ]
    cell = 14
    torch.nn.Sequential(*layers)(images)[0, :, cell, cell].sum().backward()
    for dim in (0, 1):
        seen = images.grad[0].sum(dim=0).sum(dim=dim).nonzero().flatten()
        middle = (int(seen[0]) + int(seen[-1]) + 1) / 2
        assert middle == tiny.stride * cell + tiny.offset


def test_every_layer_is_registered_once(tiny):
    names = [name for name, _ in tiny.named_parameters(remove_duplicate=False)]
    assert len(names) == len(set(names)) == 26
    assert sum(p.numel() for p in VGG(VGG_PRESETS["vgg16"]).parameters()) == 14_714_688


SIDES = st.integers(1, 80)
MARGINS = st.tuples(*[st.integers(0, 40)] * 4)


@pytest.fixture(scope="module")
def doubled():
    """A small encoder in float64 whose maps of a blank canvas are not zero, and its inference form."""
    torch.manual_seed(0)
    model = VGG(VGG_PRESETS["vgg_tiny"]).eval().double()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model, FormBuilder(torch.float32, packed=False).convert(model.requires_grad_(False))


@settings(max_examples=30, deadline=None)
@given(size=st.tuples(SIDES, SIDES), margins=MARGINS, seed=st.integers(0, 9))
def test_the_form_sees_what_the_encoder_sees_of_any_image_with_any_black_margins(
    doubled, size, margins, seed
):
    model, form = doubled
    images = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    top, bottom, left, right = margins  # of the first image; they may cover it
    images[0, :, :top] = images[0, :, size[0] - bottom :] = 0
    images[0, :, :, :left] = images[0, :, :, size[1] - right :] = 0
    expected, found = model(images), form(images)
    for a, b in (
        (expected.final, found.final),
        (expected.taps[3], found.taps[3]),
        (expected.taps[4], found.taps[4]),
    ):
        assert b.shape == a.shape and (b - a).abs().max() <= 1e-12


@pytest.mark.skipif(not packing_pays(torch.device("cpu")), reason="oneDNN's kernels are for x86 processors")
def test_the_form_with_fused_kernels_is_equal_too(tiny):
    form = FormBuilder(torch.float32, packed=True).convert(tiny)
    images = torch.rand(2, 3, 61, 90)
    with torch.inference_mode():
        expected, found = tiny(images).final, form(images).final
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_form_multiplies_a_third_less_and_less_still_beyond_the_border_of_a_scene(doubled):
    model, form = doubled
    inside = torch.ones(1, 3, 508, 508, dtype=torch.float64)
    beyond = inside.clone()
    beyond[:, :, :127] = 0
    published, whole, bordering = (
        count_flops(call) for call in (lambda: model(inside), lambda: form(inside), lambda: form(beyond))
    )
    assert whole < 0.75 * published and bordering < 0.85 * whole


def test_an_accelerator_is_not_asked_where_an_image_is_black(doubled):
    """Looking would wait for it. The device "meta", which has no values, stands for it."""
    form = doubled[1]
    blank = copy.deepcopy(form).to("meta")(torch.empty(3, 3, 508, 508, dtype=torch.float64, device="meta"))
    assert blank.final.shape == (3, 32, 23, 23) and blank.taps[3].shape == (3, 16, 89, 89)
