"""Pictures of heatmaps show what they are given, on one scale."""

import numpy as np
import pytest

from rskt_seg.visualization import draw_heatmaps
from tests.visualization.pixels import heat, share_of

BLACK = np.zeros((50, 60, 3), np.uint8)


@pytest.mark.parametrize(("classes", "pages"), [(2, 1), (8, 1), (9, 2), (17, 3)])
def test_there_is_a_page_of_heatmaps_for_every_eight_classes(classes, pages):
    names = [f"class {t}" for t in range(classes)]
    pictures = draw_heatmaps(BLACK, np.full((2, classes, 13, 15), 0.5, np.float32), names)
    assert len(pictures) == pages
    assert all(picture.dtype == np.uint8 and min(picture.shape[:2]) > 100 for picture in pictures)


def test_all_heatmaps_share_the_scale_from_0_to_1():
    maps = np.full((1, 3, 10, 10), 0.25, np.float32)
    maps[:, 2] = 0.75
    (picture,) = draw_heatmaps(BLACK, maps, ["a", "b", "c"])
    low, high = share_of(picture, heat(0.25), 2), share_of(picture, heat(0.75), 2)
    assert low > 0.05 and high > 0.05 and 1.8 < low / high < 2.2


def test_every_page_shows_its_own_classes():
    maps = np.full((1, 10, 10, 10), 0.25, np.float32)
    maps[:, 8:] = 0.75
    first, second = draw_heatmaps(BLACK, maps, [f"class {t}" for t in range(10)])
    assert share_of(first, heat(0.25), 2) > 0.3 and share_of(second, heat(0.75), 2) > 0.3
    assert share_of(first, heat(0.75), 2) < 0.01 and share_of(second, heat(0.25), 2) < 0.01
