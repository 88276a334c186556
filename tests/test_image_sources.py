"""Laws of what `Segmenter.predict` takes: the same picture gives the same map, in whatever form it comes."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import rskt_seg
from rskt_seg.errors import ConfigError, ImageReadError, NotFiniteError, VocabularyError
from rskt_seg.geo import read_image
from rskt_seg.geo.arrays import as_image
from rskt_seg.geo.names import url_name
from rskt_seg.segmenter import Segmenter
from tests.geo.rasters import UTM, has_notice, noise, write_tiff
from tests.stub_models import Colours, FixedColours

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
NAMES = ["red", "green", "blue"]


def picture(height=12, width=17, seed=0):
    return np.ascontiguousarray(noise(3, height, width, seed=seed).transpose(1, 2, 0))


def as_tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)


def same(first, second):
    """Whether two images are the same to a model."""
    return (
        np.array_equal(first.valid, second.valid)
        and np.array_equal(first.pixels[first.valid], second.pixels[second.valid])
        and first.orientation == second.orientation
    )


def test_path_array_tensor_and_pillow_give_the_same_labels(tmp_path):
    image = picture()
    Image.fromarray(image).save(tmp_path / "a.png")
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    forms = [
        tmp_path / "a.png", str(tmp_path / "a.png"), image, Image.fromarray(image), tensor, tensor / 255,
        (tensor / 255).double(), tensor.to(torch.int16), Image.open(tmp_path / "a.png"),
        read_image(tmp_path / "a.png"), image[:, :, ::-1][:, :, ::-1], np.asfortranarray(image),
        image.astype(">i2"),
    ]  # fmt: skip
    segmenter = Segmenter(Colours(), NAMES)
    options = {"stretch": "none"}
    results = [
        segmenter.predict(form, **(options if getattr(form, "dtype", None) in (torch.int16, ">i2") else {}))
        for form in forms
    ]
    assert all(np.array_equal(each.labels, results[0].labels) for each in results)
    assert all(torch.equal(each.score_map, results[0].score_map) for each in results)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_of_pillow_is_turned_as_its_file_is(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    opened = Image.open(tmp_path / "a.png")
    assert same(as_image(opened), read_image(tmp_path / "a.png"))
    assert np.array_equal(as_image(opened).pixels, np.asarray(ImageOps.exif_transpose(opened)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_of_pillow_is_read_as_its_file_is(tmp_path, mode):
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    image = Image.fromarray(picture()).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(np.where(picture()[:, :, 0] > 60, 255, 0).astype(np.uint8)))
    if suffix == "tif":  # of these Pillow's own reading is the reference
        assert np.array_equal(as_image(image).pixels, np.asarray(image.convert("RGB")))
        return
    image.save(tmp_path / "a.png")
    found = as_image(image)
    assert same(found, read_image(tmp_path / "a.png"))
    assert found.valid.all() != mode.endswith("A")


def test_a_transparent_colour_of_a_palette_is_nodata(tmp_path):
    image = Image.fromarray(picture()).quantize(4)
    image.save(tmp_path / "a.png", transparency=1)
    found = as_image(Image.open(tmp_path / "a.png"))
    assert same(found, read_image(tmp_path / "a.png"))
    assert np.array_equal(found.valid, np.asarray(image) != 1) and not found.valid.all()


def test_pillow_of_16_bits_is_stretched_as_its_file_is(tmp_path):
    Image.fromarray(noise(12, 17, dtype=np.uint16)).save(tmp_path / "a.png")
    opened = Image.open(tmp_path / "a.png")
    assert opened.mode == "I;16" and same(as_image(opened), read_image(tmp_path / "a.png"))


@settings(max_examples=30)
@given(
    st.sampled_from(["uint8", "uint16", "int16"]),
    st.sampled_from([None, (3, 1, 2), (4, 3, 2), (2,)]),
    st.sampled_from(["auto", "none", "p1-99", "10,2000", (0, 300)]),
    st.sampled_from([None, 7]),
)
def test_arrays_are_read_as_files_are(tmp_path_factory, dtype, bands, stretch, nodata):
    values = noise(5 if bands and max(bands) > 3 else 3, 9, 11, dtype=np.dtype(dtype).type)
    values[:, :2, :3] = 7
    path = write_tiff(tmp_path_factory.mktemp("a") / "a.tif", values)
    found = as_image(values.transpose(1, 2, 0), bands, stretch, nodata)
    expected = read_image(path, bands, stretch, nodata=nodata)
    assert same(found, expected)
    assert [notice for notice in found.notices if "8 bit" in notice] == [
        notice for notice in expected.notices if "8 bit" in notice
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masked_arrays_keep_their_mask(tmp_path, dtype):
    values = noise(12, 17, 3, dtype=dtype)
    mask = np.random.default_rng(1).random(values.shape) > 0.4
    found = as_image(np.ma.masked_array(values, mask))
    assert np.array_equal(found.valid, ~mask.all(axis=2)) and not found.valid.all()
    chosen = as_image(np.ma.masked_array(values, mask), bands=(2,))
    assert np.array_equal(chosen.valid, ~mask[:, :, 1])
    changed = np.where(mask, np.ma.masked_array(values, mask).data // 2, values)
    again = as_image(np.ma.masked_array(changed, mask), bands=(2,))
    assert same(again, chosen)  # what lies below the mask has no influence


def test_floating_point_is_taken_with_a_stretch_that_says_how():
    values = noise(6, 7, 3, dtype=np.float32)
    found = as_image(values, stretch=(0, 1))
    assert np.array_equal(found.pixels, np.rint(values.astype(float) * 255).astype(np.uint8))
    values[2, 3, 0] = np.nan
    assert as_image(values, stretch=(0, 1)).valid.sum() == 41
    tensor = torch.from_numpy(values * 4000).permute(2, 0, 1)
    assert same(as_image(tensor, stretch="p2-98"), as_image(values * 4000, stretch="p2-98"))


def test_tensors_of_floating_point_become_the_nearest_of_8_bits():
    values = torch.tensor([0, 0.4, 0.6, 200.4, 200.6, 255]) / 255
    assert as_image(values[None, None]).pixels[0, :, 0].tolist() == [0, 0, 1, 200, 201, 255]


def test_one_band_is_copied_with_a_notice():
    grey = picture()[:, :, 0]
    forms = [grey, grey[:, :, None], torch.from_numpy(grey)[None], Image.fromarray(grey)]
    for found in map(as_image, forms):
        assert np.array_equal(found.pixels, np.dstack([grey] * 3)) and has_notice(found, "three equal")


@pytest.mark.parametrize("model", [Colours(), Colours(cells=6), FixedColours()])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_lists_equal_single_images_in_their_order(model, batch_size, tmp_path):
    Image.fromarray(picture(seed=9)).save(tmp_path / "a.png")
    dark = np.ma.masked_all((12, 17, 3), np.uint8)
    images = [picture(seed=1), picture(seed=2), tmp_path / "a.png", picture(30, 8), dark, picture(seed=3)]
    small = {} if isinstance(model, FixedColours) else {"short_side": 24}
    segmenter = Segmenter(model, None if isinstance(model, FixedColours) else NAMES, **small)
    found = segmenter.predict(tuple(images), batch_size=batch_size)
    expected = [segmenter.predict(image) for image in images]
    assert isinstance(found, list) and len(found) == len(images)
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.labels, other.labels) and one.notices == other.notices
        torch.testing.assert_close(one.score_map, other.score_map, rtol=0, atol=0)
    assert segmenter.predict([]) == []


def test_images_of_one_size_become_a_batch_and_others_do_not():
    model = Colours()
    images = [picture(seed=k) for k in range(5)] + [picture(20, 20)]
    Segmenter(model, NAMES, short_side=24).predict(images, batch_size=3)
    assert [call["size"][0] for call in model.calls] == [3, 2, 1]


def test_an_image_of_a_list_that_cannot_be_read_or_scored_is_named():
    with pytest.raises(ImageReadError, match=r"image 3 of 4: no such image: /nowhere/a.png"):
        Segmenter(Colours(), NAMES).predict([picture(), picture(), "/nowhere/a.png", picture()], batch_size=2)
    model = Colours()
    model.scale.data.fill_(torch.nan)
    with pytest.raises(NotFiniteError, match="17 x 12 px"):
        Segmenter(model, NAMES).predict([picture()])


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None, "4"])
def test_a_batch_has_a_number_of_images(size):
    with pytest.raises(ConfigError, match="batch_size"):
        Segmenter(Colours(), NAMES).predict([picture()], batch_size=size)


@pytest.fixture
def server(tmp_path):
    """A folder that is served at an address."""
    # Not a thread: GDAL keeps Python from running while it fetches.
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield re.search(r"http://[\d.:]+", process.stdout.readline())[0]
        process.kill()


def test_a_url_is_read_as_its_file_is(server, tmp_path):
    path = write_tiff(tmp_path / "a b.tif", noise(3, 12, 17), photometric="rgb", **UTM)
    segmenter = Segmenter(Colours(), NAMES)
    address = f"{server}/a%20b.tif"
    found, expected = segmenter.predict(f"{address}?token=secret"), segmenter.predict(path)
    assert np.array_equal(found.labels, expected.labels) and found.georeference == expected.georeference
    assert found.image.source == address and "secret" not in repr(found)
    assert np.array_equal(segmenter.predict(f"/vsicurl/{address}").labels, expected.labels)
    with pytest.raises(
        ImageReadError, match=r"cannot read http.*/no.tif: .*404.*check the address"
    ) as caught:
        segmenter.predict(f"{server}/no.tif?token=secret")
    assert "\n" not in str(caught.value)


def test_addresses_have_the_names_of_gdal(tmp_path, monkeypatch):
    assert url_name("https://a.org/x.tif?b=c") == "/vsicurl/https://a.org/x.tif?b=c"
    assert url_name("s3://bucket/key/x.tif") == "/vsis3/bucket/key/x.tif"
    for own in ("a.tif", "C:/a.tif", "/vsizip/a.zip/b.tif", 'NETCDF:"a.nc":B04', "NETCDF:/a.nc:B04"):
        assert url_name(own) == own
    monkeypatch.chdir(tmp_path)
    Path("https:/x").mkdir(parents=True)
    assert url_name("https:/x") == "https:/x"


LINES = [
    (None, "NoneType"),
    (3, "int 3"),
    (b"a.png", "bytes"),
    ({"a": 1}, "dict"),
    (object(), "list or tuple"),
    (iter([]), "list or tuple"),
    ([None], "image 1 of 1: .*NoneType"),
    ([[picture()]], "image 1 of 1: .*found list"),
    ("ftp://a.org/x.tif", "http, https, s3"),
    (Path("https://a.org/x.tif"), "give it as text"),
    (np.zeros((3, 20, 30), np.uint8), r"transpose\(1, 2, 0\)"),
    (np.zeros((20, 30, 4), np.uint8), "alpha"),
    (np.zeros((20, 30, 9), np.uint16), "bands="),
    (np.zeros((2, 20, 30, 3), np.uint8), r"list\(array\)"),
    (np.zeros((20, 30, 3), np.float32), r"array \* 255.*stretch="),
    (np.zeros((20, 30, 3), complex), "complex128"),
    (np.zeros((20, 30, 3), object), "object"),
    (np.zeros((0, 30, 3), np.uint8), r"\(0, 30, 3\)"),
    (torch.zeros(20, 30, 3), r"permute\(2, 0, 1\)"),
    (torch.zeros(2, 3, 20, 30), r"list\(tensor\)"),
    (torch.zeros(20, 30), r"\(3, H, W\)"),
    (torch.zeros(5, 20, 30), "bands="),
    (torch.full((3, 4, 5), 128.0), "0..1.*128"),
    (torch.full((3, 4, 5), torch.nan), "0..1"),
    (torch.zeros(3, 4, 5, dtype=torch.int64), "int64"),
    (torch.zeros(3, 4, 5, dtype=torch.bool), "bool"),
    (torch.zeros(3, 4, 5, dtype=torch.complex64), "complex64"),
    (Image.new("LAB", (4, 5)), r"LAB.*convert\('RGB'\)"),
]


@pytest.mark.parametrize(("source", "message"), LINES)
def test_what_is_no_image_is_refused_in_one_line_with_the_way_out(source, message):
    with pytest.raises(ImageReadError, match=message) as caught:
        Segmenter(Colours(), NAMES).predict(source)
    assert "\n" not in str(caught.value)


def test_a_closed_image_of_pillow_and_a_cut_one_are_refused(tmp_path):
    Image.fromarray(picture(90, 90)).save(tmp_path / "a.png")
    closed = Image.open(tmp_path / "a.png")
    closed.close()
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:5000])
    for image in (closed, Image.open(tmp_path / "cut.png")):
        with pytest.raises(ImageReadError, match="cannot read the image of 90 x 90 px"):
            Segmenter(Colours(), NAMES).predict(image)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bands": (1, 2)}, ConfigError, "one or three"),
        ({"bands": (1, 2, 4)}, ImageReadError, r"no band 4; it has bands 1 to 3"),
        ({"bands": "321"}, ConfigError, "one or three"),
        ({"stretch": "median"}, ConfigError, "stretch must be"),
    ],
)
@pytest.mark.parametrize(
    "form", [np.asarray, lambda a: torch.from_numpy(a).permute(2, 0, 1), Image.fromarray]
)
def test_how_an_image_is_read_is_checked_in_every_form(form, options, error, message):
    with pytest.raises(error, match=message):
        Segmenter(Colours(), NAMES).predict(form(picture()), **options)


def test_what_was_read_is_not_read_again(tmp_path):
    image = as_image(picture())
    for options in ({"bands": (3, 2, 1)}, {"stretch": "p2-98"}, {"nodata": 0}):
        with pytest.raises(ConfigError, match="8-bit RGB already"):
            Segmenter(Colours(), NAMES).predict(image, **options)


def test_a_mapping_names_classes_with_their_synonyms():
    given = {"red": ["scarlet", "lime"], "green": [], "blue": ("blue",)}
    segmenter = Segmenter(Colours(), given, synonyms="max")
    assert segmenter.prompts == ("red", "scarlet", "lime", "green", "blue")
    listed = Segmenter(Colours(), ["red, scarlet, lime", "green", "blue"], synonyms="max")
    assert segmenter.vocabulary == listed.vocabulary
    colored = Segmenter(Colours(), {"red": "#804000", "green": [1, 2, 3]})
    assert colored.legend.colors.tolist() == [[128, 64, 0], [1, 2, 3]]
    closed = Segmenter(FixedColours(), {name: [] for name in NAMES})
    assert closed.vocabulary.names == tuple(NAMES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "empty"),
        ({1: ["a"]}, "must be strings"),
        ({"red": ["a", 1]}, "red"),
        ({"red": 3}, "red"),
        ({"red": "scarlet"}, "red"),
        ({"red": ["blue"], "Red": []}, "twice"),
        ({"red", "blue"}, "in the order of their ids; found set"),
        ("red, blue", "must be a list"),
    ],
)
def test_vocabularies_that_have_no_meaning_are_refused(given, message):
    with pytest.raises(VocabularyError, match=message):
        Segmenter(Colours(), given)


def test_closed_sets_refuse_synonyms_of_a_mapping():
    with pytest.raises(VocabularyError, match="fixed"):
        Segmenter(FixedColours(), {"red": ["scarlet"], "green": [], "blue": []})


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return rskt_seg.create_model("rskt_tiny").eval()


@pytest.mark.filterwarnings("ignore")
def test_a_batch_of_a_real_model_differs_by_rounding_alone(tiny):
    segmenter = Segmenter(tiny, ["building", "road", "tree"], short_side=64)
    images = [picture(64, 64, seed) for seed in range(3)]
    together, alone = segmenter.predict(images, batch_size=3), [segmenter.predict(each) for each in images]
    for one, other in zip(together, alone, strict=True):
        assert (one.score_map - other.score_map).abs().max() < 1e-5
    assert re.search("sigmoids", segmenter.score_kind)
