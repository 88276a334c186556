import numpy as np
import pytest
import rasterio
from PIL import Image, ImageOps
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo import read_image

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)

ROTATED = Affine(17.5, 5, 100, 10, -8.75, 200)
UTM = {"crs": "EPSG:32632", "transform": Affine(0.5, 0, 300000, 0, -0.5, 5600000)}


def noise(*shape, dtype=np.uint8, seed=0):
    top = {"uint8": 256, "uint16": 4000, "int16": 3000, "float32": 1}[np.dtype(dtype).name]
    values = np.random.default_rng(seed).uniform(0, top, shape)
    return values.astype(dtype)


def write_tiff(path, array, mask=None, colorinterp=None, **options):
    """(C, H, W) as GeoTIFF, by rasterio itself."""
    count, height, width = array.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": array.dtype}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile | options) as dataset:
        if colorinterp:
            dataset.colorinterp = colorinterp
        dataset.write(array)
        if mask is not None:
            dataset.write_mask(mask)
    return path


def has_notice(image, text):
    return any(text in notice for notice in image.notices)


@pytest.mark.parametrize("georeference", [{}, UTM, {"transform": ROTATED}, {"crs": "EPSG:4326"}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_any_raster_becomes_8_bit_rgb_on_the_same_grid(tmp_path, count, dtype, georeference):
    array = noise(count, 9, 13, dtype=dtype)
    image = read_image(write_tiff(tmp_path / "a.tif", array, photometric="minisblack", **georeference))
    assert image.pixels.shape == (9, 13, 3) and image.pixels.dtype == np.uint8
    assert image.valid.all() and image.driver == "GTiff"
    chosen = (0, 1, 2) if count >= 3 else (0, 0, 0)
    if dtype == "uint8":
        assert np.array_equal(image.pixels, array[chosen, :, :].transpose(1, 2, 0))
    else:
        low, high = np.percentile(array, (2, 98), axis=(1, 2), keepdims=True)
        scaled = np.rint(((array - low) / (high - low) * 255).clip(0, 255))[chosen, :, :]
        assert abs(image.pixels.transpose(2, 0, 1) - scaled).max() <= 1
    assert has_notice(image, "to 8 bit") == (dtype != "uint8")
    assert has_notice(image, "three equal channels") == (count < 3)
    assert has_notice(image, f"of {count} bands") == (count not in (1, 3))
    if not georeference:
        assert image.georeference is None
    else:
        crs = georeference.get("crs")
        assert image.georeference.crs == (crs and rasterio.CRS.from_user_input(crs))
        assert image.georeference.transform == georeference.get("transform")


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 1), (2, 3)])
def test_tiny_and_elongated_rasters_keep_their_size(tmp_path, shape):
    image = read_image(write_tiff(tmp_path / "a.tif", noise(3, *shape, dtype="uint16")))
    assert image.valid.shape == shape


def test_declared_colours_decide_over_the_order_of_the_bands(tmp_path):
    roles = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
    array = noise(4, 6, 7)
    path = write_tiff(tmp_path / "a.tif", array, colorinterp=roles, photometric="minisblack")
    image = read_image(path)
    assert np.array_equal(image.pixels, array[[2, 1, 0]].transpose(1, 2, 0))
    assert has_notice(image, "3, 2, 1") and image.valid.all()


def test_a_fourth_band_is_alpha_only_if_declared(tmp_path):
    array = noise(4, 6, 7)
    array[3, :3] = 0
    path = write_tiff(tmp_path / "alpha.tif", array, photometric="rgb", alpha="unspecified")
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[3] == ColorInterp.undefined
    assert read_image(path).valid.all()
    path = write_tiff(tmp_path / "infrared.tif", array, photometric="rgb", alpha="yes")
    image = read_image(path)
    assert np.array_equal(image.valid, array[3] > 0)
    assert np.array_equal(image.pixels, array[:3].transpose(1, 2, 0))


