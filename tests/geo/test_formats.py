"""What of each file format is read, and by which library."""

import numpy as np
import pytest
import rasterio
from PIL import Image, ImageOps
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.errors import ImageReadError
from rskt_seg.geo import read_image
from tests.geo.rasters import has_notice, noise, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_8_bit_mode_of_pillow_becomes_rgb(tmp_path, mode):
    kind, options = {"CMYK": ("tif", {}), "YCbCr": ("jpg", {"quality": 100})}.get(mode, ("png", {}))
    original = Image.fromarray(noise(16, 24, 3)).convert(mode)
    original.save(tmp_path / f"a.{kind}", **options)
    image = read_image(tmp_path / f"a.{kind}")
    with Image.open(tmp_path / f"a.{kind}") as reopened:
        expected = np.asarray(reopened.convert("RGB")).astype(int)
    assert abs(image.pixels - expected).max() <= (1 if mode == "CMYK" else 0)
    assert image.valid.all()


def test_a_palette_raster_is_read_in_its_colours(tmp_path):
    indices = noise(1, 6, 7) % 3
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=1, height=6, width=7, dtype="uint8", nodata=2
    ) as dataset:
        dataset.write_colormap(1, {0: (255, 0, 0, 255), 1: (0, 90, 0, 255)})
        dataset.write(indices)
    image = read_image(tmp_path / "a.tif")
    assert (image.pixels[indices[0] == 1] == (0, 90, 0)).all() and not has_notice(image, "equal channels")
    assert np.array_equal(image.valid, indices[0] != 2)
    assert (read_image(tmp_path / "a.tif", bands=(2, 2, 2)).pixels[indices[0] == 1] == 90).all()
    with pytest.raises(ImageReadError, match="palette"):
        read_image(tmp_path / "a.tif", bands=(4, 1, 1))


@pytest.mark.parametrize(("bits", "step"), [(1, 255), (2, 85), (4, 17)])
def test_a_raster_of_few_bits_reaches_from_black_to_white(tmp_path, bits, step):
    array = noise(1, 6, 7) % 2**bits
    image = read_image(write_tiff(tmp_path / "a.tif", array, nbits=bits))
    assert np.array_equal(image.pixels[:, :, 0], array[0] * step)


def test_of_an_animation_the_first_frame_is_used_with_a_notice(tmp_path):
    frames = [Image.new("L", (4, 3), value) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    image = read_image(tmp_path / "a.gif")
    assert (image.pixels == 10).all() and has_notice(image, "first frame")
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    image = read_image(tmp_path / "a.tif")
    assert (image.pixels == 10).all() and has_notice(image, "file of 2 images")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_the_result_is_the_image_as_shown(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"tiffinfo": {274: orientation}} if kind == "tif" else {"exif": exif}
    Image.fromarray(noise(5, 8, 3)).save(tmp_path / f"a.{kind}", **options)
    with Image.open(tmp_path / f"a.{kind}") as reopened:
        expected = np.asarray(ImageOps.exif_transpose(reopened))
    image = read_image(tmp_path / f"a.{kind}")
    assert np.array_equal(image.pixels, expected)
    assert image.valid.shape == expected.shape[:2] and image.valid.all()
    assert image.pixels.flags.writeable and image.valid.flags.writeable


@pytest.mark.parametrize(
    ("kind", "name"), [("PNG", "a.jpg"), ("BMP", "a.tif"), ("JPEG", "a"), ("WEBP", "a.png")]
)
def test_content_decides_and_not_the_name(tmp_path, kind, name):
    Image.fromarray(noise(5, 8, 3)).save(tmp_path / name, format=kind)
    assert read_image(tmp_path / name).driver == kind


@pytest.mark.parametrize("limit", [500, 100])  # a warning of Pillow's above the limit, an error above twice
def test_an_image_too_large_for_pillow_is_read_by_rasterio_in_silence(tmp_path, monkeypatch, recwarn, limit):
    array = noise(20, 30, 3)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(array).save(tmp_path / "a.png")
    Image.fromarray(array).save(tmp_path / "a.jpg", exif=exif)
    indices = Image.fromarray(noise(20, 30) % 3)
    indices.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    indices.save(tmp_path / "palette.png", transparency=bytes([0, 0, 255]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert np.array_equal(read_image(tmp_path / "a.png").pixels, array)
    assert read_image(tmp_path / "a.jpg").valid.shape == (30, 20)
    palette = read_image(tmp_path / "palette.png")
    assert np.array_equal(palette.valid, np.asarray(indices) == 2)
    assert (palette.pixels[np.asarray(indices) == 2] == (0, 0, 255)).all()
    assert not recwarn.list
