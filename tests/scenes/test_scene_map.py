"""What the map of a scene has in common with the result of an image."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg import Segmenter
from rskt_seg.windows import Window
from tests.geo.rasters import UTM, noise, write_tiff
from tests.stub_models import Colours

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)
NAMES = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scene")


@pytest.fixture(scope="module")
def path(folder):
    bands = noise(3, 150, 170)
    bands[:, :30, :40] = 0
    return write_tiff(folder / "farm.tif", bands, nodata=0, photometric="rgb", **UTM)


@pytest.fixture(scope="module")
def made(folder, path):
    segmenter = Segmenter(Colours(), NAMES, threshold=0.6)
    options = {"chunk": 512, "overlap": 0.0, "scores": True, "polygons": ()}
    found = segmenter.segment_scene(path, folder / "out", **options)
    again = segmenter.segment_scene(path, folder / "out", **options)
    assert again.files == found.files and (again.other, again.score_kind) == (3, "sigmoids")
    return found


def test_a_scene_and_an_image_of_the_same_scores_state_the_same(made, path):
    # Without overlap, windows of this model see every pixel as it is, and so does it at this size.
    image = Segmenter(Colours(), NAMES, threshold=0.6, short_side=150).predict(path)
    valid = image.valid
    assert np.array_equal(made.ids()[valid], image.labels[valid]) and made.other == image.other
    assert np.abs(made.confidence() - image.confidence)[valid].max() <= 1 / 508 + 1e-6
    assert np.isnan(made.confidence()[~valid]).all()
    assert made.score_kind == image.score_kind and made.class_names == image.class_names
    assert made.ignore_label == image.ignore_label and made.area_summary() == image.area_summary()


def test_probabilities_of_a_window_sum_to_one_where_there_are_data(made):
    found = made.probabilities(Window(20, 30, 40, 50))
    known = made.ids(Window(20, 30, 40, 50)) != 255
    assert found.shape == (3, 40, 50) and known.any() and not known.all()
    assert np.abs(found.sum(axis=0, dtype=np.float64)[known] - 1).max() < 1e-6
    assert np.isnan(found[:, ~known]).all()


def test_it_shows_itself_in_a_line_a_preview_and_a_plot(made):
    assert repr(made) == "<SceneMap 170 x 150 px: 4 classes; farm_ids.tif>"
    html = made._repr_html_()
    assert len(html) < 250_000 and html.count("<tr>") == 4
    ax = made.plot(Figure().subplots())
    assert tuple(ax.images[0].get_extent()) == (0, 170, 150, 0)
    colors = np.concatenate([made.legend.colors, [[225, 225, 225]]])
    assert np.array_equal(ax.images[0].get_array(), colors[np.minimum(made.ids(), 4)])


def test_polygons_leave_out_pixels_without_a_class(made, tmp_path):
    pyogrio = pytest.importorskip("pyogrio")
    made.to_polygons(tmp_path / "a.gpkg")
    meta, _, _, values = pyogrio.raw.read(tmp_path / "a.gpkg", layer="a")
    fields = dict(zip(meta["fields"], values, strict=True))
    assert set(fields["class_id"]) == {0, 1, 2}
    assert fields["pixels"].sum() == (made.ids() < 3).sum()


def test_it_is_equal_to_itself_alone(made):
    assert len({made, made}) == 1
