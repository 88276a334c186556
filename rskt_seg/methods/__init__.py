"""Methods: one record each, which is all that generic code asks about them.

`register_method` makes another one known (docs/extending.md); installed packages offer theirs by the
entry-point group `rskt_seg.methods`.
"""

from rskt_seg.methods.create import create_model, find_preset, model_names
from rskt_seg.methods.layout import CheckpointLayout
from rskt_seg.methods.load import load_checkpoint, load_encoder
from rskt_seg.methods.named import ListedModel, list_models
from rskt_seg.methods.optimize import optimize_for_inference
from rskt_seg.methods.record import (
    EncoderRole,
    Explanation,
    ExplanationRequest,
    Method,
    NamedModel,
    Picture,
)
from rskt_seg.methods.registry import method_of, register_method, registered_methods, unregister_method
from rskt_seg.methods.trained import TrainedModel, load

__all__ = [
    "CheckpointLayout",
    "EncoderRole",
    "Explanation",
    "ExplanationRequest",
    "ListedModel",
    "Method",
    "NamedModel",
    "Picture",
    "TrainedModel",
    "create_model",
    "find_preset",
    "list_models",
    "load",
    "load_checkpoint",
    "load_encoder",
    "method_of",
    "model_names",
    "optimize_for_inference",
    "register_method",
    "registered_methods",
    "unregister_method",
]
