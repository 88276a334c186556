"""CLIP zero-shot by the name of the CLIP, which is all that it needs."""

from rskt_seg.checkpoints.manifest import ENCODER_WEIGHTS, by_name
from rskt_seg.methods.record import NamedModel


def _of(weights: str, size: str, label: str) -> NamedModel:
    purpose = f"any image by any class names, coarsely and without training; {label}"
    row = by_name(weights, ENCODER_WEIGHTS)
    return NamedModel(row, f"clip_zeroshot_{size}", f"clip_zeroshot/{size}.yaml", purpose)


MODELS = (
    _of("clip-vitb16", "vitb16", "CLIP ViT-B/16"),
    _of("clip-vitl14-336", "vitl14", "CLIP ViT-L/14@336px"),
    _of("remoteclip-vitb32", "vitb32", "RemoteCLIP ViT-B/32"),
)
