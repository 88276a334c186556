"""Checkpoints of the published FCtL code; whether they can be downloaded is not known."""

from collections.abc import Mapping

from rskt_seg.checkpoints.manifest import MODEL_ROLE, NO_DIGEST, Weights, unknown_facts
from rskt_seg.methods.record import NamedModel


def _published(
    data: str, git_branch: str, purpose: str, model: str, contexts: str, options: Mapping[str, object]
) -> NamedModel:
    row = Weights(
        f"fctl-{data}",
        MODEL_ROLE,
        f"fctl_{data}.pth",
        page=f"https://github.com/liqiokkk/FCtL/tree/{git_branch}",
        facts="a reading of the published code; whether a trained checkpoint is offered there is not known",
        by_hand="take the checkpoint of the last stage (all) if one is offered, or ask the authors",
        unknown=unknown_facts(NO_DIGEST, licence="no source at hand states it"),
        note=f"configs/fctl/{data}/4_published.yaml, or create_model({model}); the encoders of its contexts "
        f"are files of their own, the checkpoints of earlier stages: {contexts}",
    )
    return NamedModel(
        row, "fctl_vgg16", f"fctl/{data}/4_published.yaml", purpose, options, {"patch_overlap": 50}
    )


MODELS = (
    _published(
        "inria",
        "main",
        "large aerial images, into not building and building",
        '"fctl_vgg16", num_classes=2',
        "medium and large",
        {},
    ),
    _published(
        "deepglobe",
        "Deepglobe",
        "large satellite images, into the 7 land covers of DeepGlobe",
        '"fctl_vgg16", num_classes=7, branch="deepglobe"',
        "medium, and for large the one trained on whole images",
        {"branch": "deepglobe"},
    ),
)
