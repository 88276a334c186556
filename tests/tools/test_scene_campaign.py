"""The scene campaign's stub model and scene are ones that the package segments."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

ROOT = Path(__file__).parents[2]


@pytest.fixture
def campaign(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import scene_campaign

    return scene_campaign


def test_its_scene_is_segmented_by_the_brightest_channel(campaign, tmp_path):
    scene = campaign.write_scene(tmp_path / "scene.tif", 120, 150, seed=0, cell=6)
    campaign.segment(scene, tmp_path / "maps", workers=0)
    (found,) = (tmp_path / "maps").rglob("*_ids.tif")
    with rasterio.open(scene) as image, rasterio.open(found) as ids:
        pixels, labels = image.read(), ids.read(1)
    np.testing.assert_array_equal(labels == 255, (pixels == 0).all(axis=0))
    assert (labels[labels < 255] == pixels.argmax(axis=0)[labels < 255]).mean() > 0.98  # small areas merge
