"""Laws of the result of an image: what it offers in Python, and what it writes."""

import base64
import io
import re
import sys
import types

import matplotlib
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.features import rasterize

import rskt_seg.map_views
from rskt_seg.errors import ConfigError
from rskt_seg.geo import RasterImage, read_image
from rskt_seg.segmenter import Segmenter
from rskt_seg.vocabulary import Vocabulary
from tests.geo.rasters import UTM, noise, write_tiff
from tests.inference.prior_stub import PriorStub
from tests.stub_models import Colours, FixedColours

matplotlib.use("Agg")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
NAMES = ["red", "green", "blue"]


def picture(height=20, width=30, seed=0):
    return np.ascontiguousarray(noise(3, height, width, seed=seed).transpose(1, 2, 0))


def predict(source, names=NAMES, model=None, **options):
    return Segmenter(model or Colours(cells=8), names, **options).predict(source)


def with_holes(seed=0):
    image = picture(seed=seed)
    valid = np.random.default_rng(seed).random(image.shape[:2]) > 0.2
    return RasterImage(image, valid)


@pytest.fixture
def raster(tmp_path):
    bands = noise(3, 40, 30)
    bands[:, :7, :9] = 0
    return write_tiff(tmp_path / "farm.tif", bands, nodata=0, photometric="rgb", **UTM)


@settings(max_examples=25)
@given(st.integers(0, 99), st.sampled_from([Colours(), Colours(cells=5), FixedColours()]))
def test_probabilities_sum_to_one_and_the_class_of_a_pixel_has_the_highest(seed, model):
    image = with_holes(seed)
    result = Segmenter(model, None if isinstance(model, FixedColours) else NAMES).predict(image)
    found, valid = result.probabilities(), image.valid
    assert found.dtype == np.float32 and found.shape == (3, *valid.shape) and found.min() >= 0
    assert np.abs(found.sum(axis=0, dtype=np.float64)[valid] - 1).max() < 1e-6
    assert not found[:, ~valid].any()
    chosen = np.take_along_axis(found, np.where(valid, result.labels, 0)[None].astype(int), axis=0)[0]
    assert np.array_equal(chosen[valid], found.max(axis=0)[valid])
    scores = result.scores
    ratio = found[:, valid] * scores.sum(axis=0)[valid]
    np.testing.assert_allclose(ratio, scores[:, valid], rtol=1e-5)


def test_where_all_scores_are_0_every_class_is_as_likely():
    result = predict(np.zeros((4, 5, 3), np.uint8))
    assert not result.scores.any() and np.allclose(result.probabilities(), 1 / 3)


@settings(max_examples=25)
@given(st.integers(0, 99), st.sampled_from([{}, {"threshold": 0.6}, {"background": ["lime"]}]))
def test_confidence_is_the_highest_score_and_0_where_there_are_no_data(seed, options):
    result = predict(with_holes(seed), **options)
    assert result.confidence.dtype == np.float32 and (result.confidence[~result.valid] == 0).all()
    assert np.array_equal(result.confidence, result.scores.max(axis=0))


def test_what_scores_are_depends_on_the_model_and_on_how_names_are_merged():
    assert predict(picture()).score_kind == "sigmoids" == Segmenter(Colours(), NAMES).score_kind
    assert predict(picture(), None, FixedColours()).score_kind == "probabilities"
    softmax = Colours()
    softmax.score_kind = "probabilities"
    assert predict(picture(), ["red, lime", "blue"], softmax).score_kind == "probabilities"
    assert predict(picture(), ["red, lime", "blue"], softmax, synonyms="max").score_kind == "shares"
    assert predict(picture(), NAMES, softmax, synonyms="max").score_kind == "probabilities"


def test_scores_have_the_order_of_their_names_whatever_the_ids(tmp_path):
    (tmp_path / "classes.csv").write_text("name,id\nred,20\ngreen,5\nblue,10\n")
    vocabulary = rskt_seg.vocabulary.parse_vocabulary(tmp_path / "classes.csv")
    image = picture()
    result = predict(image, vocabulary, Colours(), short_side=20, background=["lime"])
    assert result.score_names == ("red", "green", "blue", "lime")
    assert result.class_names == ("green", "blue", "red", "other") and result.other == 21
    np.testing.assert_allclose(result.scores[0], image[:, :, 0] / 255, atol=1e-6)


def test_a_result_is_equal_to_itself_alone():
    first, second = predict(picture()), predict(picture())
    assert first == first and first != second and len({first, second, first}) == 2


