"""CLIP zero-shot: open-vocabulary segmentation by a pretrained CLIP alone, the floor of every table."""

from rskt_seg.encoders.text import TextTower
from rskt_seg.inference.strategies import WindowedStrategy
from rskt_seg.methods.clip_zeroshot.checkpoint import ENCODERS, ClipZeroShotLayout
from rskt_seg.methods.clip_zeroshot.models import MODELS
from rskt_seg.methods.record import Method
from rskt_seg.models.clip_zeroshot import ClipZeroShot, ClipZeroShotSpec

CLIP_ZEROSHOT = Method(
    name="clip_zeroshot",
    title="CLIP zero-shot",
    model=ClipZeroShot,
    spec=ClipZeroShotSpec,
    presets={
        "clip_zeroshot_vitb16": {"encoder": "vitb16"},
        "clip_zeroshot_vitb32": {"encoder": "vitb32"},
        "clip_zeroshot_vitl14": {"encoder": "vitl14"},
        "clip_zeroshot_tiny": {
            "encoder": "tiny",
            "templates": ("A photo of a {} in the scene",),
            "long_side": 96,
            "window": 32,
            "stride": 16,
        },
    },
    vocabulary="open",
    supervision="none",
    strategy=WindowedStrategy,
    checkpoint=ClipZeroShotLayout(),
    encoders=ENCODERS,
    models=MODELS,
    text_tower=TextTower.of,
    detectron2="rskt_seg.d2.methods.clip_zeroshot:CLIP_ZEROSHOT",
)
