"""CLIP zero-shot: segmentation by class names without any training."""

from rskt_seg.models.clip_zeroshot.model import NOTHING_TO_TRAIN, ClipZeroShot, ClipZeroShotOutput
from rskt_seg.models.clip_zeroshot.spec import ClipZeroShotSpec

__all__ = ["NOTHING_TO_TRAIN", "ClipZeroShot", "ClipZeroShotOutput", "ClipZeroShotSpec"]
