import pytest
import torch
import torchvision

from rskt_seg.encoders.vgg import PADDING, VGG, VGG_PRESETS


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
