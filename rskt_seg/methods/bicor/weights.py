"""Published checkpoints of BiCoR-Seg: none in December 2025, so that the row says what to look for."""

from rskt_seg.checkpoints.manifest import MODEL_ROLE, Weights, unknown_facts
from rskt_seg.methods.record import NamedModel

_NONE = "no checkpoint is published"

_ROW = Weights(
    "bicor",
    MODEL_ROLE,
    "bicor.ckpt",
    page="https://github.com/ShiJinghao566/BiCoR-Seg",
    facts="a reading of the repository as of December 2025",
    by_hand="look whether a checkpoint is offered by now (none was in December 2025), or ask the authors",
    unknown=unknown_facts(_NONE, _NONE, "no source at hand states it"),
    note='configs/bicor/*.yaml, or create_model("bicor_convnextb", num_classes) with the options that it '
    "was trained with",
)

MODELS = (
    NamedModel(
        _ROW, "bicor_convnextb", "bicor/loveda.yaml", "aerial images, into the classes of its training"
    ),
)
