"""Patches and contexts of large images, against a plain implementation on padded arrays."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.errors import ConfigError
from rskt_seg.inference.blend import sum_bands
from rskt_seg.inference.contexts import (
    context_window,
    crop_window,
    patch_grid,
    patch_starts,
    relative_window,
)
from rskt_seg.inference.patches import (
    augmented_score_map,
    patch_logits,
    score_bands,
    score_map,
)
from rskt_seg.inference.views import VIEWS
from rskt_seg.windows import Window, window_grid
from tests.inference.patch_stub import PatchStub, colours

SIDE, OVERLAP = 24, 5


def picture(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(st.integers(1, 3000), st.integers(2, 600), st.data())
def test_patches_cover_stay_inside_and_overlap_enough(length, side, data):
    least = data.draw(st.integers(0, side - 1))
    starts = patch_starts(length, side, least)
    if length <= side:
        assert starts == (0,)
        return
    assert starts[0] == 0 and starts[-1] == length - side
    steps = np.diff(starts)
    # Rounded starts: a step may be one pixel more than the even one.
    assert (steps <= side - least + 1).all() and (steps > 0).all()
    assert steps.max() - steps.min() <= 2
    fewer = len(starts) - 2
    if fewer:  # one patch less would break the rule
        assert side - (length - side) / fewer < least or (fewer + 1) * side < length


def test_deepglobe_has_36_patches_with_120_px_overlap_and_inria_121():
    assert len(patch_grid(2448, 2448, 508)) == 36
    assert set(np.diff(patch_starts(2448, 508))) == {388}
    assert len(patch_grid(5000, 5000, 508)) == 121


@pytest.mark.parametrize(("length", "side", "least"), [(0, 10, 2), (10, 5, 5), (10, 5, -1)])
def test_a_grid_that_cannot_be_is_refused(length, side, least):
    with pytest.raises(ConfigError, match="overlap"):
        patch_starts(length, side, least)


def plain_context(image: np.ndarray, patch: Window, factor: float, side: int) -> np.ndarray:
    """The published way: black around the whole image, a square cut, Pillow's bilinear resize."""
    margin = int(patch.height / 2 * (factor - 1))
    around = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
    wide = int(patch.height * factor)
    square = around[patch.top : patch.top + wide, patch.left : patch.left + wide]
    return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR))


