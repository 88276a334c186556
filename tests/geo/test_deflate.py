"""Damage within the deflated data of a TIFF file, which GDAL alone reads as other pixels."""

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.errors import ImageReadError
from rskt_seg.geo import deflate, read_image, tiff
from tests.geo.rasters import noise, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)

TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}


@pytest.mark.parametrize("options", [TILED, TILED | {"BIGTIFF": "YES"}, {"predictor": 2}])
def test_deflated_data_that_do_not_fit_their_checksum_are_refused(tmp_path, options):
    path = write_tiff(tmp_path / "a.tif", noise(3, 100, 100) // 16, compress="deflate", **options)
    whole = read_image(path).pixels
    data = path.read_bytes()
    assert any(_is_taken_for_whole(path, data, place, whole) for place in range(600, len(data), 23))
    with pytest.raises(ImageReadError, match=r"a\.tif.*the data of its (strip|tile) \d+ are damaged"):
        read_image(path)


def _is_taken_for_whole(path, data, place, whole):
    """Flip a bit; return whether GDAL alone reads other pixels and says nothing, as it does of some flips."""
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    try:
        with rasterio.open(path) as dataset:
            return not np.array_equal(np.moveaxis(dataset.read(), 0, 2), whole)
    except rasterio.errors.RasterioError:
        return False


LAYOUTS = st.fixed_dictionaries(
    {
        "interleave": st.sampled_from(["pixel", "band"]),
        "predictor": st.sampled_from([1, 2]),
        "ENDIANNESS": st.sampled_from(["LITTLE", "BIG"]),
        "BIGTIFF": st.sampled_from(["YES", "NO"]),
    }
) | st.just(TILED)
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 130), st.integers(1, 130))


def fault_by_rows(file, pixels, rows):
    """What the checksums of a picture (H, W, bands) say when its samples come some rows at a time."""
    checksums = deflate.RowChecksums(file, None, pixels.shape, pixels.dtype)
    faults = (checksums.fault(file, i, pixels[i : i + rows]) for i in range(0, len(pixels), rows))
    return next(filter(None, faults), "")


@settings(max_examples=60)
@given(
    LAYOUTS, SHAPES, st.sampled_from(["uint8", "int16", "uint16", "float32"]), st.integers(1, 130), st.data()
)
def test_damage_is_found_also_where_samples_are_known(tmp_path_factory, options, shape, dtype, rows, data):
    samples = noise(*shape, dtype=dtype)
    path = write_tiff(tmp_path_factory.mktemp("a") / "a.tif", samples, compress="deflate", **options)
    content = bytearray(path.read_bytes())
    with path.open("rb") as file:
        assert deflate.deflate_fault(file) == ""
        assert fault_by_rows(file, np.moveaxis(samples, 0, 2), rows) == ""
        file.seek(0)
        order, big, first = tiff.read_header(file)
        ((start, *_),) = tiff.read_tags(file, first, order, big, {273, 324}, 1 << 20)[0].values()
    content[start + data.draw(st.integers(2, 9))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        with rasterio.open(path) as dataset:
            decoded = np.moveaxis(dataset.read(), 0, 2)
    except rasterio.errors.RasterioError:
        return
    with path.open("rb") as file:
        fault = fault_by_rows(file, decoded, rows)
    # The last bits of a stream may mean nothing.
    assert "damaged" in fault or np.array_equal(decoded, np.moveaxis(samples, 0, 2))


@pytest.mark.parametrize("options", [{}, {"predictor": 2}, {"ENDIANNESS": "BIG"}, TILED])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_data_whose_samples_are_known_are_not_decompressed_again(tmp_path, monkeypatch, options, dtype):
    path = write_tiff(tmp_path / "a.tif", noise(3, 128, 128, dtype=dtype), compress="deflate", **options)
    expected = read_image(path, stretch="none").pixels
    monkeypatch.setattr(deflate, "_stream_fault", lambda *_: "decompressed")
    np.testing.assert_array_equal(read_image(path, stretch="none").pixels, expected)
    with pytest.raises(ImageReadError, match="decompressed"):
        read_image(path, bands=(1,), stretch="none")
