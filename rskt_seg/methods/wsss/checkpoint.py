"""Checkpoints of the weakly supervised method and weights of its encoders."""

import logging
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from rskt_seg.checkpoints import clip, dino, dinov2
from rskt_seg.checkpoints.files import WeightFile
from rskt_seg.checkpoints.rules import LoadReport, convert, load_strict
from rskt_seg.methods.layout import OTHER_ENCODER, CheckpointLayout
from rskt_seg.methods.record import EncoderRole
from rskt_seg.models.wsss import PriorWSSS
from rskt_seg.models.wsss.classes import find_channels

logger = logging.getLogger(__name__)
_TEXTS = "text_enriched"
"""The class texts, in the state of the model."""


class PriorWSSSLayout(CheckpointLayout):
    """Checkpoints of this package, which may leave out frozen encoders. There is no published code."""

    # Descriptions are among them because the texts of a trained model are part of its state.
    training_only = (
        "descriptions",
        "restarts",
        "dropout",
        "seed_percent",
        "momentum",
        "seg_loss",
        "seg_weight",
        "affinity_weight",
        "radius",
    )
    output_key = "decoder.classifier.weight"
    class_axes: ClassVar[Mapping[str, int]] = {
        output_key: 1,
        "decoder.classifier.bias": 1,
        _TEXTS: 1,
        "vpe.prototypes": 1,
        "vpe.ready": 1,
    }
    class_options = ("num_classes", "background")

    def class_rows(
        self, name: str, class_names: Sequence[str], options: Mapping[str, object]
    ) -> tuple[str, ...]:
        """See `CheckpointLayout.class_rows`: only the classifier has a row for the background."""
        if name == _TEXTS:  # they depend on one another, and `encode_classes` computes them again
            return ()
        if name.startswith("vpe."):
            return find_channels(class_names, str(options["background"])).foreground
        return tuple(class_names)

    def check_stated(self, model: PriorWSSS, weights: WeightFile, source: str) -> None:
        """See `CheckpointLayout.check_stated`: other descriptions are a warning, for the texts are stored."""
        asked = model.spec.descriptions
        stated = (weights.options or {}).get("descriptions", asked)
        if asked and asked != stated:
            logger.warning(
                "%s contains the class texts that it was trained with, from the descriptions %s; those of "
                "this model, %s, are not used: train again to change them",
                source,
                stated or "of the package",
                asked,
            )


def _load_clip(model: PriorWSSS, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    load_strict(model.clip, convert(clip.normalise_names(state), clip.RULES, report), source, OTHER_ENCODER)
    model.text_enriched.zero_()  # they are of another CLIP; `encode_classes` computes them again
    return report


def _load_dinov2(model: PriorWSSS, state: Mapping[str, Tensor], source: str) -> LoadReport:
    dinov2.check_layout(state, source)
    report = LoadReport(source)
    converted = convert(dino.normalise_names(state), dinov2.RULES, report)
    load_strict(model.dinov2, converted, source, OTHER_ENCODER)
    return report


ENCODERS = {
    "clip": EncoderRole(
        _load_clip,
        "CLIP: OpenAI's ViT-B-16.pt, or an open_clip name such as ViT-B-16/openai, which is fetched",
        named=True,
        frozen=True,
    ),
    "dinov2": EncoderRole(
        _load_dinov2,
        "DINOv2: dinov2_vitb14_pretrain.pth or dinov2_vits14_pretrain.pth from the DINOv2 authors "
        "(facebookresearch/dinov2)",
        frozen=True,
    ),
}
