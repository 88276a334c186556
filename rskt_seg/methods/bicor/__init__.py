"""BiCoR-Seg: closed-set segmentation with class embeddings and pixel features that refine each other."""

from rskt_seg.inference.strategies import TiledStrategy
from rskt_seg.methods.bicor.checkpoint import ENCODERS, BiCoRLayout
from rskt_seg.methods.bicor.costs import printed_costs
from rskt_seg.methods.bicor.explanations import HEATMAPS
from rskt_seg.methods.bicor.references import reference
from rskt_seg.methods.bicor.weights import MODELS
from rskt_seg.methods.record import Method
from rskt_seg.models.bicor import BiCoR, BiCoRSpec

BICOR = Method(
    name="bicor",
    title="BiCoR-Seg",
    model=BiCoR,
    spec=BiCoRSpec,
    presets={
        "bicor_convnextb": {"encoder": "convnextb"},
        "bicor_tiny": {"encoder": "tiny", "width": 64, "stochastic_depth": 0.0},
    },
    vocabulary="closed",
    strategy=TiledStrategy,
    checkpoint=BiCoRLayout(),
    encoders=ENCODERS,
    explanations={"heatmaps": HEATMAPS},
    reference=reference,
    models=MODELS,
    printed_costs=printed_costs,
    detectron2="rskt_seg.d2.methods.bicor:BICOR",
)