def test_a_band_wrongly_declared_alpha_can_be_asked_for(tmp_path):
    array = noise(4, 6, 7)
    array[3, :3] = 0
    image = read_image(write_tiff(tmp_path / "a.tif", array, photometric="rgb", alpha="yes"), bands=(4, 1, 2))
    assert np.array_equal(image.pixels, array[[3, 0, 1]].transpose(1, 2, 0)) and image.valid.all()


def test_bands_are_chosen_by_number_from_one(tmp_path):
    array = noise(6, 6, 7)
    path = write_tiff(tmp_path / "a.tif", array, photometric="minisblack")
    assert np.array_equal(read_image(path, bands=(6, 3, 1)).pixels, array[[5, 2, 0]].transpose(1, 2, 0))
    single = read_image(path, bands=[2])
    assert np.array_equal(single.pixels, array[[1, 1, 1]].transpose(1, 2, 0))
    assert not has_notice(single, "of 6 bands")
    with pytest.raises(ImageReadError, match="no band 7; it has bands 1 to 6"):
        read_image(path, bands=(7, 1, 2))


@pytest.mark.parametrize("bands", [(1, 2), (0, 1, 2), (1, 2, 3, 4), (), "123", (1.0, 2, 3)])
def test_a_choice_of_bands_that_makes_no_sense_is_refused(tmp_path, bands):
    path = write_tiff(tmp_path / "a.tif", noise(4, 2, 2))
    with pytest.raises(ConfigError, match="one or three numbers"):
        read_image(path, bands=bands)


def test_bands_of_a_photograph_count_without_alpha(tmp_path):
    array = noise(5, 6, 4)
    Image.fromarray(array).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    assert np.array_equal(read_image(path, bands=(3, 2, 1)).pixels, array[:, :, 2::-1])
    with pytest.raises(ImageReadError, match="band 4 is alpha"):
        read_image(path, bands=(4, 2, 1))


def test_nodata_hides_a_pixel_only_when_every_band_has_it(tmp_path):
    array = noise(3, 6, 7).clip(1)
    array[:, 0] = 0
    array[:2, 1] = 0  # black in two bands: a colour like any other
    image = read_image(write_tiff(tmp_path / "a.tif", array, nodata=0))
    assert not image.valid[0].any() and image.valid[1:].all()
    assert np.array_equal(image.pixels[1], array[:, 1].T)


def test_nodata_in_bands_that_are_not_used_does_not_count(tmp_path):
    array = noise(5, 6, 7).clip(1)
    array[:3, 0] = 0
    path = write_tiff(tmp_path / "a.tif", array, nodata=0, photometric="minisblack")
    assert not read_image(path).valid[0].any()
    assert read_image(path, bands=(4, 5, 1)).valid.all()


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_nodata_does_not_disturb_the_scaling(tmp_path, dtype):
    array = noise(1, 50, 50, dtype=dtype)
    with_collar = array.copy()
    with_collar[:, :5] = -9999
    image = read_image(write_tiff(tmp_path / "a.tif", with_collar, nodata=-9999))
    alone = read_image(write_tiff(tmp_path / "b.tif", array[:, 5:]))
    assert np.array_equal(image.pixels[5:], alone.pixels) and not image.valid[:5].any()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_valid_and_does_not_disturb_the_scaling(tmp_path, value):
    array = noise(3, 50, 50, dtype="float32")
    broken = array.copy()
    broken[1, :5] = value
    image = read_image(write_tiff(tmp_path / "a.tif", broken))
    assert np.array_equal(image.valid, np.isfinite(broken).all(axis=0))
    alone = read_image(write_tiff(tmp_path / "b.tif", array[:, 5:]))
    assert np.array_equal(image.pixels[5:, :, 1], alone.pixels[:, :, 1])


