"""What a file declares about its samples is used: band names, photometry, sign, parts, side-cars, alpha."""

import struct
import zlib

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.data.labels import read_label
from rskt_seg.errors import ImageReadError
from rskt_seg.geo import read_image
from rskt_seg.geo.png import png_fault
from rskt_seg.geo.tiff import count_pages, read_directories
from tests.geo.rasters import UTM, has_notice, noise, write_tiff

THIRD = slice(32)


def scene():
    """(3, 96, 96) uint8 whose bands are told apart by their means; no value is 0 or 255."""
    return np.stack([noise(96, 96, seed=band) // 8 + 40 + 60 * band for band in range(3)])


def test_in_a_white_is_zero_image_zero_is_white(tmp_path):
    gray = noise(1, 20, 30)
    image = read_image(write_tiff(tmp_path / "a.tif", gray, photometric="MINISWHITE"))
    np.testing.assert_array_equal(image.pixels[..., 0], 255 - gray[0])


def test_signed_bytes_keep_their_order_and_are_told_apart_from_bytes(tmp_path):
    values = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16)
    image = read_image(write_tiff(tmp_path / "a.tif", values), stretch=(-128, 127))
    np.testing.assert_array_equal(image.pixels[..., 0].ravel(), np.arange(256))
    assert image.dtype == "int8"


@pytest.mark.parametrize("kind", ["side-car", "mask file", "mask behind a JPEG", "tag"])
def test_no_data_means_the_same_wherever_it_is_declared(tmp_path, kind):
    bands, mask = scene(), np.full((96, 96), 255, np.uint8)
    bands[:, THIRD], mask[THIRD] = 0, 0
    photo = Image.fromarray(bands.transpose(1, 2, 0))
    if kind == "tag":
        path = write_tiff(tmp_path / "a.tif", bands, nodata=0)
    elif kind == "mask behind a JPEG":
        source = write_tiff(tmp_path / "source.tif", bands, mask=mask)
        path = tmp_path / "a.jpg"
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            rasterio.shutil.copy(source, path, driver="JPEG", INTERNAL_MASK="YES")
    else:
        path = tmp_path / "a.png"
        photo.save(path)
        if kind == "side-car":
            nodata = "".join(
                f'<PAMRasterBand band="{b}"><NoDataValue>0</NoDataValue></PAMRasterBand>' for b in (1, 2, 3)
            )
            (tmp_path / "a.png.aux.xml").write_text(f"<PAMDataset>{nodata}</PAMDataset>")
        else:
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
                dataset.write_mask(mask)
            assert (tmp_path / "a.png.msk").exists()
    np.testing.assert_array_equal(read_image(path).valid, mask > 0)


def test_an_alpha_band_of_data_is_told_and_can_be_read_as_data(tmp_path):
    bands = np.concatenate([scene(), noise(1, 96, 96, seed=9)])
    bands[3, 0, :5] = 0
    colors = [getattr(rasterio.enums.ColorInterp, name) for name in ("red", "green", "blue", "alpha")]
    path = write_tiff(tmp_path / "a.tif", bands, colorinterp=colors)
    image = read_image(path)
    np.testing.assert_array_equal(image.valid, bands[3] > 0)
    assert has_notice(image, "band 4 is declared alpha")
    assert read_image(path, alpha=False).valid.all()
    assert not has_notice(read_image(path, alpha=False), "declared alpha")
    np.testing.assert_array_equal(read_image(path, bands=[4, 1, 2], alpha=False).pixels[..., 0], bands[3])


def test_an_alpha_band_of_data_is_told_also_beside_a_large_transparent_area(tmp_path):
    bands = noise(4, 40, 50)
    bands[3, :, :35] = 0
    roles = [rasterio.enums.ColorInterp[name] for name in ("red", "green", "blue", "alpha")]
    image = read_image(write_tiff(tmp_path / "a.tif", bands, colorinterp=roles))
    assert has_notice(image, "of its values above 0 lie between transparent and opaque")


@pytest.mark.parametrize("order", [("red", "green", "blue", "alpha"), ("alpha", "red", "green", "blue")])
@pytest.mark.parametrize(
    ("dtype", "opaque"), [("uint8", 255), ("uint16", 65535), ("int16", 255), ("float32", 1)]
)
def test_alpha_of_every_dtype_and_place_says_which_pixels_are_valid(tmp_path, dtype, opaque, order):
    bands = noise(4, 40, 50).astype(dtype)
    shown = np.arange(50) >= 20
    bands[order.index("alpha")] = shown * opaque
    roles = [rasterio.enums.ColorInterp[name] for name in order]
    image = read_image(write_tiff(tmp_path / "a.tif", bands, colorinterp=roles))
    np.testing.assert_array_equal(image.valid, np.broadcast_to(shown, (40, 50)))


def test_a_plain_alpha_band_is_not_questioned(tmp_path):
    rgba = np.dstack([scene().transpose(1, 2, 0), np.full((96, 96), 255, np.uint8)])
    rgba[:20, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert not has_notice(read_image(tmp_path / "a.png"), "declared alpha")


def write_preview_first(path, preview, picture, order, nested, kind=254, photometric=1):
    """Two uncompressed gray pictures in a TIFF; the picture is the second directory, or a SubIFD."""
    blob = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order] + bytes(4))
    starts = []
    for pixels in (preview, picture):
        starts.append(len(blob))
        blob += pixels.tobytes()
    offsets = [len(blob), len(blob) + 2 + 12 * 11 + 4]
    struct.pack_into(f"{order}I", blob, 4, offsets[0])
    for number, (pixels, start) in enumerate(zip((preview, picture), starts, strict=True)):
        tags = {kind: 1 - number if kind == 254 else 2 - number, 256: pixels.shape[1], 257: pixels.shape[0]}
        tags |= {258: 8, 259: 1, 262: photometric if number else 1}
        tags |= {273: start, 277: 1, 278: pixels.shape[0], 279: pixels.size}
        tags |= {330: offsets[1]} if nested and not number else {284: 1}
        blob += struct.pack(f"{order}H", len(tags))
        for tag in sorted(tags):
            blob += struct.pack(f"{order}HHII", tag, 4, 1, tags[tag])
        following = offsets[1] if not number and not nested else 0
        blob += struct.pack(f"{order}I", following)
    path.write_bytes(blob)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", [254, 255])
