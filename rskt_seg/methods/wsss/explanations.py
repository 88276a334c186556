"""Explanations of the weakly supervised method: the stages of its class activation maps (CAMs)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rskt_seg.inference.cams import TileCams, foreground_named, tile_cams
from rskt_seg.inference.strategies import MultiScaleStrategy
from rskt_seg.methods.record import Explanation, ExplanationRequest, Picture
from rskt_seg.models.wsss import PriorWSSS
from rskt_seg.visualization import draw_cams

_CHOSEN_BY = {
    "request": "--present",
    "truth": "classes of the ground truth in this tile; --present names others",
    "prediction": "classes predicted in this tile; --present names others, --gt gives the true ones",
}


def _compute(strategy: MultiScaleStrategy, request: ExplanationRequest) -> TileCams:
    view = tile_cams(
        strategy.model,
        strategy.score_map,
        request.pixels,
        request.valid,
        tile=strategy.tile,
        present=request.present,
        at=request.at,
        truth=request.truth,
    )
    return replace(view, pixels=request.original[view.window.slices])


def _draw(view: TileCams, picture: Picture) -> Sequence[np.ndarray]:
    return draw_cams(view, picture.colors)


def _check(model: PriorWSSS, present: Sequence[str] | None) -> None:
    if present is not None:
        foreground_named(model.foreground, present)


def _report(view: TileCams) -> tuple[str, bool]:
    if not view.valid.any():
        return "the tile of the CAMs is all nodata; --at chooses another", True
    return f"CAMs of {', '.join(view.present) or 'no class'} ({_CHOSEN_BY[view.chosen_by]})", False


CAMS = Explanation(
    label="CAMs",
    help="weakly supervised: draw the class activation maps of one tile, from CLIP's to the pseudo label",
    compute=_compute,
    draw=_draw,
    check=_check,
    report=_report,
    takes=frozenset({"at", "present", "truth"}),
)
