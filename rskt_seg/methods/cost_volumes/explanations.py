"""Explanations of models of cost volumes: their cost maps."""

from collections.abc import Sequence

import numpy as np

from rskt_seg.inference.strategies import WholeImageStrategy
from rskt_seg.methods.record import Explanation, ExplanationRequest, Picture
from rskt_seg.visualization import draw_cost_maps

_ROW_NAMES = {"clip": "CLIP cost", "dino": "DINO cost", "aggregated": "Fused cost"}


def _compute(strategy: WholeImageStrategy, request: ExplanationRequest) -> dict[str, np.ndarray]:
    return strategy.cost_maps(request.pixels)


def _draw(maps: dict[str, np.ndarray], picture: Picture) -> Sequence[np.ndarray]:
    rows = {_ROW_NAMES.get(name, name): costs for name, costs in maps.items()}
    return [draw_cost_maps(picture.image, rows, picture.prompts)]


COST_MAPS = Explanation(
    label="cost maps",
    help="models of cost volumes: draw the cost maps (figure 5 of the RSKT-Seg paper)",
    compute=_compute,
    draw=_draw,
)