def test_the_picture_is_read_and_not_its_preview(tmp_path, order, nested, kind):
    preview, picture = noise(8, 10), noise(48, 60, seed=1)
    path = write_preview_first(tmp_path / "a.tif", preview, picture, order, nested, kind)
    assert [each.size for each in read_directories(path)] == [(8, 10), (48, 60)]
    np.testing.assert_array_equal(read_image(path).pixels[..., 1], picture)


@pytest.mark.parametrize(
    ("photometric", "what"),
    [(32803, "mosaic"), (34892, "linear samples"), (4, "mask"), (32844, "logarithms")],
)
def test_samples_that_are_no_colours_are_refused_and_not_taken_for_gray(tmp_path, photometric, what):
    path = write_preview_first(
        tmp_path / "a.tif", noise(8, 10), noise(48, 60), "<", True, photometric=photometric
    )
    with pytest.raises(ImageReadError, match=rf"holds .*{what}.*PhotometricInterpretation {photometric}"):
        read_image(path)


@pytest.mark.parametrize("options", [{"BIGTIFF": "YES"}, {"BIGTIFF": "NO"}])
@pytest.mark.parametrize("endianness", ["BIG", "LITTLE"])
def test_tiff_and_bigtiff_of_both_byte_orders_are_read(tmp_path, options, endianness):
    bands = scene()
    path = write_tiff(tmp_path / "a.tif", bands, ENDIANNESS=endianness, **options, **UTM)
    np.testing.assert_array_equal(read_image(path).pixels, bands.transpose(1, 2, 0))
    (directory,) = read_directories(path)
    assert (directory.size, directory.orientation, directory.is_whole_picture) == ((96, 96), 1, True)


