"""No pixel and no piece of ground is in two splits, whatever the sizes, overlaps, blocks and places."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from rskt_seg.data.own_preparation.description import Division
from rskt_seg.data.own_preparation.splitting import CutImage, divide
from rskt_seg.errors import DatasetError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.windows import Window, window_grid

UTM, OTHER = CRS.from_epsg(32632), CRS.from_epsg(32633)
BASE = Path("/base")


def cut(name, size, tile, overlap, place=None, crs=UTM, pixel=1.0):
    georeference = None
    if place is not None:
        georeference = Georeference(crs, Affine(pixel, 0, place[0], 0, -pixel, place[1]))
    windows = window_grid(*size, tile, tile - overlap)
    return CutImage(name, BASE / f"{name}.tif", f"{name}.tif", georeference, windows)


def shares(val=0.3, seed=0, blocks=None, unit="px", **more):
    parts = {"train": 1 - val - sum(more.values()), "val": val, **more}
    return Division(tuple(parts), parts, {}, seed, blocks, unit)


def run(division, images):
    return divide(division, images, "a.yaml", BASE)


def painted(image, splits, number):
    """(H, W) bool: the pixels of the tiles of a split."""
    height, width = max(w.bottom for w in image.windows), max(w.right for w in image.windows)
    pixels = np.zeros((height, width), bool)
    for window in np.array(image.windows)[splits == number].tolist():
        pixels[Window(*window).slices] = True
    return pixels


sizes = st.tuples(st.integers(20, 90), st.integers(20, 90))
tiles = st.tuples(st.integers(3, 30), st.floats(0, 0.9)).map(lambda each: (each[0], int(each[0] * each[1])))


@settings(max_examples=80)
@given(st.lists(sizes, min_size=1, max_size=3), tiles, st.integers(4, 60), st.integers(0, 99))
def test_blocks_of_pixels_never_share_one(image_sizes, tile, blocks, seed):
    images = [cut(f"i{k}", size, *tile) for k, size in enumerate(image_sizes)]
    try:
        divided = run(shares(0.3, seed, float(blocks), test=0.2), images)
    except DatasetError as error:
        assert "empty" in str(error) or "no tile lies within" in str(error)
        assume(False)
    for image, splits in zip(images, divided.splits, strict=True):
        parts = np.stack([painted(image, splits, number) for number in range(3)])
        assert (parts.sum(axis=0) <= 1).all()
    kept = np.concatenate(divided.splits)
    assert set(kept.tolist()) >= {0, 1, 2} and (kept < 0).sum() == divided.crossing + divided.shared


places = st.tuples(st.integers(-60, 60), st.integers(-60, 60))


@settings(max_examples=60)
@given(
    st.lists(st.tuples(sizes, places), min_size=2, max_size=4), tiles, st.integers(0, 99),
    st.sampled_from([None, 30.0]),
)  # fmt: skip
def test_images_that_overlap_on_the_ground_never_share_a_metre(images, tile, seed, blocks):
    cuts = [cut(f"i{k}", size, *tile, place) for k, (size, place) in enumerate(images)]
    try:
        divided = run(shares(0.4, seed, blocks, "m" if blocks else "px"), cuts)
    except DatasetError as error:
        assert "empty" in str(error) or "no tile lies within" in str(error)
        assume(False)
    ground = np.zeros((2, 400, 400), bool)
    for (_, (x, y)), image, splits in zip(images, cuts, divided.splits, strict=True):
        for number in (0, 1):
            pixels = painted(image, splits, number)
            top, left = 200 - y, 200 + x
            ground[number, top : top + pixels.shape[0], left : left + pixels.shape[1]] |= pixels
    assert not (ground[0] & ground[1]).any() and ground.any(axis=(1, 2)).all()


def test_ground_is_compared_across_coordinate_systems_and_pixel_sizes():
    from rasterio.warp import transform

    (x,), (y,) = transform(UTM, OTHER, [500_010.0], [5_299_990.0])
    images = [
        cut("fine", (60, 60), 10, 0, (500_000, 5_300_000)),
        cut("coarse", (10, 10), 5, 0, (x, y), OTHER, 3.0),
        cut("far", (30, 30), 10, 0, (600_000, 5_300_000)),
    ]
    lists = {"train": (), "val": ("coarse",)}
    divided = run(Division(("train", "val"), {}, lists), images)
    fine = painted(images[0], divided.splits[0], 0)
    assert fine.any() and not fine[15:35, 15:35].any() and divided.shared > 0
    assert (divided.splits[1] == 1).all() and (divided.splits[2] == 0).all()


def test_neighbours_that_only_touch_lose_nothing():
    images = [cut(f"i{k}", (40, 40), 20, 0, (40 * k, 0)) for k in range(4)]
    assert run(shares(0.5), images).shared == 0


def test_shares_of_images_are_met_and_depend_on_the_seed_alone():
    images = [cut(f"i{k:02}", (20, 20), 20, 0) for k in range(20)]
    first, again = run(shares(0.2, 5), images), run(shares(0.2, 5), images[::-1])
    kept = np.concatenate(first.splits)
    assert (kept == 1).sum() == 4 and (kept == np.concatenate(again.splits)[::-1]).all()
    assert (kept != np.concatenate(run(shares(0.2, 6), images).splits)).any()


def test_lists_are_names_or_patterns_and_the_rest_goes_where_it_is_asked_to():
    images = [cut(f"i{k}", (20, 20), 20, 0) for k in range(3)]
    lists = {"val": ("i1",), "train": (), "test": ("*2.tif",)}
    divided = run(Division(tuple(lists), {}, lists), images)
    assert np.concatenate(divided.splits).tolist() == [1, 0, 2]


def test_a_listed_path_is_that_image_though_it_reads_as_a_pattern_of_another():
    images = [cut(name, (20, 20), 20, 0) for name in ("a [1]", "a 1")]
    for listed in ("a [1]", "a [1].tif"):
        lists = {"train": (), "val": (listed,)}
        assert np.concatenate(run(Division(tuple(lists), {}, lists), images).splits).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"val": ("i9",), "train": ()}, "no image is called or matches 'i9'"),
        ({"val": ("i1",), "train": ("i*.tif",)}, "i1.tif is in val and in train"),
        ({"val": ("i1",)}, "2 images in no split: i0.tif, i2.tif"),
        ({"val": (), "train": ()}, "cannot both take the rest"),
        ({"val": ("i*.tif",), "train": ()}, "train would be empty"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(lists, expected):
    images = [cut(f"i{k}", (20, 20), 20, 0) for k in range(3)]
    with pytest.raises(DatasetError, match=expected.replace("*", r"\*")):
        run(Division(tuple(lists), {}, lists), images)


def test_too_few_images_or_blocks_are_refused():
    with pytest.raises(DatasetError, match="1 image cannot be divided into train, val"):
        run(shares(0.2), [cut("a", (20, 20), 5, 0)])
    with pytest.raises(DatasetError, match="no tile lies within a block"):
        run(shares(0.2, blocks=4.0), [cut("a", (20, 20), 5, 0)])
    with pytest.raises(DatasetError, match="has no projected CRS"):
        run(shares(0.2, blocks=4.0, unit="m"), [cut("a", (20, 20), 5, 0)])
    with pytest.raises(DatasetError, match="has no projected CRS"):
        degrees = cut("a", (20, 20), 5, 0, (8.0, 50.0), CRS.from_epsg(4326), 1e-5)
        run(shares(0.2, blocks=4.0, unit="m"), [degrees])
