"""What is shown of FCtL's contexts is what the model computed for that patch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import rskt_seg
from rskt_seg.errors import ConfigError
from rskt_seg.inference.context_maps import patch_contexts, why_no_maps
from rskt_seg.windows import Window

OPTIONS = {"gpe": True, "ale": "d", "geometry": "image", "patch_side": 64, "input_side": 64}


def build(**options):
    torch.manual_seed(0)
    return rskt_seg.create_model("fctl_tiny", 3, **{**OPTIONS, **options})


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def shown(model, image, *arguments, **options):
    with torch.inference_mode():
        return patch_contexts(model, image, *arguments, **options)


def square(image, top, left, side, seen=64):
    """A square of the image, black outside, as the model sees it."""
    canvas = np.zeros((side, side, 3), np.uint8)
    for row in range(side):
        for column in range(side):
            if 0 <= top + row < image.shape[0] and 0 <= left + column < image.shape[1]:
                canvas[row, column] = image[top + row, left + column]
    return np.asarray(Image.fromarray(canvas).resize((seen, seen), Image.Resampling.BILINEAR))


@pytest.fixture(scope="module")
def model():
    return build()


def test_maps_are_those_that_the_model_returns_for_the_patch_and_its_contexts(model):
    image = picture(64, 100)
    maps = shown(model, image, (10, 90))
    assert maps.cell[0] != maps.cell[1]
    assert maps.patch == Window(0, 36, 64, 64)
    squares = {"local": square(image, 0, 36, 64), "medium": square(image, -32, 4, 128)}
    squares["large"] = square(image, -64, -28, 192)
    batch = {
        name: torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
        for name, pixels in squares.items()
    }
    with torch.inference_mode():
        expected = model(batch.pop("local"), contexts=batch, return_maps=True).maps
    cells = expected.weights["local"].shape[-1]
    query = maps.cell[0] * cells + maps.cell[1]
    for name, view in maps.contexts.items():
        assert np.array_equal(view.pixels, squares[name]), name
        close(view.attention, expected.attention[name][0, query].view(cells, cells))
        close(view.weight, expected.weights[name][0].mean(dim=0))
    groups = expected.enhancement[0].abs().split([8, 8, 8, 8])
    assert list(maps.enhancement) == [3, 5, 7, 9]
    for values, group in zip(maps.enhancement.values(), groups, strict=True):
        close(values, group.mean(dim=0))


def close(actual, expected):
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-4, atol=1e-6)


@settings(max_examples=10)
@given(st.integers(1, 150), st.integers(1, 150), st.data())
def test_the_patch_holds_the_pixel_and_the_query_cell_is_the_nearest(model, height, width, data):
    point = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    maps = shown(model, picture(height, width), point, overlap=10)
    assert maps.point == point
    (count,) = {view.attention.shape[0] for view in maps.contexts.values()}
    centres = 32 * np.arange(count) - 83 + 0.0
    for place, first, cell in zip(point, (maps.patch.top, maps.patch.left), maps.cell, strict=True):
        assert 0 <= place - first < 64
        distance = abs(centres - (place - first + 0.5))
        assert distance[cell] == distance.min()
    assert maps.span == ((-83 - 16) / 64, (-83 - 16 + 32 * count) / 64)


def test_weights_share_every_cell_and_attention_is_shared_out(model):
    maps = shown(model, picture(80, 90))
    assert maps.point == (40, 45) and list(maps.contexts) == ["local", "medium", "large"]
    np.testing.assert_allclose(sum(view.weight for view in maps.contexts.values()), 1, rtol=1e-5)
    for view in maps.contexts.values():
        assert view.attention.min() >= 0 and view.attention.sum() == pytest.approx(1, rel=1e-4)


def test_a_context_that_is_the_whole_image_is_shown_as_such():
    image = picture(70, 90)
    maps = shown(build(branch="deepglobe", contexts=("large",), ale="none"), image, (69, 0))
    assert list(maps.contexts) == ["local", "large"] and not maps.enhancement
    assert maps.contexts["large"].window == Window(0, 0, 70, 90)
    expected = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(maps.contexts["large"].pixels, expected)


def test_what_a_model_lacks_is_not_shown():
    alone = shown(build(contexts=(), gpe=False, geometry="grid", ale="none"), picture(70, 90))
    assert list(alone.contexts) == ["local"] and alone.contexts["local"].weight is None
    assert alone.contexts["local"].attention is not None
    only = shown(build(lcf=False, gpe=False, geometry="grid"), picture(70, 90))
    assert all(view.attention is None and view.weight is None for view in only.contexts.values())
    assert len(only.contexts) == 3 and len(only.enhancement) == 4


def test_models_without_any_map_say_why():
    bare = {"contexts": (), "lcf": False, "gpe": False, "geometry": "grid", "ale": "none"}
    assert "lcf=False" in why_no_maps(build(**bare)) and why_no_maps(build()) is None
    whole = rskt_seg.create_model("fctl_tiny", 3, contexts=(), lcf=False, view="whole", patch_side=508)
    assert "whole images" in why_no_maps(whole)


@pytest.mark.parametrize("point", [(-1, 0), (0, 90), (80, 0)])
def test_a_pixel_outside_of_the_image_is_refused(model, point):
    with pytest.raises(ConfigError, match=r"rows 0\.\.79 and columns 0\.\.89"):
        shown(model, picture(80, 90), point)
