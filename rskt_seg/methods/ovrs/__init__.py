"""OVRS: CAT-Seg with rotated images and guides scaled by the mean of all classes."""

from rskt_seg.encoders.text import TextTower
from rskt_seg.methods.cost_volumes.costs import peer_costs
from rskt_seg.methods.cost_volumes.encoders import CLIP_ROLE
from rskt_seg.methods.cost_volumes.explanations import COST_MAPS
from rskt_seg.methods.cost_volumes.references import PEER_FREE, peer_rows
from rskt_seg.methods.cost_volumes.strategy import LimitedClassesStrategy
from rskt_seg.methods.ovrs.checkpoint import OVRSLayout
from rskt_seg.methods.record import Method
from rskt_seg.models.ovrs import OVRS as OVRSModel
from rskt_seg.models.ovrs import OVRSSpec

OVRS = Method(
    name="ovrs",
    title="OVRS",
    model=OVRSModel,
    spec=OVRSSpec,
    presets={
        "ovrs_vitb16": {"encoder": "vitb16"},
        "ovrs_tiny": {"encoder": "tiny", "hidden_dim": 32},
    },
    vocabulary="open",
    strategy=LimitedClassesStrategy,
    checkpoint=OVRSLayout(),
    encoders={"clip": CLIP_ROLE},
    explanations={"cost_maps": COST_MAPS},
    published_rows=peer_rows("OVRIS"),
    printed_costs=peer_costs("OVRs", (*OVRSLayout.training_only, *PEER_FREE)),
    score_kind=lambda model: model.score_kind,
    text_tower=TextTower.of,
    detectron2="rskt_seg.d2.methods.ovrs:OVRS",
)
