"""Laws of whole runs: how much memory a scene takes, how often the model is called, and valid outputs."""

import tracemalloc

import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg.geo import stretch
from rskt_seg.scenes.job import SceneJob
from rskt_seg.scenes.region import BLOCK
from rskt_seg.windows import Window
from tests.geo.rasters import UTM, noise, write_tiff
from tests.scenes.scenes import maps_of, strategy, task
from tests.scenes.scenes import scene as image_of
from tests.scenes.test_segment import segment
from tests.stub_models import Colours

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)
TILED = {"tiled": True, "blockxsize": 512, "blockysize": 512, "photometric": "rgb"}


def test_memory_does_not_grow_with_the_scene(tmp_path, monkeypatch):
    # An overview that is small beside a chunk, as it is beside one that fills the memory.
    monkeypatch.setattr(stretch, "_SAMPLED", 2**14)
    peaks = {}
    for height in (512, 1024, 4096):  # the first imports what is needed
        scene = write_tiff(tmp_path / f"{height}.tif", noise(3, 512, 512).repeat(height // 512, 1), **TILED)
        tracemalloc.start()
        try:
            segment(scene, tmp_path / "out", Colours(cells=12), window=480)
            peaks[height] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peaks[4096] < 1.1 * peaks[1024]


@pytest.mark.parametrize(
    ("overlap", "chunk"), [(0.0, BLOCK), (1 / 3, BLOCK), (1 / 3, 2 * BLOCK), (0.75, BLOCK)]
)
def test_each_window_is_seen_once_by_each_chunk_that_it_touches(overlap, chunk):
    seen, image = strategy(Colours(cells=12)), image_of(700, 1100)
    given = task(seen, image, window=240, overlap=overlap)
    maps_of(seen, given, chunk=chunk)
    cell = given.plan.cell
    whole = given.plan.windows(given.plan.cells)
    calls = 0
    for place in map(given.plan.pixels, whole):
        # A pixel is interpolated between cells, so that a window reaches a cell further than its own pixels.
        rows = {max(row, 0) // chunk for row in (place.top - cell, min(place.bottom + cell, 700) - 1)}
        columns = {max(c, 0) // chunk for c in (place.left - cell, min(place.right + cell, 1100) - 1)}
        calls += len(rows) * len(columns)
    assert len(seen.model.calls) == calls
    assert calls >= len(whole)


def test_of_one_chunk_every_window_is_seen_once():
    seen, image = strategy(Colours(cells=12)), image_of(300, 410)
    given = task(seen, image, window=96)
    maps_of(seen, given)
    assert len(seen.model.calls) == len(given.plan.windows(given.plan.cells))
    assert len(SceneJob(given, Window(0, 0, 300, 410), 4096, None).chunks) == 1


def test_rasters_are_valid_cloud_optimized_geotiffs(tmp_path):
    scene = write_tiff(tmp_path / "farm.tif", noise(3, 1200, 1400), nodata=0, photometric="rgb", **UTM)
    found = segment(scene, tmp_path / "out", Colours(cells=12), window=480, scores=True)
    for kind in ("ids", "confidence", "scores"):
        with rasterio.open(found.files[kind]) as dataset:
            assert dataset.driver == "GTiff"
            assert dataset.is_tiled
            assert set(dataset.block_shapes) == {(512, 512)}
            levels = dataset.overviews(1)
            assert levels == [2, 4]
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            # The directories lie before all pixels, those of overviews after the main one; the pixels of
            # overviews before those of the main image, so that a reader gets them with the header.
            places = [
                (
                    int(dataset.get_tag_item("IFD_OFFSET", "TIFF", bidx=1, ovr=level)),
                    int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1, ovr=level)),
                )
                for level in (None, *range(len(levels)))
            ]
        directories, pixels = zip(*places, strict=True)
        assert list(directories) == sorted(directories)
        assert list(pixels) == sorted(pixels, reverse=True)
        assert max(directories) < min(pixels)
