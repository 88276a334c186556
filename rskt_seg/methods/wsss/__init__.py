"""The weakly supervised method: closed sets learned from image-level labels, with frozen CLIP and DINOv2."""

from collections.abc import Mapping, Sequence

from rskt_seg.inference.strategies import MultiScaleStrategy
from rskt_seg.methods.record import Method
from rskt_seg.methods.wsss.checkpoint import ENCODERS, PriorWSSSLayout
from rskt_seg.methods.wsss.costs import printed_costs
from rskt_seg.methods.wsss.explanations import CAMS
from rskt_seg.methods.wsss.references import reference
from rskt_seg.models.wsss import PriorWSSS, PriorWSSSSpec, with_background


def _with_background(names: Sequence[str], options: Mapping[str, object]) -> tuple[str, ...]:
    return with_background(names, str(options.get("background", PriorWSSSSpec.background)))


PRIOR_WSSS = Method(
    name="wsss",
    title="prior WSSS",
    model=PriorWSSS,
    spec=PriorWSSSSpec,
    presets={
        "prior_wsss_vitb16": {"encoder": "vitb16"},
        "prior_wsss_tiny": {
            "encoder": "tiny",
            "dino": "tiny",
            "dim": 64,
            "clip_levels": (1, 2, 3),
            "first_layer": 3,
            "template": "A photo of a {} in the scene",
            "descriptions": "tiny",
        },
    },
    vocabulary="closed",
    supervision="image labels",
    strategy=MultiScaleStrategy,
    checkpoint=PriorWSSSLayout(),
    encoders=ENCODERS,
    explanations={"cams": CAMS},
    needs_names=True,
    complete_names=_with_background,
    reference=reference,
    printed_costs=printed_costs,
    detectron2="rskt_seg.d2.methods.wsss:PRIOR_WSSS",
)
