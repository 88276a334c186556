"""CAT-Seg: open-vocabulary segmentation by aggregation of CLIP's cost volume."""

from rskt_seg.encoders.text import TextTower
from rskt_seg.methods.catseg.checkpoint import CATSegLayout
from rskt_seg.methods.catseg.weights import MODELS
from rskt_seg.methods.cost_volumes.costs import peer_costs
from rskt_seg.methods.cost_volumes.encoders import CLIP_ROLE
from rskt_seg.methods.cost_volumes.explanations import COST_MAPS
from rskt_seg.methods.cost_volumes.references import PEER_FREE, peer_rows
from rskt_seg.methods.cost_volumes.strategy import LimitedClassesStrategy
from rskt_seg.methods.record import Method
from rskt_seg.models.catseg import CATSeg, CATSegSpec

CATSEG = Method(
    name="catseg",
    title="CAT-Seg",
    model=CATSeg,
    spec=CATSegSpec,
    presets={
        "catseg_vitb16": {"encoder": "vitb16"},
        "catseg_vitl14": {"encoder": "vitl14"},
        "catseg_tiny": {"encoder": "tiny", "hidden_dim": 32},
    },
    vocabulary="open",
    strategy=LimitedClassesStrategy,
    checkpoint=CATSegLayout(),
    encoders={"clip": CLIP_ROLE},
    explanations={"cost_maps": COST_MAPS},
    published_rows=peer_rows("Cat-Seg"),
    models=MODELS,
    printed_costs=peer_costs("Cat-Seg", (*CATSegLayout.training_only, *PEER_FREE)),
    score_kind=lambda model: model.score_kind,
    text_tower=TextTower.of,
    detectron2="rskt_seg.d2.methods.catseg:CATSEG",
)
