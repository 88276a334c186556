"""Files of strangers: their own content is read, and nothing that they point to."""

import io
import struct
import zlib

import numpy as np
import pytest
import rasterio
from PIL import Image

from rskt_seg.errors import ImageReadError
from rskt_seg.geo import png
from rskt_seg.geo.raster import read_image
from rskt_seg.geo.untrusted import open_untrusted

SIDE = 24
PIXELS = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)


def refusal(path, content=None, pixels=10_000):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageReadError) as caught:
        open_untrusted(path, pixels)
    return str(caught.value)


def write_tiff(path, **profile):
    layout = {"driver": "GTiff", "count": 3, "dtype": "uint8", "width": SIDE, "height": SIDE}
    with rasterio.open(path, "w", **{**layout, **profile}) as dataset:
        dataset.write(np.resize(np.moveaxis(PIXELS, 2, 0), (dataset.count, SIDE, SIDE)))


@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP", "JPEG", "GIF"])
def test_photographs_are_read_by_their_content_whatever_their_name(tmp_path, form):
    path = tmp_path / "image.vrt"
    Image.fromarray(PIXELS).save(path, form, **({"lossless": True} if form == "WEBP" else {}))
    source = open_untrusted(path, 10_000)
    image = read_image(source) if form == "PNG" else source
    assert image.valid.all() and image.source == str(path) and image.pixels.shape == PIXELS.shape
    if form not in ("JPEG", "GIF"):
        np.testing.assert_array_equal(image.pixels, PIXELS)


def test_a_tiff_is_read_with_its_place(tmp_path):
    write_tiff(tmp_path / "a.tif", crs="EPSG:32632", transform=rasterio.Affine(2, 0, 5e5, 0, -2, 5e6))
    image = read_image(open_untrusted(tmp_path / "a.tif", 10_000))
    np.testing.assert_array_equal(image.pixels, PIXELS)
    assert image.georeference.crs.to_epsg() == 32632


def vrt(of):
    return (
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{of}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    ).encode()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_description_of_another_file_is_refused_however_it_is_dressed(tmp_path):
    write_tiff(tmp_path / "secret.tif")
    text = vrt(tmp_path / "secret.tif")
    (tmp_path / "a.vrt").write_bytes(text)
    assert read_image(tmp_path / "a.vrt").pixels.any()  # GDAL would read it
    assert "expected PNG, JPEG" in refusal(tmp_path / "a.vrt")
    assert refusal(tmp_path / "b.jpg", b"\xff\xd8\xff\xe1\x11\x11" + text)
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    whole = file.getvalue()
    hidden = whole[:8] + png_chunk(b"vrTx", text.ljust(0x01010101)) + whole[8:]
    assert refusal(tmp_path / "c.png", hidden)


@pytest.mark.parametrize("pages", [1, 2])
def test_a_tiff_whose_overviews_are_another_file_is_refused(tmp_path, pages):
    write_tiff(tmp_path / "secret.tif")
    path = tmp_path / "sent.tif"
    for page in range(pages):
        more = {} if page == 0 else {"APPEND_SUBDATASET": "YES"}
        write_tiff(path, **more)
    name = path if pages == 1 else f"GTIFF_DIR:2:{path}"
    with rasterio.open(name, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(tmp_path / "secret.tif"))
    assert "refers to another file" in refusal(path)


def test_limits_are_those_of_the_header_before_anything_is_decoded(tmp_path):
    write_tiff(tmp_path / "a.tif")
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg")
    for name in ("a.tif", "a.png", "a.jpg"):
        assert f"has {SIDE} x {SIDE} px; expected at most 500 pixels" in refusal(tmp_path / name, pixels=500)
        assert open_untrusted(tmp_path / name, SIDE * SIDE)
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    huge = png.SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert "too many pixels; expected at most 500 in its format" in refusal(tmp_path / "b.png", huge, 500)
    write_tiff(tmp_path / "deep.tif", count=17)
    assert "17 bytes a pixel" in refusal(tmp_path / "deep.tif")


def test_damage_is_told_with_the_name_of_the_file(tmp_path):
    whole = tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(whole)
    half = whole.read_bytes()[:-100]
    assert "half.jpg: damaged or incomplete" in refusal(tmp_path / "half.jpg", half)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html></html>", "is a saved web page, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\nsize 7\n", "Git LFS pointer"),
        (b"<svg width='9'></svg>", "is a drawing of lines (SVG), not an image; export it as PNG"),
        (b"just some words", "expected PNG, JPEG, WebP, BMP, GIF or TIFF"),
        (b"II*\0" + b"\1" * 60, "damaged or incomplete"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, reason):
    assert reason in refusal(tmp_path / "sent.tif", content)
