"""Reading some rows at a time: the result is that of reading all at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.geo import fill, pillow_source, rasterio_source, read_image, stretch
from tests.geo.rasters import noise, write_tiff

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)

TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16}
LAYOUTS = st.sampled_from([{}, TILED, {"blockysize": 3}, {"blockysize": 1000}, {"interleave": "band"}])
DTYPES = st.sampled_from(["uint8", "uint16", "int16", "float32"])
STRETCHES = st.sampled_from(["auto", "none", "p5-90", (10.0, 200.0)])


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """All sizes of parts so small that small images have many."""
    monkeypatch.setattr(rasterio_source, "_BYTES", 500)
    monkeypatch.setattr(pillow_source, "_PIXELS", 100)
    monkeypatch.setattr(fill, "_PIXELS", 70)
    monkeypatch.setattr(fill, "_SAMPLED", 50)
    monkeypatch.setattr(stretch, "_PIXELS", 60)
    monkeypatch.setattr(stretch, "_SAMPLED", 200)


@st.composite
def rasters(draw):
    """Bands (n, H, W), with a collar and with single pixels of one value, and how to write them."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 60)), draw(st.integers(1, 60))
    bands = noise(*shape, dtype=draw(DTYPES), seed=draw(st.integers(0, 999)))
    bands[:, : draw(st.integers(0, 60)), : draw(st.integers(0, 60))] = 0
    bands[np.random.default_rng(0).random(shape) < draw(st.sampled_from([0, 0.3]))] = 0
    options = {"photometric": "minisblack", "compress": draw(st.sampled_from(["deflate", "lzw", None]))}
    if draw(st.booleans()):
        options["nodata"] = 0
    return bands, options | draw(LAYOUTS)


def read_at_once(bands, rule, declared, given_nodata):
    """Pixels and mask as the documentation of `read_image` defines them, from whole arrays."""
    masks = np.ones(bands.shape, bool)
    if declared is not None:
        masks &= bands != declared
    if given_nodata is not None:
        masks &= ~(bands == given_nodata).all(axis=0)
    channels = []
    for band, mask in zip(bands, masks, strict=True):
        step = stretch.sample_step(band.size)
        sample = band[::step, ::step][mask[::step, ::step]]
        sample = sample if sample.size else band[mask]
        limits = rule if isinstance(rule, tuple) else None
        if rule == "p5-90" or (rule == "auto" and band.dtype != np.uint8):
            limits = np.percentile(sample, (5, 90) if rule == "p5-90" else (2, 98)) if sample.size else None
            if limits is not None and limits[0] == limits[1]:
                limits = sample.min(), sample.max()
        low, high = (float(end) for end in (limits if limits is not None else (0, 255)))
        factor = 255 / (high - low) if high > low else 0.0
        channels.append(np.rint(((band.astype(np.float64) - low) * factor).clip(0, 255)).astype(np.uint8))
    return np.stack((channels * 3)[:3], axis=-1), masks.any(axis=0)


@given(rasters(), STRETCHES, st.sampled_from([None, 0, 7]))
def test_a_raster_is_read_as_if_at_once(tmp_path_factory, given_raster, rule, nodata):
    bands, options = given_raster
    path = write_tiff(tmp_path_factory.mktemp("a") / "a.tif", bands, **options)
    chosen = bands[:3] if len(bands) >= 3 else bands[:1]
    image = read_image(path, stretch=rule, nodata=nodata)
    pixels, valid = read_at_once(chosen, rule, options.get("nodata"), nodata)
    assert np.array_equal(image.valid, valid) and np.array_equal(image.pixels, pixels)


@given(rasters(), STRETCHES)
def test_what_is_told_of_a_raster_does_not_depend_on_the_rows_at_a_time(tmp_path_factory, given_raster, rule):
    bands, options = given_raster
    path = write_tiff(tmp_path_factory.mktemp("a") / "a.tif", bands, **options)
    parts = read_image(path, stretch=rule)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rasterio_source, "_BYTES", 10**9)
        patch.setattr(fill, "_PIXELS", 10**9)
        assert read_image(path, stretch=rule).notices == parts.notices


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_a_photograph_is_read_as_pillow_shows_it(tmp_path, mode, orientation):
    picture = Image.fromarray(noise(41, 23, 4)).convert("CMYK" if mode == "CMYK" else "RGBA")
    if mode not in ("RGBA", "CMYK"):
        picture = picture.convert(mode)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.save(path, exif=exif)
    image = read_image(path)
    with Image.open(path) as opened:
        shown = ImageOps.exif_transpose(opened)
    assert np.array_equal(image.pixels, np.asarray(shown.convert("RGB")))
    valid = np.asarray(shown.convert("RGBA"))[:, :, 3] > 0
    assert np.array_equal(image.valid, valid) and image.orientation == orientation


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_values_are_tried_as_fill_on_one_grid_of_the_whole_image(rows):
    bands = noise(3, 40, 40).clip(1)
    bands[:, np.arange(40) % 5 > 0] = 0  # in no row of the grid
    search = fill.FillSearch(40, 40)
    for start in range(0, 40, rows):
        part = bands[:, start : start + rows]
        search.survey(start, part, np.ones(part.shape[1:], bool))
    assert not search.is_open()
