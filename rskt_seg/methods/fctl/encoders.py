"""Weights of the encoders of FCtL: VGG16 and MiT, for patches and for each context."""

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.encoders.vgg import VGG
from rskt_seg.methods.layout import OTHER_ENCODER
from rskt_seg.methods.record import EncoderRole
from rskt_seg.models.fctl import FCtL, FCtLSpec
from rskt_seg.models.fctl.fcn import FcnDecoder


def _load_encoder(model: FCtL, state: Mapping[str, Tensor], source: str, *, role: str) -> LoadReport:
    """Load ImageNet weights into the encoder of "local" (patches), "medium" or "large".

    VGG16 weights are those of torchvision. Their classifier becomes the first two layers of the FCN-8s
    decoder for "local", and is dropped for contexts. MiT weights have the layout of SegFormer's authors or
    the older one of the model hub; their classification or segmentation head is dropped.
    """
    encoder = model.encoder if role == "local" else model.context_encoders[role]
    parts: dict[str, nn.Module] = {"encoder": encoder}
    rules = mit_rules()
    if isinstance(encoder, VGG):
        rules = [*_classifier_rules(role == "local"), Rule(r"(?=features\.)", "encoder.")]
        if role == "local" and isinstance(model.decoder, FcnDecoder):
            parts |= {"conv6": model.decoder.conv6, "conv7": model.decoder.conv7}
    report = LoadReport(source)
    converted = convert({key.removeprefix("module."): value for key, value in state.items()}, rules, report)
    load_strict(nn.ModuleDict(parts), converted, source, OTHER_ENCODER)
    return report


def _has_own(context: str) -> Callable[[FCtLSpec], bool]:
    """Return the test whether a model has an encoder for this context alone."""
    return lambda spec: context in spec.contexts and spec.context_encoder != "shared"


def _classifier_rules(used: bool) -> list[Rule]:
    """Return the rules for VGG16's classifier: its linear layers become convolutions, or are dropped."""
    unused = Rule(r"classifier\.", None, "the classifier of ImageNet is not used")
    if not used:
        return [unused]

    def grid(side: int) -> Callable[[Tensor], list[Tensor]]:
        return lambda weight: [weight.unflatten(1, (-1, side, side))]

    return [
        Rule(r"classifier\.0\.weight$", ("conv6.weight",), split=grid(7)),
        Rule(r"classifier\.3\.weight$", ("conv7.weight",), split=grid(1)),
        Rule(r"classifier\.0\.", "conv6."),
        Rule(r"classifier\.3\.", "conv7."),
        unused,
    ]


def mit_rules() -> list[Rule]:
    """Return the rules from MiT's names, of SegFormer's authors or the hub's older ones, to `encoder.*`."""
    rules = [Rule(r"(head|decode_head|classifier)\.", None, "the head is not part of the encoder")]
    for i in range(4):
        stage, hub = f"encoder.stages.{i}.", r"(?:segformer\.)?encoder\."
        block = rf"(?:(?:backbone\.)?block{i + 1}|{hub}block\.{i})\.(\d+)\."
        attention = block + r"(?:attn|attention\.self)\."
        to = stage + r"blocks.\1."
        rules += [
            Rule(rf"(?:backbone\.)?patch_embed{i + 1}\.proj\.", stage + "proj."),
            Rule(rf"(?:backbone\.)?patch_embed{i + 1}\.norm\.", stage + "proj_norm."),
            Rule(rf"{hub}patch_embeddings\.{i}\.proj\.", stage + "proj."),
            Rule(rf"{hub}patch_embeddings\.{i}\.layer_norm\.", stage + "proj_norm."),
            Rule(
                attention + r"kv\.(weight|bias)$",
                (to + r"attn.k.\2", to + r"attn.v.\2"),
                split=lambda packed: packed.chunk(2),
            ),
            Rule(attention + r"q(?:uery)?\.", to + "attn.q."),
            Rule(attention + r"key\.", to + "attn.k."),
            Rule(attention + r"value\.", to + "attn.v."),
            Rule(attention + r"sr\.", to + "attn.reduce."),
            Rule(attention + r"(?:norm|layer_norm)\.", to + "attn.norm."),
            Rule(block + r"(?:attn\.proj|attention\.output\.dense)\.", to + "attn.proj."),
            Rule(block + r"(?:norm|layer_norm_)([12])\.", to + r"norm\2."),
            Rule(block + r"mlp\.(?:fc|dense)([12])\.", to + r"mlp.fc\2."),
            Rule(block + r"mlp\.dwconv\.dwconv\.", to + "mlp.dwconv."),
            Rule(rf"(?:(?:backbone\.)?norm{i + 1}|{hub}layer_norm\.{i})\.", stage + "norm."),
        ]
    return rules


_IMAGENET = "VGG16 of torchvision, or the MiT of the model's encoder, trained on ImageNet"
_STAGE = (
    "the checkpoint of the training stage whose patch encoder becomes that of this context (with "
    f"MODEL.START_FROM), or {_IMAGENET}"
)
ENCODERS = {
    "local": EncoderRole(partial(_load_encoder, role="local"), _IMAGENET, in_start=True),
    "medium": EncoderRole(partial(_load_encoder, role="medium"), _STAGE, used=_has_own("medium")),
    "large": EncoderRole(partial(_load_encoder, role="large"), _STAGE, used=_has_own("large")),
}
