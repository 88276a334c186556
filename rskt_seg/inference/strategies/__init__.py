"""Inference strategies: how a model sees an image of any size. Their fields are options of `Segmenter`."""

from rskt_seg.inference.strategies.multi_scale import MultiScaleOptions, MultiScaleStrategy
from rskt_seg.inference.strategies.patch_context import PatchContextOptions, PatchContextStrategy
from rskt_seg.inference.strategies.strategy import Coarseness, ModelCall, Strategy, channels_first
from rskt_seg.inference.strategies.tiled import TiledOptions, TiledStrategy
from rskt_seg.inference.strategies.whole_image import WholeImageOptions, WholeImageStrategy
from rskt_seg.inference.strategies.windowed import WindowedStrategy

__all__ = [
    "Coarseness",
    "ModelCall",
    "MultiScaleOptions",
    "MultiScaleStrategy",
    "PatchContextOptions",
    "PatchContextStrategy",
    "Strategy",
    "TiledOptions",
    "TiledStrategy",
    "WholeImageOptions",
    "WholeImageStrategy",
    "WindowedStrategy",
    "channels_first",
]