@pytest.mark.parametrize("names", [NAMES, ["n" * 300, "m" * 300, "k" * 300, "j" * 300], ["<b>", "$x$", "é"]])
def test_the_line_about_a_result_is_short(names, raster):
    for source in (picture(), raster, np.zeros((3, 3), np.uint8)):
        line = repr(predict(source, names))
        assert len(line) < 200 and "\n" not in line
    assert re.search(r"30 x 40 px: .+ \d+\.\d%, .*; EPSG:32632>", repr(predict(raster)))
    nothing = RasterImage(picture(), np.zeros((20, 30), bool))
    assert "no pixel has a class; no georeference" in repr(predict(nothing))


def preview_of(html):
    data = re.search(r'src="data:image/png;base64,([^"]*)"', html)[1]
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_the_preview_of_a_notebook_is_bounded_and_names_are_no_markup():
    names = [f"class {k} <script>alert('{k}')</script> & more" for k in range(60)]
    result = predict(picture(360, 360), names, Colours())
    html = result._repr_html_()
    assert len(html) < 250_000 and preview_of(html).size == (360, 360)
    assert preview_of(predict(picture(700, 900))._repr_html_()).size == (360, 280)
    assert "<script" not in html and "&lt;script&gt;" in html and "& more" not in html
    assert html.count("<tr>") == len(set(result.labels.ravel().tolist())) <= 21


def test_the_preview_lists_the_largest_classes_first_with_their_areas(raster):
    result = predict(raster)
    html = result._repr_html_()
    rows = re.findall(r"left\">(.+?)</td>.*?>([\d.]+)%</td>.*?>([\d.,]+) m²", html)
    expected = sorted(result.area(), key=lambda area: -area.pixels)
    assert [name for name, *_ in rows] == [area.name for area in expected]
    assert [float(share) for _, share, _ in rows] == [round(100 * area.share, 1) for area in expected]
    assert [float(area) for *_, area in rows] == [round(area.square_metres, 1) for area in expected]


def test_many_classes_are_cut_to_the_largest():
    names = [f"c{k}" for k in range(90)]
    image = np.random.default_rng(0).random((90, 90)).argsort(axis=1).argsort(axis=1)
    legend = Segmenter(Colours(), names).legend
    areas = rskt_seg.geo.area.measure_classes(image, image >= 0, names, None)
    html = rskt_seg.map_views.map_html("t", image.astype(np.uint8), legend, areas)
    assert html.count("<tr>") == 21 and "and 70 more" in html


def test_a_plot_shows_the_map_in_pixels_with_a_legend_on_given_or_new_axes():
    from matplotlib.figure import Figure

    result = predict(with_holes())
    ax = Figure().subplots()
    assert result.plot(ax) is ax
    (shown,) = ax.images
    assert tuple(shown.get_extent()) == (0, 30, 20, 0)
    shares = {area.name: area.share for area in result.area() if area.pixels}
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert sorted(texts) == sorted(f"{name}  {share:.1%}" for name, share in shares.items())
    alone = result.plot(image=False, legend=False)
    colors = np.concatenate([result.legend.colors, [[225, 225, 225]]])
    assert np.array_equal(alone.images[0].get_array(), colors[np.minimum(result.labels, 3)])
    assert alone.get_legend() is None and alone.figure is not ax.figure
    matplotlib.pyplot.close("all")
    with pytest.raises(ConfigError, match="alpha"):
        result.plot(ax, alpha=2)


def test_the_overlay_of_a_plot_is_the_picture_of_the_command():
    from matplotlib.figure import Figure

    from rskt_seg.visualization import draw_overlay

    result = predict(picture())
    (shown,) = result.plot(Figure().subplots()).images
    assert np.array_equal(shown.get_array(), draw_overlay(picture(), result.labels, result.legend.colors))


def test_a_raster_that_was_written_reads_back_equal(raster, tmp_path):
    result = predict(raster)
    result.to_raster(tmp_path / "ids.tif")
    with rasterio.open(tmp_path / "ids.tif") as written, rasterio.open(raster) as source:
        assert np.array_equal(written.read(1), result.labels) and written.nodata == 255
        assert (written.crs, written.transform) == (source.crs, source.transform)
        assert written.tags(1)["CLASS_1"] == "green"


