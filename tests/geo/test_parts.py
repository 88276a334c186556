"""Rasters of the parts of a map."""

import warnings

import numpy as np
import pytest
import rasterio

from rskt_seg.geo.parts import write_part
from rskt_seg.windows import Window
from tests.geo.rasters import noise


@pytest.mark.parametrize("place", [Window(0, 0, 20, 30), Window(512, 1024, 20, 30)])
def test_parts_are_written_without_warnings_wherever_they_lie(tmp_path, place):
    bands = noise(2, 20, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_part(tmp_path / "part.tif", bands, place)
    with rasterio.open(tmp_path / "part.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), bands)
