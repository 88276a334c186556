"""Laws of pixel-adaptive refinement and of the pseudo labels that it ends in."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.cams import min_max_normalize, stack_cams
from rskt_seg.models.wsss.par import ParOptions, pixel_weights, refine_pixels
from rskt_seg.models.wsss.pseudo import complement_labels, dual_threshold_labels
from tests.models.wsss_draw import draw_present, permuted, rand

NUMBERS = st.integers(0, 10**6)
PAR = ParOptions(dilations=(1, 2), iterations=3)
LABELLERS = [
    complement_labels,
    lambda *args, **options: dual_threshold_labels(*args, high=0.6, low=0.3, **options),
]


# Pixel-adaptive refinement


def around(plane, y, x, dilation):
    """The eight neighbours of a pixel with repeated edges, row by row."""
    height, width = plane.shape
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    places = [
        (min(max(y + dy * dilation, 0), height - 1), min(max(x + dx * dilation, 0), width - 1))
        for dy, dx in steps
    ]
    return torch.stack([plane[place] for place in places])


def plain_weights(image, y, x, dilations, w1, w2):
    """The weights of one pixel, from the definition."""
    likeness = 0
    for plane in image:
        near = torch.cat([around(plane, y, x, d) for d in dilations])
        likeness = likeness - ((near - plane[y, x]) / near.std() / w1) ** 2 / 3
    far = torch.tensor([d * s for d in dilations for s in (2**0.5, 1, 2**0.5, 1, 1, 2**0.5, 1, 2**0.5)])
    place = -((far / far.std() / w1) ** 2)
    return likeness.softmax(dim=0) + w2 * place.softmax(dim=0)


@pytest.mark.parametrize("dilations", [(1,), (3, 1), (1, 2, 9)])
def test_weights_and_refined_maps_equal_the_definition_pixel_by_pixel(dilations):
    image, maps = rand(0, 3, 5, 7), rand(1, 2, 5, 7)
    weights = pixel_weights(image, dilations, 0.4, 0.05)
    found = refine_pixels(image, maps, dilations=dilations, iterations=1, w1=0.4, w2=0.05)
    for y in range(5):
        for x in range(7):
            expected = plain_weights(image, y, x, dilations, 0.4, 0.05)
            torch.testing.assert_close(weights[:, y, x], expected, rtol=1e-4, atol=1e-5)
            near = torch.stack([torch.cat([around(plane, y, x, d) for d in dilations]) for plane in maps])
            torch.testing.assert_close(found[:, y, x], near @ expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=20)
@given(NUMBERS, st.floats(0.01, 300), st.floats(-3, 3), st.floats(0, 0.5))
def test_weights_sum_to_one_and_w2_and_know_no_scale_or_offset(seed, scale, offset, w2):
    image = rand(seed, 3, 9, 11)
    weights = pixel_weights(image, (1, 2, 24), 0.3, w2)
    torch.testing.assert_close(weights.sum(dim=0), torch.full((9, 11), 1 + w2))
    other = pixel_weights(scale * (image + offset), (1, 2, 24), 0.3, w2)
    torch.testing.assert_close(other, weights, rtol=0, atol=1e-3)


def test_a_flat_image_averages_all_neighbours_alike_and_whole_numbers_are_read_as_such():
    weights = pixel_weights(torch.full((3, 4, 4), 200, dtype=torch.uint8), (1, 2), 0.3, 0.0)
    torch.testing.assert_close(weights, torch.full((16, 4, 4), 1 / 16))
    image = (rand(0, 3, 6, 6) * 255).to(torch.uint8)
    assert torch.equal(pixel_weights(image, (1, 2), 0.3, 0.0), pixel_weights(image.float(), (1, 2), 0.3, 0.0))


@settings(max_examples=15)
@given(NUMBERS, st.sampled_from([(1,), (2,), (1, 2)]), st.integers(0, 4))
def test_maps_turn_with_the_image_and_are_refined_each_for_itself(seed, axes, iterations):
    image, maps = rand(seed, 3, 8, 13), rand(seed + 1, 3, 8, 13)
    options = {"dilations": (1, 3), "iterations": iterations, "w1": 0.3, "w2": 0.02}
    found = refine_pixels(image, maps, **options)
    turned = refine_pixels(image.flip(axes), maps.flip(axes), **options)
    torch.testing.assert_close(turned, found.flip(axes))
    torch.testing.assert_close(refine_pixels(image, maps[1:2], **options), found[1:2])
    grown = refine_pixels(image, torch.ones(1, 8, 13), **options)
    torch.testing.assert_close(grown, torch.full((1, 8, 13), 1.02**iterations))
    assert iterations or torch.equal(found, maps)


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor):
                self.elements = max(self.elements, each.numel())
        return out


@given(st.integers(1, 100), st.lists(st.integers(1, 40), min_size=1, max_size=3, unique=True))
def test_weights_of_a_tall_image_know_no_border_of_a_band(height, dilations):
    """Weights of rows depend on the rows within reach alone, wherever bands of rows are cut."""
    image, reach = rand(height, 3, height, 5), max(dilations)
    options = (dilations, 0.3, 0.01)
    row = height // 2
    top, bottom = max(row - reach, 0), min(row + reach + 1, height)
    alone = pixel_weights(image[:, top:bottom], *options)[:, row - top]
    # Not bit by bit: where a vector ends, PyTorch sums and computes exp another way; exp of -20 makes 1e-6
    # of a rounded exponent. A border that is seen changes weights by hundredths.
    assert (pixel_weights(image, *options)[:, row] - alone).abs().max() <= 1e-5


def test_neighbours_of_many_maps_are_never_held_at_once():
    with Largest() as largest:
        refine_pixels(
            rand(0, 3, 30, 30), rand(1, 20, 30, 30), iterations=2, dilations=(1, 2), w1=0.3, w2=0.01
        )
    # The maps with their margin; the neighbours of all of them would be 16 times the maps.
    assert 20 * 30 * 30 < largest.elements <= 20 * 34 * 34


def test_the_options_are_those_of_the_published_method():
    assert ParOptions() == ParOptions(dilations=(1, 2, 4, 8, 12, 24), iterations=20, w1=0.3, w2=0.01)


@pytest.mark.parametrize(
    "options", [{"dilations": ()}, {"dilations": (1, 0)}, {"iterations": -1}, {"w1": 0.0}, {"w2": -0.1}]
)
def test_options_without_a_meaning_are_refused(options):
    with pytest.raises(ConfigError, match=r"PAR needs .*found"):
        ParOptions(**options)


# Pseudo labels


def draw_images(seed=0, size=(24, 33), grid=(4, 5)):
    present = draw_present(seed, 3, 4)
    cams = stack_cams(min_max_normalize(rand(seed, 3, 4, math.prod(grid))), present, 1.0).unflatten(2, grid)
    return rand(seed + 1, 3, 3, *size), cams, present


@pytest.mark.parametrize("labels", LABELLERS)
@pytest.mark.parametrize("background", [True, False])
def test_only_labelled_classes_are_found_and_padding_is_ignored(labels, background):
    images, cams, present = draw_images()
    valid = torch.ones(3, 24, 33, dtype=torch.bool)
    valid[:, 20:] = valid[:, :, 30:] = False
    found = labels(images, cams, present, par=PAR, valid=valid, background=background)
    whole = labels(images, cams, present, par=PAR, background=background)
    assert found.dtype == torch.int64 and found.shape == (3, 24, 33)
    assert (found[~valid] == 255).all() and torch.equal(found[valid], whole[valid])
    for label, row in zip(whole, present, strict=True):
        allowed = {1 + c for c in row.nonzero().flatten().tolist()} | ({0} if background else set())
        assert set(label.unique().tolist()) - {255} <= allowed
    assert len(whole[0].unique()) > 2


@pytest.mark.parametrize("labels", LABELLERS)
@pytest.mark.parametrize(("background", "ignored"), [(True, 255), (False, 255), (False, 200)])
def test_an_image_without_a_labelled_class_is_background_or_ignored(labels, background, ignored):
    images, cams, present = draw_images()
    options = {"par": PAR, "background": background, "ignore_value": ignored}
    found = labels(images, cams, present, **options)
    assert (found[-1] == (0 if background else ignored)).all()
    nothing = labels(images, cams, torch.zeros_like(present), **options)
    assert (nothing == (0 if background else ignored)).all()


@pytest.mark.parametrize("labels", LABELLERS)
@pytest.mark.parametrize("order", [[3, 0, 1, 2], [1, 0, 3, 2]])
def test_labels_follow_the_order_of_the_classes_and_of_the_images(labels, order):
    images, cams, present = draw_images()
    found = labels(images, cams, present, par=PAR)
    table = torch.full((256,), 255)
    table[0] = 0
    table[[1 + c for c in order]] = torch.arange(1, 5)
    other = labels(images, permuted(cams, order), present[:, order], par=PAR)
    assert torch.equal(other, table[found])
    assert torch.equal(labels(images[1:2], cams[1:2], present[1:2], par=PAR), found[1:2])


@pytest.mark.parametrize("labels", LABELLERS)
def test_cams_may_come_at_the_size_of_the_image(labels):
    images, cams, present = draw_images()
    enlarged = F.interpolate(cams, (24, 33), mode="bilinear", align_corners=False)
    assert torch.equal(labels(images, cams, present, par=PAR), labels(images, enlarged, present, par=PAR))


def test_a_single_class_without_background_takes_every_pixel():
    images, cams, _ = draw_images()
    present = torch.tensor([[False, True, False, False]]).expand(3, -1)
    found = complement_labels(images, cams, present, par=PAR, background=False)
    assert (found == 2).all()


def test_complement_labels_follow_the_edges_of_the_image():
    images = torch.zeros(1, 3, 16, 16)
    images[..., 9:] = 1
    maps = torch.tensor([[1.0, 0.0]]).expand(2, -1)[None, None]
    cams = torch.cat([1 - maps, maps], dim=1)
    present = torch.ones(1, 1, dtype=torch.bool)
    plain = complement_labels(images, cams, present, par=ParOptions(iterations=0))
    assert torch.equal(plain[0, 0], torch.tensor([1] * 8 + [0] * 8))
    found = complement_labels(images, cams, present, par=ParOptions(dilations=(1, 2, 4), iterations=20))
    assert torch.equal(found, (images[:, 0] == 0).long())


def test_certain_pixels_are_labelled_and_the_band_between_the_thresholds_is_ignored():
    images, cams, present = draw_images(size=(20, 25), grid=(10, 12))
    par = ParOptions(dilations=(1,), iterations=0)
    found = dual_threshold_labels(images, cams, present, par=par, high=0.8, low=0.4, down=1)
    maps = F.interpolate(cams[:, 1:], (20, 25), mode="bilinear", align_corners=False)
    strongest = maps.amax(dim=1)
    expected = torch.where(strongest > 0.8, 1 + maps.argmax(dim=1), 255).where(strongest > 0.4, 0)
    assert torch.equal(found, expected) and set(found[0].unique().tolist()) == {0, 1, 2, 3, 4, 255}
    bare = dual_threshold_labels(images, cams, present, par=par, high=0.8, low=0.4, down=1, background=False)
    assert torch.equal(bare, expected.where(expected > 0, 255))


def test_equal_thresholds_leave_nothing_between_them():
    images, cams, present = draw_images()
    found = dual_threshold_labels(images, cams, present, par=PAR, high=0.5, low=0.5)
    assert (found != 255).all() and 0 in found[0]


@pytest.mark.parametrize("down", [1, 2, 3, 50])
def test_any_size_of_image_has_its_labels(down):
    images, cams, present = draw_images(size=(7, 23))
    found = dual_threshold_labels(images, cams, present, par=PAR, high=0.6, low=0.3, down=down)
    assert found.shape == (3, 7, 23)
