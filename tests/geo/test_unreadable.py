"""Which files are refused, and what the error says."""

import numpy as np
import pytest
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.errors import ImageReadError
from rskt_seg.geo import read_image
from tests.geo.rasters import noise, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)


@pytest.mark.parametrize("options", [{}, {"compress": "deflate"}, {"compress": "webp"}, {"compress": "jpeg"}])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_a_truncated_raster_is_named_in_the_error(tmp_path, options, share):
    path = write_tiff(
        tmp_path / "a.tif", noise(3, 300, 300), tiled=True, blockxsize=64, blockysize=64, **options
    )
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageReadError, match=r"a\.tif") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "gif", "webp"])
@pytest.mark.parametrize("share", [0.02, 0.6, 0.95])
def test_a_truncated_photograph_is_named_in_the_error(tmp_path, kind, share):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(noise(300, 300, 3)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageReadError, match=rf"a\.{kind}") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_image_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ImageReadError, match=r"no such image: .*none\.tif"):
        read_image(tmp_path / "none.tif")
    with pytest.raises(ImageReadError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageReadError, match="the file is empty"):
        read_image(str(tmp_path / "empty.png"))
    (tmp_path / "text.tif").write_text("hello, this is no image")
    with pytest.raises(ImageReadError, match=r"text\.tif as an image.*GeoTIFF"):
        read_image(tmp_path / "text.tif")
    (tmp_path / "short.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageReadError, match=r"short\.png"):
        read_image(tmp_path / "short.png")


@pytest.mark.parametrize(
    "url", ["https://example.org/a.tif", "HTTP://example.org/a.png", "s3://bucket/a.tif"]
)
def test_nothing_is_fetched_for_an_address(url):
    with pytest.raises(ImageReadError, match="no such image"):
        read_image(url)


def test_complex_values_are_refused(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.ones((1, 3, 3), np.complex64))
    with pytest.raises(ImageReadError, match="convert them to amplitudes"):
        read_image(path)


def test_a_truncated_photograph_too_large_for_pillow_is_not_filled_with_grey(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    Image.fromarray(noise(300, 300, 3)).save(path)
    path.write_bytes(path.read_bytes()[:20000])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageReadError, match=r"a\.jpg"):
        read_image(path)


def test_an_image_too_large_for_memory_is_refused_with_its_size(tmp_path):
    path = write_tiff(tmp_path / "a.tif", noise(3, 20, 30))
    with pytest.raises(ImageReadError, match="30 x 20 pixels, more than the 599"):
        read_image(path, max_pixels=599)
    assert read_image(path, max_pixels=600).valid.all()
