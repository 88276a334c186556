"""The kills of scenes: that the run which is killed is one that ends by itself."""

import numpy as np
import rasterio
import scene_campaign


def test_the_run_that_is_killed_ends_with_a_map_of_its_scene(tmp_path):
    scene = scene_campaign.write_scene(tmp_path / "scene.tif", 100, 130, seed=0)
    scene_campaign.segment(scene, tmp_path / "maps", workers=0)
    with rasterio.open(scene) as dataset, rasterio.open(tmp_path / "maps" / "scene_ids.tif") as found:
        pixels, ids = dataset.read(), found.read(1)
    assert np.array_equal(ids, np.where((pixels == 0).all(axis=0), 255, pixels.argmax(axis=0)))
