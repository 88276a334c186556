"""Laws of contact sheets."""

import numpy as np
import pytest

from rskt_seg.visualization import draw_contact_sheet
from rskt_seg.visualization.scenes import Scene

COLORS = np.array([(255, 0, 0), (0, 0, 255)], np.uint8)


def scene(labels: np.ndarray) -> Scene:
    return Scene("train: a", np.full((*labels.shape, 3), 120, np.uint8), labels, ())


def share_of(picture: np.ndarray, color: tuple[int, int, int]) -> float:
    return float((np.abs(picture.astype(int) - color).max(axis=2) <= 2).mean())


def test_images_stand_beside_themselves_with_their_labels():
    labels = np.zeros((40, 40), np.uint8)
    labels[:, 20:] = 255
    picture = draw_contact_sheet([scene(labels)], ["roof", "sea"], COLORS)
    tinted = np.rint(0.45 * 120 + 0.55 * COLORS[0]).astype(int)
    plain, red = share_of(picture, (120, 120, 120)), share_of(picture, tuple(tinted.tolist()))
    assert plain == pytest.approx(3 * red, rel=0.15)  # the image, and the half of the other without a class
    assert share_of(picture, (0, 0, 255)) == 0  # classes that do not occur are not in the legend


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_and_sizes_of_images_fit(count):
    labels = [np.ones((10 + 30 * k, 40), np.uint8) for k in range(count)]
    picture = draw_contact_sheet([scene(each) for each in labels], ["roof", "sea"], COLORS)
    assert picture.ndim == 3 and share_of(picture, (0, 0, 255)) > 0
