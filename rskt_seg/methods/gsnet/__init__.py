"""GSNet: CLIP, and a DINO of remote-sensing images."""

from rskt_seg.encoders.text import TextTower
from rskt_seg.inference.strategies import WholeImageStrategy
from rskt_seg.methods.cost_volumes.encoders import CLIP_ROLE, dino_role
from rskt_seg.methods.cost_volumes.explanations import COST_MAPS
from rskt_seg.methods.cost_volumes.references import peer_rows
from rskt_seg.methods.gsnet.checkpoint import GSNetLayout
from rskt_seg.methods.record import Method
from rskt_seg.models.gsnet import GSNet, GSNetSpec

GSNET = Method(
    name="gsnet",
    title="GSNet",
    model=GSNet,
    spec=GSNetSpec,
    presets={
        "gsnet_vitb16": {"encoder": "vitb16"},
        "gsnet_tiny": {"encoder": "tiny", "hidden_dim": 32},
    },
    vocabulary="open",
    strategy=WholeImageStrategy,
    checkpoint=GSNetLayout(),
    encoders={"clip": CLIP_ROLE, "dino": dino_role()},
    explanations={"cost_maps": COST_MAPS},
    published_rows=peer_rows("GSNet", dino="rs-dino"),
    score_kind=lambda model: model.score_kind,
    text_tower=TextTower.of,
    detectron2="rskt_seg.d2.methods.gsnet:GSNET",
)