@settings(max_examples=30)
@given(st.integers(24, 80), st.integers(24, 80), st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.0, 4.0]))
def test_contexts_are_cut_as_from_a_padded_image(height, width, factor):
    image = picture(1, height, width)
    for patch in patch_grid(height, width, SIDE, OVERLAP):
        window = context_window(patch, factor)
        pixels = np.asarray(
            Image.fromarray(crop_window(image, window)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        )
        assert np.array_equal(pixels, plain_context(image, patch, factor, SIDE))


def test_a_window_that_misses_the_image_is_black():
    assert not crop_window(picture(1, 10, 10), Window(-8, -8, 8, 8)).any()
    assert not crop_window(picture(1, 10, 10), Window(12, 30, 4, 4)).any()


def test_a_centred_context_lies_around_its_patch():
    patch = Window(100, 40, 20, 20)
    assert relative_window(context_window(patch, 3.0), patch) == (-1, -1, 3, 3)
    assert relative_window(Window(0, 0, 300, 200), patch) == (-5, -2, 15, 10)
    assert relative_window(patch, patch) == (0, 0, 1, 1)


def plain_scores(image: np.ndarray, factors: dict[str, float]) -> np.ndarray:
    """Summed logits of the stub: the colour of the pixel, and of each context its mean colour.

    Everything from padded arrays, one patch at a time, in float64.
    """
    height, width = image.shape[:2]
    image = np.pad(image, ((0, max(SIDE - height, 0)), (0, max(SIDE - width, 0)), (0, 0)))
    total = np.zeros((3, *image.shape[:2]))
    for patch in patch_grid(*image.shape[:2], SIDE, OVERLAP):
        logits = image[patch.rows, patch.columns].astype(float).transpose(2, 0, 1)
        for factor in factors.values():
            if factor:
                seen = plain_context(image, patch, factor, SIDE)
            else:
                seen = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
            logits = logits + seen.mean(axis=(0, 1))[:, None, None]
        total[:, patch.rows, patch.columns] += logits
    return total[:, :height, :width]


SIZES = [(60, 45), (24, 24), (24, 60), (10, 60), (60, 10), (7, 9), (1, 1), (25, 23)]
FACTORS = [{}, {"medium": 2.0, "large": 3.0}, {"medium": 3.0, "large": 0.0}]


def close(actual, expected, atol=1e-3):
    torch.testing.assert_close(actual.double(), torch.as_tensor(expected).double(), rtol=0, atol=atol)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factors", FACTORS)
@torch.inference_mode()
def test_images_of_every_size_and_context_equal_the_plain_way(size, factors):
    image = picture(2, *size)
    model = colours(SIDE, factors=factors)
    scores = score_map(model, image, overlap=OVERLAP, batch_size=3)
    close(scores, plain_scores(image, factors))


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("size", [(60, 45), (10, 40)])
@torch.inference_mode()
def test_eight_views_are_the_sum_of_eight_turned_images(size, factors):
    image = picture(3, *size)
    height, width = size
    filled = np.pad(image, ((0, max(SIDE - height, 0)), (0, 0), (0, 0)))
    expected = np.zeros((3, *filled.shape[:2]))
    for mirrored in (False, True):
        for quarters in range(4):
            view = np.rot90(filled[:, ::-1] if mirrored else filled, quarters)
            scores = np.rot90(plain_scores(np.ascontiguousarray(view), factors), -quarters, axes=(1, 2))
            expected += scores[:, :, ::-1] if mirrored else scores
    actual = augmented_score_map(colours(SIDE, factors=factors), image, overlap=OVERLAP)
    # The whole image is turned after resizing, as published: Pillow rounds differently then.
    close(actual, expected[:, :height, :width], atol=3.0 if 0.0 in factors.values() else 1e-2)


@torch.inference_mode()
def test_the_whole_image_is_resized_once_and_turned_with_the_views():
    image = picture(4, 60, 45)
    model = colours(SIDE, factors={"large": 0.0})
    seen = []
    model.encode_context = lambda name, images: seen.append(images) or images.mean(dim=(2, 3), keepdim=True)
    augmented_score_map(model, image, overlap=OVERLAP)
    assert len(seen) == 8
    upright = torch.from_numpy(
        np.array(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    ).permute(2, 0, 1)[None]
    for view, images in zip(VIEWS["dihedral"], seen, strict=True):
        assert torch.equal(images, view.apply(upright.float()))


@torch.inference_mode()
def test_the_whole_image_is_encoded_once_and_its_place_is_told_for_every_patch():
    image = picture(5, 60, 40)
    model = colours(SIDE, factors={"medium": 2.0, "large": 0.0})
    list(patch_logits(model, image, overlap=OVERLAP, batch_size=4))
    assert model.encoded == [("large", (1, 3, SIDE, SIDE))]
    grid = patch_grid(60, 40, SIDE, OVERLAP)
    places = torch.cat([call["windows"]["large"] for call in model.calls])
    close(places, [(-w.top / SIDE, -w.left / SIDE, 60 / SIDE, 40 / SIDE) for w in grid], 1e-6)
    centred = torch.cat([call["windows"]["medium"] for call in model.calls])
    close(centred, torch.tensor([(-0.5, -0.5, 2.0, 2.0)]).expand(len(grid), -1), 1e-6)


@torch.inference_mode()
def test_the_batch_size_changes_no_score():
    image = picture(6, 70, 50)
    maps = [
        score_map(colours(SIDE, factors=FACTORS[1]), image, overlap=OVERLAP, batch_size=n) for n in (1, 4, 99)
    ]
    assert torch.equal(maps[0], maps[1]) and torch.equal(maps[0], maps[2])


@torch.inference_mode()
def test_patches_of_another_side_than_the_network_sees_are_resized_there_and_back():
    image = picture(7, 60, 60)
    model = colours(2 * SIDE, seen=SIDE)
    tiles = list(patch_logits(model, image, overlap=OVERLAP))
    assert model.calls[0]["patches"].shape[2:] == (SIDE, SIDE)
    assert all(logits.shape == (3, 2 * SIDE, 2 * SIDE) for _, logits in tiles)
    flat = np.full((60, 60, 3), (10, 20, 30), np.uint8)
    scores = score_map(model, flat, overlap=OVERLAP)
    ratio = scores / torch.tensor([10.0, 20.0, 30.0])[:, None, None]
    close(ratio, ratio[:1].expand(3, -1, -1), 1e-4)


@torch.inference_mode()
def test_a_model_of_whole_images_sees_one_square_and_answers_at_the_image_size():
    image = picture(8, 40, 90)
    model = colours(SIDE, whole=True)
    scores = score_map(model, image)
    assert len(model.calls) == 1 and scores.shape == (3, 40, 90)
    square = np.array(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(square).permute(2, 0, 1)[None].float(), size=(40, 90), mode="bilinear"
    )[0]
    close(scores, expected)


@torch.inference_mode()
def test_views_of_a_model_of_whole_images_have_no_black_in_them():
    image = np.full((10, 40, 3), (10, 20, 30), np.uint8)
    scores = augmented_score_map(colours(SIDE, whole=True), image)
    expected = 8 * torch.tensor([10.0, 20.0, 30.0])[:, None, None].expand(3, 10, 40)
    close(scores, expected)


@torch.inference_mode()
def test_scores_of_a_tall_image_leave_in_bands_of_at_most_a_patch():
    image = picture(9, 400, 30)
    row = 0
    for top, band in score_bands(colours(SIDE), image, overlap=OVERLAP):
        assert top == row and band.shape[1] <= SIDE and band.shape[2] == 30
        row += band.shape[1]
    assert row == 400


def test_sums_of_windows_are_what_adding_them_gives():
    grid = window_grid(30, 20, 8, 5)
    tiles = [(w, torch.rand(2, w.height, w.width)) for w in grid]
    expected = torch.zeros(2, 30, 20)
    for window, scores in tiles:
        expected[:, window.rows, window.columns] += scores
    bands = list(sum_bands(tiles, 20))
    assert [top for top, _ in bands] == sorted({w.top for w in grid})
    torch.testing.assert_close(torch.cat([band for _, band in bands], dim=1), expected)


@pytest.mark.parametrize("tops", [(4, 0), (0, 9)])
def test_windows_that_go_back_or_leave_gaps_are_refused(tops):
    tiles = [(Window(top, 0, 8, 8), torch.ones(1, 8, 8)) for top in tops]
    with pytest.raises(ValueError, match="row by row without gaps"):
        list(sum_bands(tiles, 8))


def test_augmentation_without_views_is_refused():
    with pytest.raises(ConfigError, match="at least one view"):
        augmented_score_map(colours(SIDE), picture(1, 30, 30), ())


@torch.inference_mode()
def test_logits_are_added_in_single_precision_whatever_the_model_computes_in():
    model = PatchStub(torch.full((3, 3, 3, 3), 1e-3), torch.zeros(3), SIDE)
    plain = model.forward

    def half(patches, **options):
        return type(plain(patches))(plain(patches).logits.bfloat16())

    model.forward = half
    assert score_map(model, picture(1, 60, 60), overlap=OVERLAP).dtype == torch.float32


def test_memory_of_the_bands_does_not_grow_with_the_height_of_an_image():
    code = """
import resource
import numpy as np
import torch
from rskt_seg.inference.patches import score_bands
from tests.inference.patch_stub import colours

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

model = colours(508, seen=32, factors={"medium": 2.0, "large": 3.0})
image = np.full((5000, 1500, 3), (1, 2, 3), np.uint8)
with torch.inference_mode():
    for _ in score_bands(model, image[:2000]):
        pass
    before = peak()
    rows = 0
    for top, band in score_bands(model, image):
        assert top == rows and int(band[:, 0, 1000].argmax()) == 2
        rows += band.shape[1]
assert rows == 5000
grown = peak() - before
# The scores of 3000 more rows would be 51 MiB.
assert grown < 25, f"{grown:.0f} MiB"
"""
    # Large blocks go back to the system at once, so that the peak is what was in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
