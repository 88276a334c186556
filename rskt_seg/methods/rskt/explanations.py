"""Explanations of RSKT-Seg: its cost maps."""

from collections.abc import Sequence

import numpy as np

from rskt_seg.inference.strategies import WholeImageStrategy
from rskt_seg.methods.record import Explanation, ExplanationRequest, Picture

_ROW_NAMES = {"clip": "CLIP cost", "dino": "DINO cost", "aggregated": "Fused cost"}


def _compute(strategy: WholeImageStrategy, request: ExplanationRequest) -> dict[str, np.ndarray]:
    return strategy.cost_maps(request.pixels)


def _draw(maps: dict[str, np.ndarray], picture: Picture) -> Sequence[np.ndarray]:
    from rskt_seg.visualization.maps import cost_picture

    rows = [_ROW_NAMES.get(name, name) for name in maps]
    return [cost_picture(picture.image, list(maps.values()), rows, picture.prompts)]


COST_MAPS = Explanation(
    label="cost maps",
    help="RSKT-Seg: draw the cost maps (figure 5 of its paper)",
    compute=_compute,
    draw=_draw,
)
