"""Checkpoints of BiCoR-Seg and weights of its encoder.

Maps the layout of the published code (Lightning `.ckpt`) to the names of `rskt_seg.models.bicor.BiCoR`, and
ConvNeXt weights of torchvision and timm to those of its encoder.
"""

from collections.abc import Mapping, Sequence, Set
from typing import ClassVar

from torch import Tensor

from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.methods.layout import OTHER_ENCODER, CheckpointLayout
from rskt_seg.methods.record import EncoderRole
from rskt_seg.models.bicor import BiCoR

_NET = r"(net\.)?"
_LAYER = _NET + r"decoder\.bicor_stack\.layers\.(\d+)\."
_TABLE = "decoder.class_embeddings"
_PARTS = {
    "dict_to_feat": "query",
    "gate_mlp": "gate",
    "cand_mlp": "candidate",
    "gamma_proj": "gamma",
    "beta_proj": "beta",
    "feat_ln": "pixel_norm",
    "dict_ln": "class_norm",
}


def _as_matrix(weight: Tensor) -> tuple[Tensor]:
    return (weight.flatten(1),)


class BiCoRLayout(CheckpointLayout):
    """Checkpoints of this package and of the published code."""

    # Whether there is an auxiliary head shows in the weights.
    training_only = (
        "stochastic_depth",
        "label_smoothing",
        "mask_ignored",
        "padding",
        "aux_weight",
        "heat_weight",
        "heat_loss",
        "fisher_weight",
        "final_fisher_weight",
        "between",
    )
    output_key = "decoder.head.classifier.weight"
    class_axes: ClassVar[Mapping[str, int]] = {_TABLE: 1}

    def is_published(self, keys: Set[str]) -> bool:
        """See `CheckpointLayout.is_published`. Lightning's prefix `net.` is optional."""
        return any(key.removeprefix("net.").startswith("decoder.bicor_stack.") for key in keys)

    def published_rules(self, model: BiCoR, state: Mapping[str, Tensor], source: str) -> Sequence[Rule]:
        """See `CheckpointLayout.published_rules`."""
        return rules_for(model)


def rules_for(model: BiCoR) -> list[Rule]:
    """Return the rules from the published names to those of a model.

    The auxiliary head of the checkpoint is dropped if the model has none.
    """
    auxiliary = any(key.endswith("head.auxiliary.weight") for key in model.state_dict())
    unused = "the auxiliary head serves training only, and this model has none (aux_weight=0)"
    static = _NET + r"decoder\.static_classifier\."
    return [
        Rule(_NET + r"encoder\.0\.", "convnext.features."),
        Rule(_NET + r"proj_layers\.(\d)\.proj\.", r"aggregation.project.\2."),
        Rule(_NET + r"feature_aggregator\.weight$", "aggregation.mix.weight", split=_as_matrix),
        Rule(_NET + r"decoder\.class_dict\.class_embed\.weight$", _TABLE),
        *(Rule(rf"{_LAYER}{old}\.", rf"decoder.layers.\2.{new}.") for old, new in _PARTS.items()),
        Rule(_LAYER + r"feat_to_dict\.weight$", r"decoder.layers.\2.value.weight", split=_as_matrix),
        Rule(_NET + r"decoder\.upsampler\.1\.", "decoder.head.norm."),
        Rule(_NET + r"decoder\.classifier_proj\.", "decoder.head.classifier."),
        Rule(static, "decoder.head.auxiliary.") if auxiliary else Rule(static, None, unused),
    ]


_CLASSIFIER = "the ImageNet classifier is not part of the encoder"
_TIMM_PARTS = {"conv_dw": 0, "norm": 2, "mlp.fc1": 3, "mlp.fc2": 5}


def _timm_stage(stage: int) -> list[Rule]:
    """Return the rules from timm's names to torchvision's for one of the four stages.

    timm counts stages; torchvision counts the entries of a sequence with downsampling layers in between.
    """
    blocks, old = f"features.{2 * stage + 1}.", rf"stages\.{stage}\."
    return [
        Rule(rf"{old}downsample\.", f"features.{2 * stage}."),
        Rule(
            rf"{old}blocks\.(\d+)\.gamma$",
            blocks + r"\1.layer_scale",
            split=lambda scale: (scale[:, None, None],),
        ),
        *(
            Rule(rf"{old}blocks\.(\d+)\.{name}\.", rf"{blocks}\1.block.{number}.")
            for name, number in _TIMM_PARTS.items()
        ),
    ]


ENCODER_RULES = [
    Rule(r"classifier\.", None, _CLASSIFIER),
    Rule(r"head\.(norm|fc)\.", None, _CLASSIFIER),
    Rule(r"stem\.", "features.0."),
    *(rule for stage in range(4) for rule in _timm_stage(stage)),
]
"""Names of torchvision (`features.*`, kept) or timm -> names inside the encoder."""


def _load_convnext(model: BiCoR, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    load_strict(model.convnext, convert(state, ENCODER_RULES, report), source, OTHER_ENCODER)
    return report


ENCODERS = {"convnext": EncoderRole(_load_convnext, "ConvNeXt-B of torchvision or timm, trained on ImageNet")}
