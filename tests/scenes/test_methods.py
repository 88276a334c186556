"""Scenes through the models of all methods."""

import numpy as np
import pytest
import torch

from rskt_seg import Segmenter, create_model
from rskt_seg.geo.arrays import as_image
from rskt_seg.inference.strategies import WindowedStrategy
from rskt_seg.methods import find_preset, model_names
from rskt_seg.scenes import region
from rskt_seg.windows import Window
from tests.geo.rasters import noise
from tests.scenes.scenes import maps_of, task

WORDS = ["water", "road", "building"]
CLASSES = ["background", "water", "road", "building"]
TINY = [name for name in model_names() if "tiny" in name]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks so small that small scenes have many."""
    monkeypatch.setattr(region, "BLOCK", 32)


@pytest.fixture(scope="module", params=TINY)
def seen(request):
    """A segmenter of each method, with windows so small that small scenes have several."""
    torch.manual_seed(0)
    if not find_preset(request.param)[0].is_closed:
        return Segmenter(create_model(request.param), WORDS, precision="fp32")
    model = create_model(request.param, class_names=CLASSES)
    segmenter = Segmenter(model, precision="fp32")
    return Segmenter(model, precision="fp32", tile=64) if "tile" in segmenter.options else segmenter


def image(height, width):
    """Smooth noise that is all valid."""
    smooth = np.kron(noise(height // 8 + 1, width // 8 + 1, 3), np.ones((8, 8, 1), np.uint8))
    return smooth[:height, :width]


def test_chunks_and_parts_have_the_bytes_of_the_whole(seen):
    side = seen.strategy.plan_scene((9999, 9999), None, None, "hann").side
    scene = as_image(image(side * 3 // 2, side * 5 // 4))
    given = task(seen.strategy, scene, window=None, overlap=0.25)
    whole = maps_of(seen.strategy, given)
    chunks = maps_of(seen.strategy, given, chunk=64)
    area = Window(13, 9, side // 2, side // 3)
    part = maps_of(seen.strategy, given, area)
    for number in (0, 1):
        np.testing.assert_array_equal(chunks[number], whole[number])
        np.testing.assert_array_equal(part[number], whole[number][area.slices])
    assert len(np.unique(whole[1])) > 1


def test_a_scene_of_one_window_is_segmented_as_a_picture(seen):
    side = seen.strategy.plan_scene((9999, 9999), None, None, "hann").side
    pixels = image(side, side)
    ids, confidence, *_ = maps_of(seen.strategy, task(seen.strategy, as_image(pixels), window=None))
    if "short_side" in seen.options:  # else it is resized before the model resizes it
        seen = Segmenter(seen.model, WORDS, short_side=side)
    picture = seen.predict(pixels)
    difference = np.abs(confidence / 254 - picture.scores.max(axis=0))
    if isinstance(seen.strategy, WindowedStrategy):  # whose cells are means of 4 x 4 px
        assert (ids == picture.labels).mean() > 0.8
        assert difference.mean() < 0.02
    else:
        assert (ids == picture.labels).mean() > 0.999
        assert difference.max() < 0.5 / 254 + 1e-5
