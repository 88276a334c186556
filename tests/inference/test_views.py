"""Views come back to the image they were made from, and the named sets are the published ones."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError
from rskt_seg.inference.views import VIEWS, View, average_views, product_views

flips = st.booleans()
sides = st.integers(1, 30)


def image(height, width, seed=0, channels=3):
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40)
@given(flips, flips, st.integers(0, 3), sides, sides)
def test_undoing_a_mirrored_and_turned_view_gives_the_image(hflip, vflip, turns, height, width):
    view, x = View(hflip, vflip, turns), image(height, width)
    seen = view.apply(x)
    assert seen.shape[2:] == ((height, width) if turns % 2 == 0 else (width, height))
    assert torch.equal(view.undo(seen, (height, width)), x)


def test_each_step_of_a_view_is_what_its_name_says():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert View(hflip=True).apply(x)[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert View(vflip=True).apply(x)[0, 0].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert View(turns=1).apply(x)[0, 0].tolist() == [[2, 5], [1, 4], [0, 3]]
    # Mirrored first, then turned.
    assert View(hflip=True, turns=1).apply(x)[0, 0].tolist() == [[0, 3], [1, 4], [2, 5]]


@settings(max_examples=30)
@given(st.integers(4, 40), st.integers(4, 40), st.sampled_from([0.5, 0.75, 1.25, 1.5]), st.integers(0, 1))
def test_resized_views_round_down_and_come_back_at_the_size_of_the_image(height, width, scale, turns):
    view, x = View(turns=turns, scale=scale), image(height, width)
    seen = view.apply(x)
    expected = [int(side * scale) for side in (height, width)]
    assert list(seen.shape[2:]) == (expected if turns == 0 else expected[::-1])
    assert view.undo(seen, (height, width)).shape == x.shape


def test_a_resized_view_is_the_bicubic_one():
    x = image(16, 24)
    expected = F.interpolate(x, size=(12, 18), mode="bicubic", align_corners=False)
    torch.testing.assert_close(View(scale=0.75).apply(x), expected)
    back = F.interpolate(expected, size=(16, 24), mode="bicubic", align_corners=False)
    torch.testing.assert_close(View(scale=0.75).undo(expected, (16, 24)), back)


@pytest.mark.parametrize(
    ("name", "passes"),
    [("none", 1), ("lr", 4), ("dihedral", 8), ("d4_loveda", 8), ("d4_potsdam", 16), ("d4_vaihingen", 40)],
)
def test_named_sets_hold_distinct_views_in_the_published_number(name, passes):
    x = image(16, 24)
    seen = {(tuple(v.shape), tuple(v.flatten().tolist())) for v in (view.apply(x) for view in VIEWS[name])}
    assert len(VIEWS[name]) == len(seen) == passes


@pytest.mark.parametrize("name", ["none", "lr", "dihedral"])
def test_a_pixelwise_prediction_is_its_own_average(name):
    x = image(9, 14)
    torch.testing.assert_close(average_views(lambda view: view * 2 - 1, x, VIEWS[name]), x * 2 - 1)


@pytest.mark.parametrize("name", VIEWS)
def test_a_constant_prediction_is_its_own_average(name):
    average = average_views(lambda view: torch.full_like(view, 0.25), image(9, 14), VIEWS[name])
    torch.testing.assert_close(average, torch.full((2, 3, 9, 14), 0.25))


def test_averaging_over_the_dihedral_group_commutes_with_turning_and_mirroring():
    weight = torch.randn(4, 3, 3, 3)

    def predict(view):
        return F.conv2d(view, weight, padding=1)

    def average(x):
        return average_views(predict, x, VIEWS["dihedral"])

    x = image(10, 13)
    turned, mirrored = torch.rot90(x, 1, (2, 3)), x.flip(3)
    torch.testing.assert_close(average(turned), torch.rot90(average(x), 1, (2, 3)))
    torch.testing.assert_close(average(mirrored), average(x).flip(3))
    assert not torch.allclose(predict(turned), torch.rot90(predict(x), 1, (2, 3)), atol=1e-2)


def test_coarser_predictions_are_resized_to_the_image():
    x = image(16, 24)
    average = average_views(lambda view: F.avg_pool2d(view, 4), x, VIEWS["d4_loveda"])
    assert average.shape == x.shape


def test_bytes_are_resized_as_floats():
    x = (image(8, 8) * 255).to(torch.uint8)
    torch.testing.assert_close(View(scale=1.5).apply(x), View(scale=1.5).apply(x.float()))


def test_impossible_views_are_refused():
    with pytest.raises(ConfigError, match="at least one view"):
        average_views(lambda view: view, image(4, 4), ())
    with pytest.raises(ConfigError, match=r"no view at scale 0\.5"):
        View(scale=0.5).apply(image(1, 8))


def test_products_hold_every_combination():
    views = product_views((False, True), turns=(0, 2), scales=(1.0, 2.0))
    assert len(set(views)) == 8 and View(True, False, 2, 2.0) in views
