"""RSKT-Seg: open-vocabulary segmentation with CLIP in four rotations, RS-DINO and RemoteCLIP."""

from rskt_seg.encoders.text import TextTower
from rskt_seg.inference.strategies import WholeImageStrategy
from rskt_seg.methods.cost_volumes.explanations import COST_MAPS
from rskt_seg.methods.ovrsis import TABLE_1
from rskt_seg.methods.record import Method
from rskt_seg.methods.rskt.checkpoint import ENCODERS, RSKTLayout
from rskt_seg.methods.rskt.costs import printed_costs
from rskt_seg.methods.rskt.references import published_rows
from rskt_seg.methods.rskt.weights import MODELS
from rskt_seg.models.rskt import RSKT, RSKTSpec

RSKT_SEG = Method(
    name="rskt",
    title="RSKT-Seg",
    model=RSKT,
    spec=RSKTSpec,
    presets={
        "rskt_vitb16": {"encoder": "vitb16"},
        "rskt_vitl14": {"encoder": "vitl14"},
        "rskt_tiny": {"encoder": "tiny", "num_layers": 2, "hidden_dim": 32},
    },
    vocabulary="open",
    strategy=WholeImageStrategy,
    checkpoint=RSKTLayout(),
    encoders=ENCODERS,
    explanations={"cost_maps": COST_MAPS},
    published_rows=published_rows,
    tables=(TABLE_1,),
    models=MODELS,
    printed_costs=printed_costs,
    score_kind=lambda model: model.score_kind,
    text_tower=TextTower.of,
    detectron2="rskt_seg.d2.methods.rskt:RSKT_SEG",
)
