"""Explanations of BiCoR-Seg: the heatmaps of its class embeddings."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rskt_seg.inference.strategies import TiledStrategy, channels_first
from rskt_seg.inference.tiles import tiled
from rskt_seg.methods.record import Explanation, ExplanationRequest, Picture
from rskt_seg.models.bicor import BiCoR
from rskt_seg.models.bicor.decoder import STRIDE
from rskt_seg.visualization import draw_heatmaps


def _unavailable(model: BiCoR) -> str | None:
    crossed = model.spec.interaction == "cross_attention"
    return "this model has no class heatmaps (interaction='cross_attention')" if crossed else None


def _compute(strategy: TiledStrategy, request: ExplanationRequest) -> np.ndarray:
    """Return the class heatmaps of each of the L layers, (L, T, h, w) float32 in 0..1, h = ceil(H / 4)."""

    def predict(images: Tensor) -> Tensor:
        layers = strategy.model(images.to(strategy.model.device), padding=strategy.padding).heatmaps
        return torch.cat(layers, dim=1).sigmoid()

    image = channels_first(request.pixels)
    maps = tiled(predict, image, tile=strategy.tile, overlap=strategy.overlap, stride=STRIDE)
    return maps.unflatten(0, (-1, len(strategy.vocabulary.names))).numpy()


def _draw(maps: np.ndarray, picture: Picture) -> Sequence[np.ndarray]:
    return draw_heatmaps(picture.image, maps, picture.prompts)


HEATMAPS = Explanation(
    label="heatmaps",
    help="BiCoR-Seg: draw the class heatmaps (figure 5 of its paper)",
    compute=_compute,
    draw=_draw,
    unavailable=_unavailable,
)
