"""Fill that is not declared: found wherever it lies in the range, and real ground is not called fill."""

import re

import numpy as np
import pytest

from rskt_seg.commands.segment import parse_args
from rskt_seg.geo import read_image
from tests.geo.rasters import has_notice, noise, write_tiff

LEFT = (slice(None), slice(None), slice(25))


def scene(dtype):
    """(3, 80, 100), values from 500 on, and below 250 for bytes."""
    return (noise(3, 80, 100).astype(dtype) // 2 + 60) * (1 if dtype == "uint8" else 8)


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("float32", -9999),
        ("float32", -3.4028234663852886e38),
        ("int16", -1),
        ("uint16", 1000),
        ("uint8", 128),
        ("uint16", 65535),
    ],
)
def test_a_fill_is_told_wherever_it_lies_in_the_range(tmp_path, dtype, fill):
    bands = scene(dtype)
    bands[LEFT] = fill
    path = write_tiff(tmp_path / "a.tif", bands)
    image = read_image(path)
    assert has_notice(image, "25% of the image, connected to its border, has the value")
    (option,) = re.findall(r"--nodata.\S+(?=,)", image.notices[-1])
    arguments = parse_args(["--weights", "w", "--input", "a.tif", "--output", "b", *option.split()])
    declared = read_image(path, nodata=arguments.nodata)
    assert not declared.valid[LEFT[1:]].any() and not has_notice(declared, "taken for ground")
    assert has_notice(read_image(path, nodata=7), "taken for ground"), "another value does not declare it"


def test_a_second_fill_is_told_beside_a_declared_one_and_beside_what_is_no_number(tmp_path):
    bands = scene("float32")
    bands[LEFT] = 0
    bands[:, :10] = -9999
    bands[:, 40, 60] = np.nan
    image = read_image(write_tiff(tmp_path / "a.tif", bands, nodata=-9999))
    assert has_notice(image, "22% of the image, connected to its border, has the value 0 in every band")


def test_a_fill_that_touches_no_corner_is_told(tmp_path):
    bands = scene("uint16")
    bands[:, 20:60, :20] = 0
    assert has_notice(read_image(write_tiff(tmp_path / "a.tif", bands)), "10% of the image, connected to its")


def test_a_fill_in_one_colour_is_told_with_the_way_to_declare_it(tmp_path):
    bands = scene("uint8")
    bands[LEFT] = np.array([255, 0, 255])[:, None, None]
    image = read_image(write_tiff(tmp_path / "a.tif", bands))
    assert has_notice(image, "has the values 255 0 255 in its bands") and has_notice(image, "-dstalpha")


def test_a_gray_of_a_flat_drawing_is_not_called_fill(tmp_path):
    bands = np.full((3, 80, 100), 60, np.uint8)
    bands[1, :, 50:] = 90
    bands[LEFT] = 120
    assert not has_notice(read_image(write_tiff(tmp_path / "a.tif", bands)), "connected to its border")


def test_a_constant_image_is_not_called_fill(tmp_path):
    bands = np.full((3, 20, 30), 9, np.uint8)
    assert not has_notice(read_image(write_tiff(tmp_path / "a.tif", bands)), "connected to its border")


def test_flat_ground_of_a_colour_and_small_flat_areas_are_not_called_fill(tmp_path):
    bands = scene("uint8")
    bands[LEFT] = np.array([70, 120, 90])[:, None, None]
    bands[:, :20, -20:] = 100
    assert not has_notice(read_image(write_tiff(tmp_path / "a.tif", bands)), "connected to its border")
