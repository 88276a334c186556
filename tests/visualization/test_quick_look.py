"""One picture of a whole map, with a legend that fits."""

import numpy as np
import pytest

from rskt_seg.legend import Legend, LegendEntry
from rskt_seg.palette import palette
from rskt_seg.visualization import draw_quick_look, quick_look
from rskt_seg.visualization.quick_look import MOST_PIXELS, present_classes
from tests.visualization.pixels import share_of

LEGEND = Legend(
    (
        LegendEntry(3, "water", (10, 20, 250)),
        LegendEntry(7, "road", (250, 20, 10)),
        LegendEntry(300, "x", (0, 200, 90)),
    )
)


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_classes_are_listed_by_their_size_and_only_where_they_occur():
    ids = np.array([[7, 7, 3, 65535]], np.uint16)
    assert [(found.entry.name, found.share) for found in present_classes(ids, LEGEND)] == [
        ("road", pytest.approx(2 / 3)), ("water", pytest.approx(1 / 3))
    ]  # fmt: skip
    assert present_classes(np.full((2, 2), 65535, np.uint16), LEGEND) == []


@pytest.mark.parametrize(("height", "width"), [(30, 40), (900, 2600), (2100, 300), (2500, 8), (8, 2500)])
def test_a_quick_look_has_at_most_2000_pixels_a_side_and_shows_map_and_legend(height, width):
    ids = np.where(np.arange(width) < width / 2, 3, 7).astype(np.uint16)[None].repeat(height, axis=0)
    picture = draw_quick_look(np.full((height, width, 3), 128, np.uint8), ids, LEGEND)
    assert picture.dtype == np.uint8 and max(picture.shape) <= MOST_PIXELS
    for entry in LEGEND.entries[:2]:
        tinted = np.rint(np.array(entry.color) * 0.45 + 128 * 0.55)
        assert share_of(picture, tinted, 1) > 0
        assert share_of(picture[-60:], entry.color) > 0  # its patch in the legend
    assert share_of(picture, LEGEND.entries[2].color) == 0


def test_pixels_without_a_class_and_of_the_background_show_the_image():
    photo = image(40, 900)
    ids = np.full((40, 900), 65535, np.uint16)
    ids[:, 600:] = 7
    assert np.array_equal(draw_quick_look(photo, ids, LEGEND)[:40, :600], photo[:, :600])
    assert np.array_equal(draw_quick_look(photo, ids, LEGEND, background=7)[:40], photo)
    assert np.array_equal(draw_quick_look(photo, np.full_like(ids, 65535), LEGEND)[:40], photo)


def test_many_classes_and_long_names_end_in_a_number_and_dots(monkeypatch):
    texts = []
    patch = quick_look.legend_patch
    monkeypatch.setattr(
        quick_look, "legend_patch", lambda color, text: texts.append(text) or patch(color, text)
    )
    legend = Legend.of([f"{'a name ' * 40}{k}" for k in range(70)], palette(70))
    ids = np.arange(3000).reshape(50, 60) % 70
    picture = draw_quick_look(image(50, 60), ids.astype(np.uint8), legend)
    assert len(texts) == 41 and texts[-1] == "and 30 more" and max(picture.shape) <= MOST_PIXELS
    assert all("…  1.4%" in text for text in texts[:-1])