def png_bytes(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(noise(40, 50, 3)).save(path)
    return path, path.read_bytes()


@settings(max_examples=60)
@given(data=st.data())
def test_any_flipped_bit_of_a_png_is_found(tmp_path_factory, data):
    path, content = png_bytes(tmp_path_factory.mktemp("png"))
    place = data.draw(st.integers(8, len(content) - 1))
    damaged = bytearray(content)
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    with pytest.raises(ImageReadError):
        read_image(path)


def test_a_png_that_ends_early_or_cannot_hold_its_pixels_is_refused(tmp_path):
    path, content = png_bytes(tmp_path)
    assert png_fault(content) == ""
    for end in (len(content) // 2, len(content) - 12):
        path.write_bytes(content[:end])
        with pytest.raises(ImageReadError, match="damaged or incomplete: it ends"):
            read_image(path)
    header = b"IHDR" + struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    path.write_bytes(
        content[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    )
    with pytest.raises(ImageReadError, match="declares 400000000 bytes of pixels, more than its"):
        read_image(path)


def test_undeclared_fill_at_the_border_is_told_with_the_option_that_declares_it(tmp_path):
    bands = noise(3, 96, 96, dtype=np.uint16) + 1000
    bands[:, THIRD] = 0
    path = write_tiff(tmp_path / "a.tif", bands)
    assert has_notice(read_image(path), "33% of the image, connected to its border, has the value 0")
    declared = read_image(path, nodata=0)
    assert not has_notice(declared, "connected to its border")
    expected = read_image(write_tiff(tmp_path / "b.tif", bands, nodata=0))
    np.testing.assert_array_equal(declared.pixels, expected.pixels)
    np.testing.assert_array_equal(declared.valid, expected.valid)


@pytest.mark.parametrize("fill", [-9999, -32768])
def test_a_fill_far_below_all_other_values_is_told(tmp_path, fill):
    bands = noise(3, 96, 96, dtype=np.int16)
    bands[:, THIRD] = fill
    assert has_notice(read_image(write_tiff(tmp_path / "a.tif", bands)), f"--nodata {fill}")


def test_dark_ground_inside_and_small_black_corners_are_not_called_fill(tmp_path):
    bands = noise(3, 96, 96) // 2 + 60
    bands[:, 30:70, 30:70] = 0
    bands[:, :4, :4] = 0
    assert not has_notice(read_image(write_tiff(tmp_path / "a.tif", bands)), "connected to its border")


def test_reduced_versions_of_a_picture_and_its_mask_are_no_pages(tmp_path):
    path = tmp_path / "a.tif"
    write_tiff(path, noise(1, 64, 64))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.arange(64 * 64).reshape(64, 64) > 99)
        dataset.build_overviews([2, 4])
    assert len(read_directories(path)) > 2
    with path.open("rb") as file:
        assert count_pages(file) == 1
    np.testing.assert_array_equal(read_label(path), noise(1, 64, 64)[0])


def test_one_of_several_images_in_a_file_is_read_by_gdals_name(tmp_path):
    first, second = noise(1, 30, 40), noise(1, 30, 40, seed=1)
    path = tmp_path / "two.tif"
    write_tiff(path, first)
    with rasterio.open(path, "r+") as dataset:
        assert not dataset.subdatasets
    pages = [Image.fromarray(first[0]), Image.fromarray(second[0])]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with path.open("rb") as file:
        assert count_pages(file) == 2
    image = read_image(f"GTIFF_DIR:2:{path}")
    np.testing.assert_array_equal(image.pixels[..., 0], second[0])
    with pytest.raises(ImageReadError, match="GTIFF_DIR:7"):
        read_image(f"GTIFF_DIR:7:{path}")
