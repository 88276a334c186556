"""Pictures of contexts show what they are given, and leave out what a model lacks."""

from dataclasses import replace

import numpy as np

from rskt_seg.inference.context_maps import PatchContext, PatchContexts
from rskt_seg.visualization import draw_context_maps
from rskt_seg.windows import Window
from tests.visualization.pixels import heat, share_of

BLACK = np.zeros((50, 60, 3), np.uint8)


def contexts(weight=0.5, attention=0.2):
    pixels = np.zeros((32, 32, 3), np.uint8)
    window = Window(10, 12, 30, 30)
    attended, weighed = np.full((4, 4), attention, np.float32), np.full((4, 4), weight, np.float32)
    local = PatchContext(window, pixels, attended, weighed)
    around = PatchContext(Window(-5, -3, 60, 60), pixels, attended, weighed)
    enhancement = {3: np.full((4, 4), 0.1, np.float32), 5: np.full((4, 4), 0.4, np.float32)}
    return PatchContexts(
        window, (20, 25), (1, 1), (-0.5, 1.5), {"local": local, "medium": around}, enhancement
    )


def test_a_context_picture_boxes_the_patch_and_its_contexts():
    picture = draw_context_maps(BLACK, contexts())
    for color in ((255, 212, 0), (0, 213, 255)):
        assert share_of(picture, color) > 1e-3
    assert share_of(picture, (255, 79, 216)) == 0  # there is no large context


def test_each_row_of_a_context_picture_has_a_scale_of_its_own():
    picture = draw_context_maps(BLACK, contexts())
    top, quarter = share_of(picture, heat(1.0), 2), share_of(picture, heat(0.25), 2)
    # At the top: two maps of attention, two of weights, one of enhancement; a quarter of it: the other.
    assert 3.5 < top / quarter < 6.5


def test_rows_that_a_model_lacks_are_left_out():
    maps = contexts()
    full = draw_context_maps(BLACK, maps)
    fewer = draw_context_maps(BLACK, replace(maps, enhancement={}))
    bare = {name: replace(view, weight=None) for name, view in maps.contexts.items()}
    least = draw_context_maps(BLACK, replace(maps, enhancement={}, contexts=bare))
    assert full.shape[0] > 1.2 * fewer.shape[0] > 1.2 * 1.2 * least.shape[0]
