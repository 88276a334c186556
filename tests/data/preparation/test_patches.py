"""Laws of the patches of the closed-set ISPRS layouts, on arrays."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.data.class_sets import ISPRS
from rskt_seg.data.preparation import RECIPES
from rskt_seg.data.preparation.patches import COPIES, Enlargement, Patches
from rskt_seg.data.preparation.windows import Patch, Tiling
from rskt_seg.windows import Window, tile_stem

sides = st.integers(1, 40)
CAR = ISPRS.names.index("Car")
FLIPPED = {"0": lambda a: a, "1": lambda a: a[:, ::-1], "2": lambda a: a[::-1]}


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels of 1..255 and ids of 0..5, so that only padding is black and 255."""
    rng = np.random.default_rng([height, width])
    pixels = rng.integers(1, 256, (height, width, 3), np.uint8)
    return pixels, rng.integers(0, 6, (height, width), np.uint8)


def copy_and_number(patch: Patch) -> tuple[str, int]:
    _, copy, number = patch.stem.rsplit("_", 2)
    return copy, int(number)


@settings(max_examples=60)
@given(sides, sides, st.sampled_from([8, 16]))
def test_patches_without_overlap_are_the_padded_copies_and_give_every_pixel_back(height, width, size):
    pixels, ids = scene(height, width)
    found = Patches(size, size, COPIES).cut("s", ids)
    rows, columns = -(-height // size), -(-width // size)
    assert Counter(copy for copy, _ in map(copy_and_number, found)) == dict.fromkeys("012", rows * columns)
    for copy, flip in FLIPPED.items():
        image = np.zeros((rows * size, columns * size, 3), np.uint8)
        label = np.zeros((rows * size, columns * size), np.uint8)
        for patch in (patch for patch in found if copy_and_number(patch)[0] == copy):
            row, column = divmod(copy_and_number(patch)[1], columns)
            place = np.s_[row * size : (row + 1) * size, column * size : (column + 1) * size]
            image[place], label[place] = patch.image(pixels), patch.label(ids)
        # The image sits at the bottom right, the padding is at the top and the left.
        assert (flip(image[-height:, -width:]) == pixels).all()
        assert (flip(label[-height:, -width:]) == ids).all()
        assert (image == 0).all(-1).sum() == (label == 255).sum() == image[..., 0].size - height * width


@settings(max_examples=60)
@given(sides, sides)
def test_overlapping_patches_fit_and_their_numbers_count_the_windows_that_do_not(height, width):
    _, ids = scene(height, width)
    padded = np.pad(ids, ((-height % 16, 0), (-width % 16, 0)), constant_values=255)
    columns = padded.shape[1] // 8
    seen = np.zeros(padded.shape, bool)
    found = Patches(16, 8).cut("s", ids)
    for patch in found:
        row, column = divmod(copy_and_number(patch)[1], columns)
        place = np.s_[row * 8 : row * 8 + 16, column * 8 : column * 8 + 16]
        assert patch.label(ids).shape == (16, 16)
        assert (patch.label(ids) == padded[place]).all()
        seen[place] = True
    assert seen.all() and len({patch.stem for patch in found}) == len(found)
    assert len(found) == (padded.shape[0] // 8 - 1) * (columns - 1)


@given(sides, sides, st.sampled_from(COPIES))
def test_labels_of_padding_differ_on_the_padding_alone(height, width, flip):
    _, ids = scene(height, width)
    ids[0] = 255
    for patch in Patches(16, 16, (flip,)).cut("s", ids):
        ignored, padded = patch.label(ids), patch.label(ids, 0)
        black = (patch.image(np.full((height, width, 3), 9, np.uint8)) == 0).all(-1)
        assert ((ignored != padded) == black).all()
        assert (ignored[black] == 255).all() and (padded[black] == 0).all()


def test_the_share_of_padding_is_that_of_6000_in_6144_for_potsdam():
    test = next(row for row in RECIPES["Potsdam_geoseg"].layouts if row.name == "test")
    ids = np.zeros((6000, 6000), np.uint8)
    found = test.rules.cut("top_potsdam_2_13", ids)
    labels = [patch.label(ids) for patch in found]
    assert len(found) == 36 and {label.shape for label in labels} == {(1024, 1024)}
    share = sum((label == 255).sum() for label in labels) / (36 * 1024**2)
    assert share == pytest.approx(0.046, abs=5e-4)


def test_the_recipes_cut_as_published():
    rules = {
        (name, row.name): row.rules.tiling
        for name in ("Vaihingen_geoseg", "Potsdam_geoseg")
        for row in RECIPES[name].layouts
    }
    for name in ("Vaihingen_geoseg", "Potsdam_geoseg"):
        assert rules[name, "test"] == rules[name, "val"] == Patches(1024, 1024)
    assert rules["Potsdam_geoseg", "train"] == Patches(1024, 1024, ("", "hflip", "vflip"))
    cars = Enlargement(CAR, share=0.1, low=384, high=512)
    assert rules["Vaihingen_geoseg", "train"] == Patches(1024, 512, ("", "hflip", "vflip"), cars)


small = Enlargement(CAR, share=0.1, low=6, high=8)


@settings(max_examples=80)
@given(sides, sides, st.integers(0, 10**6))
def test_windows_whose_crop_shows_cars_are_replaced_by_four_turned_enlargements(height, width, seed):
    pixels = scene(height, width)[0]
    ids = np.where(np.random.default_rng(seed).random((height, width)) < 0.12, CAR, 0).astype(np.uint8)
    plain = {patch.stem: patch for patch in Patches(16, 8, COPIES).cut("s", ids)}
    found = {patch.stem: patch for patch in Patches(16, 8, COPIES, small).cut("s", ids)}
    for stem, patch in plain.items():
        four = [found.get(f"{stem}_{i}") for i in range(4)]
        if stem in found:
            assert four == [None] * 4 and found[stem] == patch
            continue
        assert all(four)
        first = four[0]
        side = first.crop.bottom - first.crop.top
        assert side == first.crop.right - first.crop.left and 6 <= side <= 8
        assert min(first.crop) >= 0 and max(first.crop) <= 16
        assert (first.label(ids) == CAR).mean() > 0.1
        inside = patch.label(ids)[first.crop.slices]
        assert set(np.unique(first.label(ids))) <= set(np.unique(inside))
        for kind in ("image", "label"):
            one, two, three, turned = (getattr(c, kind)(pixels if kind == "image" else ids) for c in four)
            assert one.shape[:2] == (16, 16)
            assert (two == one[::-1]).all() and (three == one[:, ::-1]).all()
            assert any((turned == np.rot90(one, k)).all() for k in range(4))
    assert set(found) == {s for s in plain if s in found} | {
        f"{s}_{i}" for s in plain if s not in found for i in range(4)
    }


def test_enlargements_depend_on_the_name_and_the_label_alone():
    ids = np.full((64, 64), CAR, np.uint8)
    patches = Patches(16, 16, COPIES, small)
    once, again = patches.cut("area1", ids), patches.cut("area1", ids)
    assert once == again and len(once) == 3 * 16 * 4
    later = Patches(16, 16, COPIES[1:], small).cut("area1", ids)[0]
    assert later.stem == "area1_0_0_0"
    assert later.crop == once[0].crop
    other = [patch.crop for patch in patches.cut("area3", ids)]
    assert other != [patch.crop for patch in once]
    assert len({patch.crop for patch in once}) > 40
    assert {patch.turn for patch in once if patch.stem.endswith("_3")} == {"", "rot90", "rot180", "rot270"}
    # Every prepared set has these crops: another digest means other data.
    drawn = repr([(c.crop.top, c.crop.bottom, c.crop.left, c.crop.right) for c in once]).encode()
    assert hashlib.sha256(drawn).hexdigest()[:16] == "aabbacd164ee7ada"


def test_nothing_is_replaced_where_the_share_is_not_above_the_threshold():
    ids = np.zeros((16, 16), np.uint8)
    assert [patch.stem for patch in Patches(16, 16, ("",), small).cut("s", ids)] == ["s_0_0"]
    exactly = Enlargement(CAR, share=1.0, low=6, high=8)
    ids[:] = CAR
    assert [patch.stem for patch in Patches(16, 16, ("",), exactly).cut("s", ids)] == ["s_0_0"]


@given(sides, sides, st.integers(1, 30))
def test_pieces_of_a_plain_tiling_are_the_pixels_of_their_windows(height, width, size):
    pixels, ids = scene(height, width)
    for patch in Tiling(size, size).cut("s", ids):
        assert (patch.image(pixels) == pixels[patch.window.slices]).all()
        assert (patch.label(ids) == ids[patch.window.slices]).all()
        assert patch.stem == tile_stem("s", patch.window)


def test_a_crop_is_enlarged_between_pixels_for_images_and_never_for_labels():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 200
    ids = np.where(pixels[..., 0] > 0, 5, 0).astype(np.uint8)
    patch = Patch("s", Window(0, 0, 8, 8), crop=Window(2, 2, 4, 4))
    assert len(np.unique(patch.image(pixels))) > 2
    assert set(np.unique(patch.label(ids))) == {0, 5}
    assert (patch.label(ids)[:, :4] == 0).all() and (patch.label(ids)[:, 4:] == 5).all()