def test_an_internal_mask_is_honoured(tmp_path):
    mask = np.arange(42).reshape(6, 7) % 3 > 0
    image = read_image(write_tiff(tmp_path / "a.tif", noise(3, 6, 7), mask=mask))
    assert np.array_equal(image.valid, mask)


def test_a_raster_without_any_data_is_read_with_a_notice(tmp_path):
    image = read_image(write_tiff(tmp_path / "a.tif", np.zeros((4, 30, 3), np.uint16), nodata=0))
    assert not image.valid.any() and has_notice(image, "no valid pixel")


def test_a_constant_raster_is_read(tmp_path):
    image = read_image(write_tiff(tmp_path / "a.tif", np.full((3, 5, 5), 10000, np.uint16)))
    assert image.valid.all() and np.ptp(image.pixels) == 0


def test_a_few_outliers_in_a_constant_band_stay_visible(tmp_path):
    array = np.full((3, 50, 50), 100, np.uint16)
    array[:, 0, 0] = 300
    image = read_image(write_tiff(tmp_path / "a.tif", array))
    assert image.pixels[0, 0, 0] == 255 and image.pixels[1, 1, 0] == 0


STRETCHES = [
    ("none", [0, 100, 255, 255]),
    ((100, 400), [0, 0, 170, 255]),
    ("100,400", [0, 0, 170, 255]),
    ("p0-100", [0, 64, 191, 255]),
]


@pytest.mark.parametrize(("stretch", "expected"), STRETCHES)
def test_the_stretch_can_be_chosen(tmp_path, stretch, expected):
    array = np.array([[[0, 100, 300, 400]]], np.uint16)
    image = read_image(write_tiff(tmp_path / "a.tif", array), stretch=stretch)
    assert image.pixels[0, :, 0].tolist() == expected
    assert has_notice(image, "has 50.0% outside 0..255" if stretch == "none" else "uint16 to 8 bit")


def test_8_bit_images_are_scaled_only_when_asked_for(tmp_path):
    array = np.array([[[10, 20, 30]]], np.uint8)
    path = write_tiff(tmp_path / "a.tif", array)
    assert read_image(path).pixels[0, :, 0].tolist() == [10, 20, 30]
    assert read_image(path, stretch="p0-100").pixels[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "stretch", ["p98-2", "p2-101", "linear", "5", "4,4", (1,), (2, 1), (0, np.inf), None, "p2-98x"]
)
def test_a_stretch_that_makes_no_sense_is_refused(tmp_path, stretch):
    with pytest.raises(ConfigError, match="stretch must be"):
        read_image(write_tiff(tmp_path / "a.tif", noise(1, 2, 2)), stretch=stretch)


def test_percentiles_of_a_large_raster_come_from_a_sample_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("rskt_seg.geo.stretch._SAMPLED", 1000)
    array = noise(1, 300, 300, dtype="uint16")
    image = read_image(write_tiff(tmp_path / "a.tif", array))
    low, high = np.percentile(array, (2, 98))
    assert abs(image.pixels[:, :, 0] - ((array[0] - low) / (high - low) * 255).clip(0, 255)).max() < 8


def test_a_few_valid_pixels_of_a_large_raster_are_enough_for_its_percentiles(tmp_path, monkeypatch):
    monkeypatch.setattr("rskt_seg.geo.stretch._SAMPLED", 100)
    array = np.zeros((1, 100, 100), np.uint16)
    array[0, 1, 1], array[0, 3, 3] = 500, 900  # between the sampled ones
    image = read_image(write_tiff(tmp_path / "a.tif", array, nodata=0))
    assert image.pixels[1, 1, 0] == 0 and image.pixels[3, 3, 0] == 255


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


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_pixels_of_alpha_zero_are_not_valid(tmp_path, mode):
    original = Image.fromarray(noise(6, 7, 4)).convert(mode)
    alpha = noise(6, 7, seed=1) // 64 * 64
    original.putalpha(Image.fromarray(alpha))
    original.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").valid, alpha > 0)


