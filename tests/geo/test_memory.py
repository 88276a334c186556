"""Memory that reading takes beyond the result: 3 bytes a pixel of colours and 1 of the mask."""

import tracemalloc

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.geo import RasterImage, fill, pillow_source, raster, rasterio_source, read_image, stretch
from rskt_seg.geo.sources import open_source
from tests.geo.rasters import noise, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)

HEIGHT, WIDTH = 1200, 1600
PIXELS = HEIGHT * WIDTH
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64}
FORMS = {
    "RGB with what may be fill": (3, "uint8", {}),
    "nodata": (3, "uint8", {"nodata": 0}),
    "alpha": (4, "uint8", {"photometric": "rgb", "alpha": "yes"}),
    "deflated": (3, "uint8", {"compress": "deflate", "zlevel": 1}),
    "16 bits with nodata": (3, "uint16", {"nodata": 0}),
    "float": (1, "float32", {}),
}


@pytest.fixture
def few_rows(monkeypatch):
    """Parts that are small beside the image of the test, as they are beside one that fills the memory."""
    for module, name, value in (
        (rasterio_source, "_BYTES", 2**17),
        (pillow_source, "_PIXELS", 2**15),
        (fill, "_PIXELS", 2**15),
        (stretch, "_PIXELS", 2**14),
        (stretch, "_SAMPLED", 2**14),
    ):
        monkeypatch.setattr(module, name, value)


def traced_peak(work):
    """Bytes that NumPy and Python allocate at most while something is done."""
    work()  # imports what it needs
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("blocks", [TILED, {"blockysize": 4}], ids=["tiles", "strips"])
@pytest.mark.parametrize("form", FORMS)
def test_reading_a_raster_takes_little_more_than_the_result(tmp_path, few_rows, form, blocks):
    count, dtype, options = FORMS[form]
    bands = noise(count, HEIGHT, WIDTH, dtype=dtype).clip(1)
    bands[:, :, :500] = 0
    path = write_tiff(tmp_path / "a.tif", bands, **options, **blocks)
    del bands
    assert traced_peak(lambda: read_image(path)) < 6 * PIXELS


def test_of_a_photograph_nothing_is_whole_beside_the_result_but_the_file_and_pillows_own(tmp_path, few_rows):
    Image.fromarray(noise(HEIGHT, WIDTH, 3) // 128).save(tmp_path / "a.png", compress_level=1)
    file = (tmp_path / "a.png").stat().st_size
    assert traced_peak(lambda: read_image(tmp_path / "a.png")) < 4.5 * PIXELS + file


def test_filling_takes_little_more_than_its_result():
    valid = noise(HEIGHT, WIDTH) > 9
    image = RasterImage(noise(HEIGHT, WIDTH, 3), valid)
    filled = image.filled()
    assert (filled[~valid] == np.rint(image.pixels[valid].mean(axis=0))).all()
    assert np.array_equal(filled[valid], image.pixels[valid])
    assert traced_peak(image.filled) < 5 * PIXELS


def test_gdal_keeps_few_decoded_blocks_meanwhile(tmp_path):
    path = write_tiff(tmp_path / "a.tif", noise(3, 9, 9))
    with open_source(path, raster.MAX_PIXELS):
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] <= 2**26
