"""The orthophoto of docs/scenes.md."""

import numpy as np
import rasterio
from scene_picture import CLASSES, NO_DATA, draw_scene, read_image

from rskt_seg.vocabulary import parse_vocabulary


def test_the_orthophoto_its_truth_and_its_vocabulary_belong_together(tmp_path):
    draw_scene(tmp_path / "river.tif", (64, 96), seed=68)
    image = read_image(tmp_path / "river.tif")
    with rasterio.open(tmp_path / "river.tif") as scene, rasterio.open(tmp_path / "truth/river.tif") as truth:
        assert scene.crs == truth.crs and scene.transform == truth.transform
        ids = truth.read(1)
    np.testing.assert_array_equal(image[:, :, 3] == 0, ids == NO_DATA)
    assert set(np.unique(ids)) - {NO_DATA} < set(range(len(CLASSES)))
    vocabulary = parse_vocabulary(str(tmp_path / "classes.csv"))
    assert vocabulary.names == tuple(CLASSES)
