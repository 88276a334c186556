"""The walk of docs/own_data.md at its smallest: from a raster and polygons to those of a trained model."""

from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.features import rasterize

from rskt_seg.commands import prepare, segment, train

ROOT = Path(__file__).parents[2]
DESCRIPTION = """
name: town
classes: [buildings, grass, bare soil, water, ship]
images: town.tif
labels: {form: vector, path: truth/town.gpkg, attribute: class_name}
tiles: {size: 96, overlap: 0}
split: {val: 0.25, blocks: 96 px}
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walk")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        from scene_picture import draw_scene
    draw_scene(folder / "town.tif", (240, 320), seed=68)
    draw_scene(folder / "other.tif", (150, 250), seed=7)
    (folder / "town.yaml").write_text(DESCRIPTION)
    assert prepare.main(["own", str(folder / "town.yaml"), str(folder / "data")]) == 0
    return folder


def test_tiles_have_the_classes_of_the_polygons(town):
    with rasterio.open(town / "truth/town.tif") as truth:
        whole = truth.read(1)
        for tile in (town / "data/town").glob("*/labels/*.tif"):
            with rasterio.open(tile) as dataset:
                window = truth.window(*dataset.bounds).round()
                np.testing.assert_array_equal(dataset.read(1), whole[window.toslices()])


@pytest.mark.parametrize("model", ["ovrsis/tiny_dlrsd", "bicor_tiny", "fctl_tiny", "wsss_tiny"])
def test_each_method_draws_polygons_over_another_scene_after_one_command_of_training(town, model, tmp_path):
    data = str(town / "data/town/town.yaml")
    keys = ["SOLVER.MAX_ITER", "1", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0"]
    assert train.main(["--model", model, "--data", data, "--output", str(tmp_path / "run"), *keys]) == 0
    words = ["--vocabulary", "buildings, water"] if model.startswith("ovrsis") else []
    words += ["--window", "96"] if model == "bicor_tiny" else []
    weights = str(tmp_path / "run/model_final.pth")
    flags = ["--weights", weights, *words, "--output", str(tmp_path / "maps")]
    assert segment.main([str(town / "other.tif"), *flags]) == 0
    with rasterio.open(tmp_path / "maps/other_ids.tif") as ids, rasterio.open(town / "other.tif") as scene:
        assert ids.transform == scene.transform and ids.crs == scene.crs
        found, valid, place = ids.read(1), scene.dataset_mask() > 0, ids.transform
    np.testing.assert_array_equal(found != 255, valid)
    meta, _, geometry, values = pyogrio.raw.read(
        tmp_path / "maps/other_polygons.gpkg", layer="other_polygons"
    )
    classes = values[list(meta["fields"]).index("class_id")]
    shapes = zip(shapely.from_wkb(geometry), classes.tolist(), strict=True)
    drawn = rasterize(shapes, found.shape, fill=255, transform=place, dtype="uint8")
    np.testing.assert_array_equal(drawn, found)
