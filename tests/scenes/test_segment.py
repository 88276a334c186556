"""Scenes from files to maps: results, resumption, and what is refused."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import shapely
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from rskt_seg import Segmenter
from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.scenes import job as jobs
from rskt_seg.windows import Window
from rskt_seg.writing import replacing
from tests.geo.rasters import UTM, noise, write_tiff
from tests.scenes.scenes import NAMES
from tests.stub_models import Colours

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)
SIZE = 600, 700


def pixels():
    bands = noise(3, *SIZE)
    bands[:, :80, :90] = 0
    return bands


@pytest.fixture
def scene(tmp_path):
    return write_tiff(tmp_path / "farm.tif", pixels(), nodata=0, photometric="rgb", **UTM)


def segment(scene, output, model=None, vocabulary=NAMES, **options):
    settings = {key: options.pop(key) for key in ("threshold", "background") if key in options}
    segmenter = Segmenter(model or Colours(), vocabulary, **settings)
    return segmenter.segment_scene(scene, output, **{"chunk": 512, "overlap": 0.0, "polygons": ()} | options)


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def test_maps_lie_where_the_scene_lies_and_show_what_it_shows(scene, tmp_path):
    found = segment(scene, tmp_path / "out", scores=True)
    image, valid = pixels(), (pixels() != 0).any(axis=0)
    np.testing.assert_array_equal(found.ids(), np.where(valid, image.argmax(axis=0), 255))
    np.testing.assert_allclose(found.confidence()[valid], image.max(axis=0)[valid] / 255, atol=1 / 500)
    assert np.isnan(found.confidence()[~valid]).all()
    np.testing.assert_allclose(
        found.scores(Window(100, 110, 20, 30)), image[:, 100:120, 110:140] / 255, atol=1 / 500
    )
    for kind in ("ids", "confidence", "scores"):
        with rasterio.open(found.files[kind]) as written, rasterio.open(scene) as source:
            assert (written.crs, written.transform, written.shape) == (
                source.crs,
                source.transform,
                source.shape,
            )
            assert written.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert found.areas.total.pixels == valid.sum()
    assert found.areas.nodata.pixels == (~valid).sum()
    assert not list((tmp_path / "out").glob("*_parts"))
    assert {path.name for path in found.files.values()} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_a_run_that_is_interrupted_goes_on_to_the_same_bytes(scene, tmp_path):
    segment(scene, tmp_path / "whole")
    half_done(scene, tmp_path / "out")
    parts = tmp_path / "out" / "farm_parts"
    assert {path.name for path in parts.glob("*_*.json")} == {"0_0.json", "0_512.json"}
    model = Colours()
    segment(scene, tmp_path / "out", model)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert len(model.calls) < 100  # of the two chunks below


def test_the_same_bytes_for_every_chunk_size_and_for_a_part(scene, tmp_path):
    first = segment(scene, tmp_path / "512")
    segment(scene, tmp_path / "1024", chunk=1024)
    assert {**contents(tmp_path / "512"), "farm_provenance.json": b""} == {
        **contents(tmp_path / "1024"),
        "farm_provenance.json": b"",
    }
    window = Window(100, 50, 300, 333)
    part = segment(scene, tmp_path / "part", part=window)
    np.testing.assert_array_equal(part.ids(), first.ids(window))
    np.testing.assert_array_equal(part.confidence(), first.confidence(window))
    with rasterio.open(part.files["ids"]) as written:
        assert written.transform == UTM["transform"] @ Affine.translation(50, 100)
        bounds = written.bounds
    again = segment(scene, tmp_path / "bounds", bounds=tuple(bounds))
    np.testing.assert_array_equal(again.ids(), part.ids())


def test_a_scene_that_is_complete_is_not_computed_again(scene, tmp_path, caplog):
    segment(scene, tmp_path / "out")
    model = Colours()
    with caplog.at_level(logging.INFO):
        segment(scene, tmp_path / "out", model)
    assert not model.calls
    assert "complete already; --restart segments it anew" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        segment(scene, tmp_path / "out", model, polygons=("gpkg",))
    assert not model.calls and (tmp_path / "out" / "farm_polygons.gpkg").is_file()
    assert "made anew from its complete rasters" in caplog.text and "complete already" not in caplog.text
    segment(scene, tmp_path / "out", model, restart=True)
    assert model.calls
    again = Colours()
    segment(scene, tmp_path / "out", again, overlap=0.5)  # other settings
    assert again.calls


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"vocabulary": ["red", "green", "lime"]}, "classes and vocabulary"),
        ({"overlap": 0.5}, "windows"),
        ({"chunk": 1024}, "chunk"),
        ({"stretch": (0.0, 100.0)}, "reading"),
        ({"part": Window(0, 0, 600, 699)}, "area"),
    ],
)
def test_chunks_of_other_settings_are_kept_and_named(scene, tmp_path, change, named):
    half_done(scene, tmp_path / "out")
    before = contents(tmp_path / "out" / "farm_parts")
    with pytest.raises(
        ConfigError, match=rf"farm_parts holds chunks of .*farm\.tif .* otherwise \({named}\); .*--restart"
    ):
        segment(scene, tmp_path / "out", **change)
    assert contents(tmp_path / "out" / "farm_parts") == before
    segment(scene, tmp_path / "out", **change, restart=True)


def test_a_scene_that_has_changed_is_refused_on_resumption(scene, tmp_path):
    half_done(scene, tmp_path / "out")
    write_tiff(scene, pixels()[::-1], nodata=0, photometric="rgb", **UTM)
    with pytest.raises(ConfigError, match=r"otherwise \(raster"):
        segment(scene, tmp_path / "out")


def half_done(scene, output):
    """Segment a part of the chunks of a scene."""

    class Tired(Colours):
        def forward(self, *args, **options):
            if len(self.calls) == 185:
                raise KeyboardInterrupt
            return super().forward(*args, **options)

    with pytest.raises(KeyboardInterrupt):
        segment(scene, output, Tired())
    assert list((output / "farm_parts").glob("*_*.json"))


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_chunk_is_named_and_computed_again(scene, tmp_path, cut):
    segment(scene, tmp_path / "whole")
    half_done(scene, tmp_path / "out")
    part = tmp_path / "out" / "farm_parts" / "0_0_ids.tif"
    content = bytearray(part.read_bytes())
    if cut:
        del content[200:]
    else:  # GDAL reads it without a word
        content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    part.write_bytes(content)
    with pytest.raises(ImageReadError, match=r"1 chunk \(0_0\) do not hold .* computes them anew"):
        segment(scene, tmp_path / "out")
    segment(scene, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_full_disk_is_one_line_and_finished_chunks_are_kept(scene, tmp_path, monkeypatch):
    segment(scene, tmp_path / "whole")
    original, count = replacing, []

    def full(path, size=None):
        count.append(path)
        if len(count) == 4:
            raise OSError(28, "No space left on device")
        return original(path, size)

    with monkeypatch.context() as patch:
        patch.setattr("rskt_seg.geo.parts.replacing", full)
        with pytest.raises(OSError, match="No space left"):
            segment(scene, tmp_path / "out")
    assert list((tmp_path / "out" / "farm_parts").glob("*_*.json"))
    segment(scene, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_pixels_below_the_threshold_and_of_the_background_are_other(scene, tmp_path):
    found = segment(
        scene, tmp_path / "out", vocabulary=["red", "green"], background=["blue"], threshold=0.601
    )
    image, valid = pixels(), (pixels() != 0).any(axis=0)
    best = image.argmax(axis=0)
    other = (best == 2) | (image.max(axis=0) < 0.601 * 255)
    np.testing.assert_array_equal(found.ids(), np.where(valid, np.where(other, 2, best), 255))
    assert [entry.name for entry in found.legend.entries] == ["red", "green", "other"]
    assert json.loads(found.files["area.json"].read_text())["classes"][2]["name"] == "other"


def test_names_that_no_pixel_chose_are_told(scene, tmp_path):
    found = segment(scene, tmp_path / "out", vocabulary=["red", "scarlet", "blue"])
    assert any("'scarlet'" in notice and "no pixel" in notice for notice in found.notices)


def test_polygons_lie_on_the_map_and_add_up_to_its_areas(scene, tmp_path):
    found = segment(scene, tmp_path / "out", part=Window(60, 60, 90, 100), polygons=("gpkg",))
    info, _, geometry, fields = pyogrio.raw.read(found.files["gpkg"], layer="farm_polygons")
    ids, areas = (fields[info["fields"].tolist().index(name)] for name in ("class_id", "area_m2"))
    assert info["crs"] == "EPSG:32632"
    shapes = shapely.from_wkb(geometry)
    with rasterio.open(found.files["ids"]) as dataset:
        burned = rasterio.features.rasterize(
            list(zip(shapes, ids.tolist(), strict=True)), dataset.shape, fill=255, transform=dataset.transform
        )
    np.testing.assert_array_equal(burned, found.ids())
    for number, area in enumerate(found.areas.classes):
        assert areas[ids == number].sum() == pytest.approx(area.square_metres, rel=1e-12)


def test_other_polygons_are_made_of_the_same_rasters(scene, tmp_path):
    segment(scene, tmp_path / "out", part=Window(60, 60, 90, 100))
    model = Colours()
    segment(scene, tmp_path / "out", model, part=Window(60, 60, 90, 100), polygons=("gpkg",), min_area="9 px")
    assert not model.calls
    assert (tmp_path / "out" / "farm_polygons.gpkg").is_file()


def test_where_polygons_lie_that_have_no_place_on_the_ground_is_told(tmp_path, caplog):
    nowhere = write_tiff(tmp_path / "farm.tif", pixels(), nodata=0, photometric="rgb")
    found = segment(nowhere, tmp_path / "out", part=Window(60, 60, 90, 100), polygons=("gpkg",))
    assert any("y is minus the row" in notice for notice in found.notices)
    assert caplog.text.count("y is minus the row") == 1


def test_why_areas_are_unknown_is_told_without_polygons(tmp_path, caplog):
    place = {"transform": UTM["transform"], "crs": 'LOCAL_CS["a site",UNIT["foot",0.3048]]'}
    site = write_tiff(tmp_path / "farm.tif", pixels(), nodata=0, photometric="rgb", **place)
    found = segment(site, tmp_path / "out", part=Window(60, 60, 90, 100), polygons=())
    (notice,) = found.areas.notices
    assert notice in found.notices and caplog.text.count(notice) == 1


def test_the_notice_of_windows_counts_those_of_the_part(scene, tmp_path, caplog):
    model = Colours()
    segment(scene, tmp_path / "out", model, part=Window(520, 520, 30, 40))
    seen = re.search(r"40 x 30 px are seen in (\d+) windows", caplog.text)
    assert int(seen[1]) == len(model.calls)


def test_lengths_on_the_ground_are_told_without_exponents(tmp_path, caplog):
    coarse = UTM | {"transform": Affine(10, 0, 600_000, 0, -10, 5_000_000)}
    site = write_tiff(tmp_path / "farm.tif", np.ones((3, 110, 120), np.uint8), **coarse)
    segment(site, tmp_path / "out", window=110, polygons=())
    assert "of 110 x 110 px (1,100 x 1,100 m), " in caplog.text


def test_polygons_that_cannot_be_written_are_refused_before_anything_is_computed(scene, tmp_path):
    model = Colours()
    with pytest.raises(ConfigError, match=r"farm\.tif: GeoJSON holds longitudes"):
        segment(scene, tmp_path / "out", model, polygons=("geojson",))
    assert not model.calls


@pytest.mark.parametrize("case", ["rotated", "south-up", "degrees", "points", "none", "array", "png"])
def test_every_place_and_none_is_kept(tmp_path, case):
    bands = noise(3, 60, 70)
    places = {
        "rotated": {"crs": "EPSG:32632", "transform": Affine(0.4, 0.3, 3e5, 0.3, -0.4, 56e5)},
        "south-up": {"crs": "EPSG:32632", "transform": Affine(0.5, 0, 3e5, 0, 0.5, 56e5)},
        "degrees": {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 8, 0, -1e-5, 50)},
        "none": {},
    }
    source = tmp_path / "a.tif"
    if case == "array":
        source = np.moveaxis(bands, 0, 2)
    elif case == "png":
        from PIL import Image

        source = tmp_path / "a.png"
        Image.fromarray(np.moveaxis(bands, 0, 2)).save(source)
    elif case == "points":
        write_tiff(source, bands, photometric="rgb")
        corners = [(0, 0), (0, 70), (60, 0), (60, 70)]
        points = [rasterio.control.GroundControlPoint(r, c, 8 + c / 1e4, 50 - r / 1e4) for r, c in corners]
        with rasterio.open(source, "r+") as dataset:
            dataset.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    else:
        write_tiff(source, bands, photometric="rgb", **places[case])
    found = segment(source, tmp_path / "out")
    np.testing.assert_array_equal(found.ids(), bands.argmax(axis=0))
    with rasterio.open(found.files["ids"]) as dataset:
        written = Georeference.from_dataset(dataset)
    if case in ("none", "array", "png"):
        assert written is None
        assert found.areas.total.square_metres is None
        return
    with rasterio.open(source) as dataset:
        expected = Georeference.from_dataset(dataset)
    assert written.crs == expected.crs
    assert written.transform == expected.transform
    assert len(written.gcps) == len(expected.gcps)
    if case in ("rotated", "south-up"):
        assert found.areas.total.square_metres == pytest.approx(60 * 70 * 0.25, rel=2e-3)


def test_a_window_on_the_ground_follows_the_size_of_pixels(scene, tmp_path):
    model = Colours()
    segment(scene, tmp_path / "out", model, window="30m")
    assert {call["size"][2:] for call in model.calls} == {(60, 60)}
    bare = write_tiff(tmp_path / "bare.tif", noise(3, 60, 70))
    with pytest.raises(ConfigError, match=r"bare\.tif: a window of 30m needs to know"):
        segment(bare, tmp_path / "out", window="30m")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "30 feet"}, "in pixels .* or on the ground"),
        ({"window": 0}, "at least 1 px"),
        ({"overlap": 0.9}, "0..0.75"),
        ({"chunk": 500}, "multiple of 512"),
        ({"part": Window(700, 0, 10, 10)}, "does not touch the scene"),
        ({"bounds": (0.0, 0.0, 1.0, 1.0)}, "does not touch the scene"),
        ({"part": Window(0, 0, 1, 1), "bounds": (0.0, 0.0, 1.0, 1.0)}, "not both"),
        ({"taper": "box"}, "hann, mean"),
        ({"batch": 0}, "at least one window"),
        ({"polygons": ("shp",)}, "gpkg, geojson, parquet; found shp"),
        ({"min_area": "9 feet"}, "square metres"),
        ({"workers": -1}, "from 0"),
        ({"workers": 1, "scheduler": "tcp://a:1"}, "not both"),
    ],
)
def test_options_out_of_range_are_one_line(scene, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        segment(scene, tmp_path / "out", **options)


KILLED = """
import sys
sys.path.insert(0, {root!r})
from tests.scenes.test_segment import segment
segment({scene!r}, {output!r}, workers={workers})
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_any_moment_the_next_run_ends_with_the_same_bytes(scene, tmp_path, workers):
    segment(scene, tmp_path / "whole")
    root = str(Path(jobs.__file__).parents[2])
    script = KILLED.format(root=root, scene=str(scene), output=str(tmp_path / "out"), workers=workers)
    process = subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(tmp_path.glob("out/farm_parts/*_*.json")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    segment(scene, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
