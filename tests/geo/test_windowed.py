"""Reading of windows: they are the crops of the whole image, whatever the file."""

import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.errors import ImageReadError
from rskt_seg.geo import deflate, read_image
from rskt_seg.geo.windowed import survey, survey_image
from rskt_seg.windows import Window
from tests.geo.rasters import UTM, noise, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)


@st.composite
def windows(draw, height, width):
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Window(top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))


def assert_crops(found, whole, window):
    part = found.reader.read(window)
    np.testing.assert_array_equal(part.valid, whole.valid[window.slices])
    np.testing.assert_array_equal(part.pixels[part.valid], whole.pixels[window.slices][part.valid])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("windows")


@given(
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.sampled_from([None, 0]),
    st.booleans(),
    windows(37, 53),
)
def test_a_window_is_the_crop_of_the_whole_image(folder, dtype, nodata, tiled, window):
    bands = noise(3, 37, 53, dtype=dtype)
    bands[:, :9, :20] = 0
    layout = {"tiled": True, "blockxsize": 16, "blockysize": 16} if tiled else {}
    path = write_tiff(folder / "a.tif", bands, nodata=nodata, photometric="minisblack", **layout)
    # The image is small enough for the percentiles of all of its pixels.
    assert_crops(survey(path), read_image(path), window)


@pytest.mark.parametrize(
    "case", ["alpha", "mask", "one band", "nodata", "limits", "palette", "white is zero"]
)
def test_windows_follow_every_rule_of_whole_images(tmp_path, case):
    path, options = tmp_path / "a.tif", {}
    bands, window = noise(3, 40, 30), Window(5, 7, 20, 11)
    hidden = np.zeros((40, 30), bool)
    hidden[:12, :12] = True
    if case == "alpha":
        bands = np.concatenate([bands, np.where(hidden, 0, 255)[None].astype(np.uint8)])
        write_tiff(path, bands, photometric="rgb", alpha="yes")
    elif case == "mask":
        write_tiff(path, bands, mask=np.where(hidden, 0, 255).astype(np.uint8))
    elif case == "palette":
        with Image.fromarray(bands[0] // 16) as image:
            image.putpalette(noise(48).tolist())
            image.save(path)
    elif case == "white is zero":
        write_tiff(path, bands[:1], photometric="miniswhite")
    else:
        write_tiff(path, noise(3, 40, 30, dtype=np.uint16))
        options = {
            "one band": {"bands": (2,)},
            "nodata": {"nodata": float(noise(3, 40, 30, dtype=np.uint16)[0, 6, 8])},
            "limits": {"stretch": (100.0, 3000.0)},
        }[case]
    assert_crops(survey(path, **options), read_image(path, **options), window)


def test_photographs_and_arrays_are_read_from_memory_upright(tmp_path):
    path, exif = tmp_path / "a.jpg", Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(noise(20, 31, 3)).save(path, exif=exif)
    whole = read_image(path)
    for found in (survey(path), survey_image(whole)):
        assert (found.reader.height, found.reader.width) == whole.valid.shape == (31, 20)
        assert_crops(found, whole, Window(3, 4, 10, 9))


def test_a_large_raster_is_surveyed_by_a_reduced_read_with_all_notices(tmp_path, monkeypatch):
    monkeypatch.setattr("rskt_seg.geo.windowed.sample_step", lambda pixels: 4)
    monkeypatch.setattr("rskt_seg.geo.windowed._TILE", 32)
    bands = noise(4, 90, 70, dtype=np.uint16)
    path = write_tiff(tmp_path / "a.tif", bands, photometric="minisblack", **UTM)
    found = survey(path)
    assert found.overview.valid.shape == (23, 18)
    assert found.georeference == read_image(path).georeference
    assert any("bands 1, 2, 3 of 4" in notice for notice in found.overview.notices)
    assert any("uint16 to 8 bit" in notice for notice in found.overview.notices)
    limits = np.array(found.reader.limits)
    expected = np.percentile(bands[:3].reshape(3, -1), (2, 98), axis=1).T
    np.testing.assert_allclose(limits, expected, atol=200)  # of 4,000: a sample of 414 pixels


def test_a_reader_travels_to_other_processes(tmp_path):
    found = survey(write_tiff(tmp_path / "a.tif", noise(3, 20, 20)))
    copy = pickle.loads(pickle.dumps(found.reader))
    np.testing.assert_array_equal(
        copy.read(Window(1, 2, 3, 4)).pixels, found.reader.read(Window(1, 2, 3, 4)).pixels
    )


def test_names_of_gdals_own_are_read_as_they_are_written(tmp_path):
    path = write_tiff(tmp_path / "a.tif", noise(3, 20, 20))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "inner/a.tif")
    name = f"/vsizip/{tmp_path}/a.zip/inner/a.tif"  # two slashes behind /vsizip: an absolute path
    assert_crops(survey(name), read_image(path), Window(2, 3, 10, 10))
    np.testing.assert_array_equal(read_image(name).pixels, read_image(path).pixels)


def test_facts_tell_whether_an_image_is_still_the_same(tmp_path):
    path = write_tiff(tmp_path / "a.tif", noise(3, 20, 20))
    first = survey(path)
    assert survey(path).facts == first.facts
    write_tiff(path, noise(3, 21, 20))
    assert survey(path).facts != first.facts
    with pytest.raises(ImageReadError, match="has changed while it was read"):
        first.reader.read(Window(0, 0, 5, 5))


def test_a_damaged_block_is_one_line_that_names_the_file(tmp_path):
    path = write_tiff(
        tmp_path / "a.tif", noise(3, 64, 64), tiled=True, blockxsize=16, blockysize=16, compress="lzw"
    )
    found = survey(path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ImageReadError, match=r"a\.tif: damaged or incomplete"):
        found.reader.read(Window(0, 0, 64, 64))


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_flipped_bits_are_found_in_the_windows_that_have_them(tmp_path, interleave):
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": interleave}
    path = write_tiff(tmp_path / "a.tif", noise(3, 64, 80), compress="deflate", **tiles)
    found = survey(path)
    with path.open("rb") as file:
        pieces = deflate._find_pieces(file, None)
    number = 7 if interleave == "pixel" else 20 + 7  # second row, third column; of the second band
    middle = pieces.starts[number] + pieces.lengths[number] // 2
    content = bytearray(path.read_bytes())
    content[middle] ^= 255
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before, before))  # as a disk flips bits
    with pytest.raises(ImageReadError, match=r"a\.tif: damaged or incomplete: the data of its tile \d+ are"):
        found.reader.read(Window(17, 33, 5, 5))
    found.reader.read(Window(0, 0, 16, 80))
    found.reader.read(Window(16, 0, 48, 32))
