"""Checkpoints of RSKT-Seg: the published ones, and the tiny one of this package."""

from rskt_seg.checkpoints.manifest import MODEL_ROLE, NO_DIGEST, NO_LICENCE, Weights, unknown_facts
from rskt_seg.methods.record import NamedModel


def _published(encoder: str, data: str, label: str, preset: str, layers: int, note: str = "") -> NamedModel:
    config = f"ovrsis/{encoder}_{data.lower()}.yaml"
    row = Weights(
        f"rskt-{encoder}-{data.lower()}",
        MODEL_ROLE,
        f"rskt_{encoder}_{data.lower()}.pth",
        page="https://github.com/LiBingyu01/RSKT-Seg",
        facts="the published code and its reproduction script; the files themselves were never at hand",
        by_hand=f"take the model_final.pth of {label} trained on {data}",
        licence=NO_LICENCE,
        unknown=unknown_facts(NO_DIGEST),
        note=f'configs/{config}, or create_model("{preset}", num_layers={layers}). {note}'.strip(),
    )
    purpose = f"aerial images by any class names; {label}, trained on {data}"
    return NamedModel(row, preset, config, purpose, {"num_layers": layers})


_TINY = NamedModel(
    Weights(
        "tiny",
        MODEL_ROLE,
        "tiny.safetensors",
        page="docs/tiny_model.md",
        facts="made by tools/train_tiny_model.py",
        package="rskt_seg.methods.rskt",
        sha256="39bf08e89e737b23879adc26145ac9855bfe8fde391156218e2c526d405af8c5",
        size=5_211_476,
        licence="Apache-2.0",
        note='configs/ovrsis/tiny_dlrsd.yaml, or create_model("rskt_tiny"). Of generated scenes',
    ),
    "rskt_tiny",
    "ovrsis/tiny_dlrsd.yaml",
    "a try without downloads: generated scenes only, by words of a short list",
)

MODELS = (
    _TINY,
    _published("vitb", "DLRSD", "ViT-B/16", "rskt_vitb16", 5),
    _published("vitb", "iSAID", "ViT-B/16", "rskt_vitb16", 3),
    _published(
        "vitl",
        "DLRSD",
        "ViT-L/14@336px",
        "rskt_vitl14",
        5,
        "Its authors say that the weights of the paper were lost and trained again",
    ),
    _published("vitl", "iSAID", "ViT-L/14@336px", "rskt_vitl14", 2),
)
