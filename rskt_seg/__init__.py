"""Open-vocabulary segmentation of aerial and satellite images.

model = rskt_seg.load("model_final.pth")  # or by name, rskt_seg.load("tiny"): see rskt_seg.list_models()
result = rskt_seg.Segmenter(model, ["building", "road", "tree"]).predict("scene.tif")
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "LoadReport",
    "Segmentation",
    "Segmenter",
    "TrainedModel",
    "create_model",
    "list_models",
    "load",
    "load_checkpoint",
    "load_encoder",
    "optimize_for_inference",
    "register_method",
]

if TYPE_CHECKING:
    from rskt_seg.checkpoints.rules import LoadReport
    from rskt_seg.methods import (
        TrainedModel,
        create_model,
        list_models,
        load,
        load_checkpoint,
        load_encoder,
        optimize_for_inference,
        register_method,
    )
    from rskt_seg.segmentation import Segmentation
    from rskt_seg.segmenter import Segmenter
else:
    # Imported on first use, so that `rskt-seg --help` does not wait for torch.
    _MODULES = {
        "rskt_seg.checkpoints.rules": ("LoadReport",),
        "rskt_seg.methods": (
            "TrainedModel",
            "create_model",
            "list_models",
            "load",
            "load_checkpoint",
            "load_encoder",
            "optimize_for_inference",
            "register_method",
        ),
        "rskt_seg.segmentation": ("Segmentation",),
        "rskt_seg.segmenter": ("Segmenter",),
    }

    def __getattr__(name: str) -> object:
        for module, names in _MODULES.items():
            if name in names:
                return getattr(import_module(module), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
