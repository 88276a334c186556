"""Pictures of cost maps show every kind of cost for every class."""

import matplotlib
import numpy as np
import pytest

from rskt_seg.visualization import draw_cost_maps
from tests.visualization.pixels import share_of


@pytest.mark.parametrize("classes", [1, 8, 9])
def test_cost_maps_show_high_and_low_costs_of_every_row(classes):
    image = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    maps = {name: np.zeros((classes, 6, 6)) for name in ("CLIP", "DINO", "Fused")}
    for costs in maps.values():
        costs[:, 3:] = 1
    names = [f"class {k}" for k in range(classes)]
    picture = draw_cost_maps(image, maps, names)
    lowest, highest = (matplotlib.colormaps["viridis"](end, bytes=True)[:3] for end in (0.0, 1.0))
    assert share_of(picture, lowest) > 0.05 and share_of(picture, highest) > 0.05
