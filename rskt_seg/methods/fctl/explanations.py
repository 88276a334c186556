"""Explanations of FCtL: the maps of the contexts of one patch."""

from collections.abc import Sequence

import numpy as np

from rskt_seg.inference.context_maps import PatchContexts, patch_contexts, why_no_maps
from rskt_seg.inference.strategies import PatchContextStrategy
from rskt_seg.methods.record import Explanation, ExplanationRequest, Picture
from rskt_seg.visualization import draw_context_maps


def _compute(strategy: PatchContextStrategy, request: ExplanationRequest) -> PatchContexts:
    return patch_contexts(strategy.model, request.pixels, request.at, strategy.overlap)


def _draw(maps: PatchContexts, picture: Picture) -> Sequence[np.ndarray]:
    return [draw_context_maps(picture.image, maps)]


CONTEXT_MAPS = Explanation(
    label="context maps",
    help="FCtL: draw what the contexts did for one patch (figures 7, 10 and 11 of its paper)",
    compute=_compute,
    draw=_draw,
    unavailable=why_no_maps,
    takes=frozenset({"at"}),
)