def test_a_transparent_palette_entry_is_not_valid(tmp_path):
    indices = noise(6, 7) % 4
    original = Image.fromarray(indices)
    original.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    original.save(tmp_path / "a.png", transparency=2)
    original.save(tmp_path / "a.gif", transparency=2)
    for name in ("a.png", "a.gif"):
        image = read_image(tmp_path / name)
        assert np.array_equal(image.valid, indices != 2)
        assert (image.pixels[indices == 0] == (255, 0, 0)).all()


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


@pytest.mark.parametrize("channels", [1, 3])
def test_a_16_bit_png_is_scaled_and_not_cut(tmp_path, channels):
    array = noise(channels, 20, 30, dtype="uint16")
    with rasterio.open(
        tmp_path / "a.png", "w", driver="PNG", count=channels, height=20, width=30, dtype="uint16"
    ) as dataset:
        dataset.write(array)
    image = read_image(tmp_path / "a.png")
    assert has_notice(image, "uint16 to 8 bit") and len(np.unique(image.pixels)) > 100


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
    assert np.array_equal(read_image(tmp_path / f"a.{kind}").pixels, expected)


def test_the_grid_of_a_georeferenced_photograph_is_kept(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(5, 8, 3)).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "a.pgw").write_text("2\n0\n0\n-2\n500\n900\n")
    image = read_image(tmp_path / "a.png")
    assert image.valid.shape == (5, 8) and has_notice(image, "orientation tag not applied")
    assert image.georeference.transform == Affine(2, 0, 499, 0, -2, 901)


@pytest.mark.parametrize(
    ("kind", "name"), [("PNG", "a.jpg"), ("BMP", "a.tif"), ("JPEG", "a"), ("WEBP", "a.png")]
)
def test_content_decides_and_not_the_name(tmp_path, kind, name):
    Image.fromarray(noise(5, 8, 3)).save(tmp_path / name, format=kind)
    assert read_image(tmp_path / name).driver == kind


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


def test_complex_values_are_refused(tmp_path):
    path = write_tiff(tmp_path / "a.tif", np.ones((1, 3, 3), np.complex64))
    with pytest.raises(ImageReadError, match="convert them to amplitudes"):
        read_image(path)


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


def test_ground_sizes_need_a_projected_system_and_a_transform(tmp_path):
    def georeference(**options):
        return read_image(write_tiff(tmp_path / "a.tif", noise(1, 2, 2), **options)).georeference

    assert georeference(**UTM).pixel_size == (0.5, 0.5) and georeference(**UTM).pixel_area == 0.25
    feet = georeference(crs="EPSG:2263", transform=Affine(2, 0, 0, 0, -3, 0))
    assert feet.pixel_size == pytest.approx((0.9144, 0.6096), abs=1e-4)
    rotated = georeference(crs="EPSG:32632", transform=Affine(8, 3, 0, 6, -4, 0))
    assert rotated.pixel_size == pytest.approx((5, 10)) and rotated.pixel_area == pytest.approx(50)
    assert georeference(crs="EPSG:4326", transform=Affine(1e-5, 0, 7, 0, -1e-5, 50)).pixel_area is None
    assert georeference(transform=ROTATED).pixel_area is None
    assert georeference(**UTM).notices == ()
    (notice,) = georeference(crs="EPSG:3857", transform=UTM["transform"]).notices
    assert "Web Mercator" in notice


def test_ground_control_points_are_read(tmp_path):
    points = [GroundControlPoint(r, c, 7 + c / 100, 50 - r / 100) for r, c in ((0, 0), (0, 9), (9, 0))]
    path = write_tiff(tmp_path / "a.tif", noise(3, 9, 9), gcps=points, crs="EPSG:4326")
    georeference = read_image(path).georeference
    assert georeference.transform is None and len(georeference.gcps) == 3
    assert georeference.gcps_crs == rasterio.CRS.from_epsg(4326)
