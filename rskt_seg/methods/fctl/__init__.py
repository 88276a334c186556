"""FCtL: closed-set segmentation of very large images, in patches with larger context crops."""

from rskt_seg.inference.strategies import PatchContextStrategy
from rskt_seg.methods.fctl.checkpoint import FCtLLayout
from rskt_seg.methods.fctl.costs import printed_costs
from rskt_seg.methods.fctl.encoders import ENCODERS
from rskt_seg.methods.fctl.explanations import CONTEXT_MAPS
from rskt_seg.methods.fctl.references import reference
from rskt_seg.methods.fctl.weights import MODELS
from rskt_seg.methods.record import Method
from rskt_seg.models.fctl import FCtL, FCtLSpec

FCTL = Method(
    name="fctl",
    title="FCtL",
    model=FCtL,
    spec=FCtLSpec,
    presets={
        "fctl_vgg16": {"encoder": "vgg16"},
        "fctl_mitb2": {"encoder": "mitb2"},
        "fctl_mitb5": {"encoder": "mitb5"},
        "fctl_tiny": {"encoder": "vgg_tiny", "patch_side": 128, "input_side": 128},
    },
    vocabulary="closed",
    strategy=PatchContextStrategy,
    checkpoint=FCtLLayout(),
    encoders=ENCODERS,
    explanations={"context_maps": CONTEXT_MAPS},
    reference=reference,
    models=MODELS,
    printed_costs=printed_costs,
    detectron2="rskt_seg.d2.methods.fctl:FCTL",
)
