"""Bands whose names say which colours they are, with and without a declaration of colours."""

import numpy as np
import pytest
import rasterio

from rskt_seg.geo import read_image
from tests.geo.rasters import has_notice, noise, write_tiff

UNDEFINED = rasterio.enums.ColorInterp.undefined


def write_named(path, names, photometric="MINISBLACK"):
    """8-bit bands that are told apart by their means, with names; colours are declared only as RGB."""
    bands = np.stack([noise(20, 30, seed=k) // 8 + 20 + 40 * k for k in range(len(names))])
    write_tiff(path, bands, photometric=photometric)
    with rasterio.open(path, "r+") as dataset:
        if photometric != "RGB":
            dataset.colorinterp = [UNDEFINED] * len(names)
        dataset.descriptions = names
    return bands


@pytest.mark.parametrize("photometric", ["MINISBLACK", "RGB"])
@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("B02", "B03", "B04"), (2, 1, 0)),
        (("blue", "green", "red"), (2, 1, 0)),
        (("B08", "B04", "B03", "B02"), (1, 2, 3)),
        (("Green", "Red", "Blue", "nir"), (1, 0, 2)),
        (("blue (reflectance)", "Green [0..1]", " RED"), (2, 1, 0)),
        (("T32UMA_B02_10m", "T32UMA_B03_10m", "T32UMA_B04_10m"), (2, 1, 0)),
        (("Band 2 (Blue)", "Band 3 (Green)", "Band 4 (Red)", "Band 5 (Red Edge)"), (2, 1, 0)),
        (("B", "G", "R", "NIR"), (2, 1, 0)),
        (("red_edge", "red_std", "blue", "green", "red"), (4, 3, 2)),
    ],
)
def test_bands_named_as_colours_are_those_colours_and_a_notice_says_so(tmp_path, names, order, photometric):
    bands = write_named(tmp_path / "a.tif", names, photometric)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, bands[list(order)].transpose(1, 2, 0))
    assert has_notice(image, f"named {names[order[0]].strip()}")


@pytest.mark.parametrize("photometric", ["MINISBLACK", "RGB"])
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("B2", "B3", "B4"), "named B2, B3, B4, of which sensors mean different colours"),
        (("SR_B2", "SR_B3", "SR_B4"), "named SR_B2, SR_B3, SR_B4, of which sensors mean different colours"),
        (("nir", "red", "green"), "named nir, red, green"),
        (("VV", "VH", "ratio"), "named VV, VH, ratio"),
        (("red", "blue", "red"), "named red, blue, red"),
    ],
)
def test_names_that_leave_the_colours_open_are_told_but_not_used(tmp_path, names, told, photometric):
    bands = write_named(tmp_path / "a.tif", names, photometric)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, bands.transpose(1, 2, 0))
    assert has_notice(image, f"{told}); choose others by bands")


@pytest.mark.parametrize("names", [("red", "green", "blue"), ("Band 1", "Band 2", "Band 3"), (None,) * 3])
def test_names_in_the_usual_order_or_without_colours_need_no_word(tmp_path, names):
    write_named(tmp_path / "a.tif", names, "RGB")
    assert read_image(tmp_path / "a.tif").notices == ()


def test_colours_that_are_declared_in_another_order_hold_against_names(tmp_path):
    bands = write_named(tmp_path / "a.tif", ("red", "green", "blue"), "RGB")
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.colorinterp = dataset.colorinterp[::-1]
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.pixels, bands[::-1].transpose(1, 2, 0))
    assert has_notice(image, "declared red, green, blue, named blue, green, red")
