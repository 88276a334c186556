"""Published checkpoints of RSKT-Seg."""

from rskt_seg.checkpoints.manifest import MODEL_ROLE, NO_DIGEST, NO_LICENCE, Weights, unknown_facts


def _published(encoder: str, data: str, label: str, model: str, note: str = "") -> Weights:
    return Weights(
        f"rskt-{encoder}-{data}",
        MODEL_ROLE,
        f"rskt_{encoder}_{data}.pth",
        page="https://github.com/LiBingyu01/RSKT-Seg",
        facts="the published code and its reproduction script; the files themselves were never at hand",
        by_hand=f"take the model_final.pth of {label}",
        licence=NO_LICENCE,
        unknown=unknown_facts(NO_DIGEST),
        note=f"configs/ovrsis/{encoder}_{data}.yaml, or create_model({model}). {note}".strip(),
    )


WEIGHTS = (
    _published("vitb", "dlrsd", "ViT-B/16 trained on DLRSD", '"rskt_vitb16", num_layers=5'),
    _published("vitb", "isaid", "ViT-B/16 trained on iSAID", '"rskt_vitb16", num_layers=3'),
    _published(
        "vitl",
        "dlrsd",
        "ViT-L/14@336px trained on DLRSD",
        '"rskt_vitl14", num_layers=5',
        "Its authors say that the weights of the paper were lost and trained again",
    ),
    _published("vitl", "isaid", "ViT-L/14@336px trained on iSAID", '"rskt_vitl14", num_layers=2'),
)