def test_what_is_saved_is_what_the_command_writes(raster, tmp_path):
    from rskt_seg.commands.segment_files import SegmentOptions, segment_files

    segmenter = Segmenter(Colours(cells=8), NAMES)
    assert segment_files(segmenter, [raster], {}, SegmentOptions(tmp_path / "command")) == 0
    files = segmenter.predict(raster).save(tmp_path / "python")
    by_command = {path.name: path.read_bytes() for path in (tmp_path / "command").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "python").iterdir()} == by_command
    assert {path.name for path in files.values()} == by_command.keys() >= {"farm_ids.tif", "farm_area.csv"}
    assert np.array_equal(np.asarray(Image.open(files["ids"])), segmenter.predict(raster).labels)


def test_results_have_the_name_that_is_given_and_no_folder_of_theirs(tmp_path):
    result = predict(picture())
    assert (tmp_path / "new" / "it_overlay.png") in result.save(tmp_path / "new", "it").values()
    assert (tmp_path / "new" / "image_area.csv") in result.save(tmp_path / "new").values()
    with pytest.raises(ConfigError, match="without its folder"):
        result.save(tmp_path, "../it")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="cannot create the output folder"):
        result.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("options", [{}, {"threshold": 0.7}])
def test_polygons_drawn_again_are_the_map(raster, options):
    result = predict(raster, **options)
    found = result.to_polygons()
    shapes = zip(found.features.geometry, found.features.class_id.tolist(), strict=True)
    drawn = rasterize(
        shapes, result.labels.shape, fill=255, transform=result.georeference.transform, dtype="uint8"
    )
    expected = np.where(result.labels == result.other, 255, result.labels)
    assert np.array_equal(drawn, expected) and found.crs == result.georeference.crs
    areas = {area.name: area for area in result.area()}
    for name in NAMES:
        own = found.features.class_name == name
        assert found.features.pixels[own].sum() == areas[name].pixels
        assert found.features.area_m2[own].sum() == areas[name].square_metres
    weights = found.features.mean_confidence * found.features.pixels
    shown = expected != 255
    assert weights.sum() == pytest.approx(result.confidence[shown].sum(), abs=shown.sum() / 500)


def test_polygons_are_written_as_they_are_returned(raster, tmp_path):
    pyogrio = pytest.importorskip("pyogrio")
    result = predict(raster)
    written = result.to_polygons(tmp_path / "a.gpkg", min_area="4 px")
    found = result.to_polygons(min_area="4 px")
    assert written.polygons == len(found.features.pixels) < len(result.to_polygons().features.pixels)
    meta, _, _, values = pyogrio.raw.read(tmp_path / "a.gpkg", layer="a")
    fields = dict(zip(meta["fields"], values, strict=True))
    assert np.array_equal(fields["pixels"], found.features.pixels)
    with pytest.raises(ConfigError, match="gpkg"):
        result.to_polygons(tmp_path / "a.shp")


def test_a_table_has_a_row_for_each_class(raster, monkeypatch):
    made = []

    class Frame(list):
        def astype(self, types):
            made.append(types)
            return self

    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=Frame))
    result = predict(raster)
    rows = result.to_dataframe()
    assert [(row["id"], row["name"], row["pixels"]) for row in rows] == [
        (k, name, int((result.labels == k).sum())) for k, name in enumerate(NAMES)
    ]
    assert sum(row["area_m2"] for row in rows) == pytest.approx(result.valid.sum() * 0.25, rel=1e-3)
    assert all(re.fullmatch("#[0-9a-f]{6}", row["color"]) for row in rows)
    assert predict(picture()).to_dataframe()[0]["area_m2"] is None and made


def test_without_pandas_a_table_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        predict(picture()).to_dataframe()


def test_the_background_is_left_untinted_whatever_the_ids():
    from matplotlib.figure import Figure

    names, image = PriorStub().class_names, picture(40, 40)
    image[:, :20] = 0
    vocabulary = Vocabulary(names, tuple((name,) for name in names), ids=(7, 3, 5, 1))
    result = Segmenter(PriorStub(), vocabulary).predict(image)
    assert result.background == 7 and result.legend.entries[-1].name == names[0]
    shown = result.plot(Figure().subplots()).images[0].get_array()
    assert (result.labels[:, :10] == 7).all() and not shown[:, :10].any() and shown[:, 30:].any()


def test_a_result_of_a_file_knows_the_file(raster):
    assert predict(raster).image.source == str(raster)
    assert np.array_equal(predict(raster).image.pixels, read_image(raster).pixels)
