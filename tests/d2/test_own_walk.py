"""The walk of docs/own_data.md at its smallest: from a raster and polygons to those of a trained model."""

from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import torch
from rasterio.features import rasterize

from rskt_seg.checkpoints.files import read_weights
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


def test_a_training_on_windows_ends_with_the_weights_of_one_on_tiles(town, tmp_path):
    states = []
    for number, data in enumerate((town / "data/town/town.yaml", town / "town.yaml")):
        keys = ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "SEED", "1", "DATASETS.TEST", "()"]
        flags = ["--model", "fctl_tiny", "--data", str(data), "--output", str(tmp_path / f"{number}")]
        assert train.main([*flags, *keys, "DATALOADER.NUM_WORKERS", "0"]) == 0
        states.append(read_weights(tmp_path / f"{number}/model_final.pth").state)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(each, states[1][key]) for key, each in states[0].items())
    assert "read directly from 1 image" in (tmp_path / "1/log.txt").read_text()
