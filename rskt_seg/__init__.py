"""Open-vocabulary segmentation of aerial and satellite images.

model = rskt_seg.create_model("rskt_vitb16")
rskt_seg.load_checkpoint(model, "model_final.pth")
result = rskt_seg.Segmenter(model, ["building", "road", "tree"]).predict("scene.tif")
"""

from rskt_seg.checkpoints import LoadReport
from rskt_seg.methods import create_model, load_checkpoint, load_encoder, register_method
from rskt_seg.segmenter import Segmentation, Segmenter

__version__ = "0.1.0"
__all__ = [
    "LoadReport",
    "Segmentation",
    "Segmenter",
    "create_model",
    "load_checkpoint",
    "load_encoder",
    "register_method",
]
