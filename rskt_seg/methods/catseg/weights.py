"""Published checkpoints of CAT-Seg."""

from rskt_seg.checkpoints.manifest import MODEL_ROLE, NO_DIGEST, Weights, unknown_facts
from rskt_seg.methods.record import NamedModel


def _published(size: str, label: str, preset: str, file: str) -> NamedModel:
    row = Weights(
        f"catseg-{size}-coco",
        MODEL_ROLE,
        f"catseg_{size}_coco.pth",
        page="https://github.com/cvlab-kaist/CAT-Seg",
        facts="the published code and its README; the files themselves were never at hand",
        by_hand=f"take {file} of {label}",
        unknown=unknown_facts(NO_DIGEST, licence="see the page; no source at hand states it"),
        note=f'configs/peers/catseg_{size}_*.yaml, or create_model("{preset}", num_layers=2). Trained on '
        "natural images (COCO-Stuff, 171 classes)",
    )
    purpose = f"photographs by any class names; {label}, trained on natural images"
    return NamedModel(row, preset, f"peers/catseg_{size}_dlrsd.yaml", purpose, {"num_layers": 2})


MODELS = (
    _published("vitb", "ViT-B/16", "catseg_vitb16", "model_base.pth"),
    _published("vitl", "ViT-L/14@336px", "catseg_vitl14", "model_large.pth"),
)
