"""The layouts of the published FCtL checkpoints, VGG16 and MiT weights -> the names of the FCtL model.

A trained FCtL is three published files: the model with its patch encoder, and one file for the encoder of
each context (the earlier training stages). Every file carries VGG16 under several names and with a
classifier that nothing reads.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence, Set

import torch
from torch import Tensor, nn

from rskt_seg.checkpoints.files import Source, WeightFile, read_source
from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.encoders.vgg import VGG
from rskt_seg.errors import CheckpointError
from rskt_seg.methods.layout import OTHER_ENCODER, PREFIX, CheckpointLayout
from rskt_seg.methods.record import EncoderRole
from rskt_seg.models.fctl import FCtL, FCtLSpec
from rskt_seg.models.fctl.fcn import FcnDecoder

_BUILD = "Build the model with the classes, contexts and options the checkpoint was trained with"
_POOLS = {"pool3": 0, "pool4": 17, "pool5": 24}
_ALIAS = re.compile(r"(?:big_)?(pool[345])\.(\d+)\.(.*)")
_ORDERS = {"main": ("medium", "large", "local"), "deepglobe": ("local", "medium", "large")}
logger = logging.getLogger(__name__)
_NEW_PARTS = ("fusion.", "enhancement.")
_DECODER = {
    "output.0": "conv6",
    "output.3": "conv7",
    "output.6": "score",
    "adj_pool4": "skip4",
    "adj_pool3": "skip3",
    "up_output": "up5",
    "up_pool4_out": "up4",
    "up_final": "up3",
}


class FCtLLayout(CheckpointLayout):
    """Own and published checkpoints of FCtL; the latter keep the encoder of each context in its own file."""

    # Whether contexts share the patch's encoder shows in the weights.
    training_only = ("context_encoder", "learn_upsampling", "focal_gamma")
    output_key = class_key = "decoder.score.weight"

    def is_published(self, keys: Set[str]) -> bool:
        return any(key.startswith(("vgg.features.", "module.vgg.features.")) for key in keys)

    def companions(self, spec: FCtLSpec, keys: Set[str]) -> tuple[str, ...]:
        """Return the contexts whose encoders are the files of earlier stages."""
        return spec.contexts if self.is_published(keys) and spec.context_encoder != "shared" else ()

    def load(
        self,
        model: FCtL,
        weights: WeightFile,
        source: str,
        left_out: Mapping[str, Tensor],
        companions: Mapping[str, Source] | None = None,
    ) -> LoadReport:
        """Load a whole checkpoint, strictly.

        Args:
            model: The model to fill.
            weights: An own checkpoint, or the published file of stages 1 to 4, with or without `module.`.
            source: How messages call it.
            left_out: Not used: no encoder is left out.
            companions: For a published file and a model with own context encoders, "medium" and "large" ->
                the file whose VGG16 encodes that context: the stage it was trained in, or the encoder alone.

        Raises:
            CheckpointError: a tensor of the model is not given exactly once in its shape, another is not
                known to be unused, or the names of VGG16 in a file hold different values; the model is then
                unchanged.
        """
        if not self.is_published(weights.state.keys()):
            return super().load(model, weights, source, left_out, companions)
        report = LoadReport(source)
        state = {
            **_convert_model(model, weights.state, report),
            **_convert_contexts(model, companions or {}, report),
        }
        self.check_classes(model, state, source)
        load_strict(model, state, source, _BUILD)
        return report

    def start_from(
        self, model: FCtL, source: Source, companions: Mapping[str, Source] | None = None
    ) -> LoadReport:
        """Start a training stage from earlier ones, in this package's names or the published ones.

        The checkpoint fills the patch encoder, the decoder and whatever it has of fusion and enhancement;
        what is new in this stage keeps its initial values and is listed in the log. The patch encoders of
        `companions` become those of the contexts.

        Raises:
            CheckpointError: encoder or decoder would not be filled, or a tensor fits nowhere.
        """
        name, weights = read_source(source)
        report = LoadReport(name)
        converted = {
            **_convert_model(model, weights.state, report),
            **_convert_contexts(model, companions or {}, report),
        }
        self.check_classes(model, converted, name)
        own = model.state_dict()
        fresh = [key for key in own if key.startswith(_NEW_PARTS) and key not in converted]
        load_strict(model, {**{key: own[key] for key in fresh}, **converted}, name, _BUILD)
        if fresh:
            logger.info("%s: %d tensors are new: %s", name, len(fresh), ", ".join(fresh))
        return report


def _load_encoder(model: FCtL, role: str, state: Mapping[str, Tensor], source: str) -> LoadReport:
    """Load ImageNet weights into one encoder.

    VGG16: torchvision's file; for "local" its classifier becomes the first two layers of FCN-8s' decoder,
    for contexts it is dropped. MiT: the layout of SegFormer's authors or the older one of the model hub; a
    classification or segmentation head is dropped.
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


def _load_local(model: FCtL, state: Mapping[str, Tensor], source: str) -> LoadReport:
    return _load_encoder(model, "local", state, source)


def _load_medium(model: FCtL, state: Mapping[str, Tensor], source: str) -> LoadReport:
    return _load_encoder(model, "medium", state, source)


def _load_large(model: FCtL, state: Mapping[str, Tensor], source: str) -> LoadReport:
    return _load_encoder(model, "large", state, source)


def _has_own(context: str) -> Callable[[FCtLSpec], bool]:
    return lambda spec: context in spec.contexts and spec.context_encoder != "shared"


_IMAGENET = "VGG16 of torchvision, or the MiT of the model's encoder, trained on ImageNet"
_STAGE = (
    "the checkpoint of the training stage whose patch encoder is to see this context (with "
    f"MODEL.START_FROM), or {_IMAGENET}"
)
ENCODERS = {
    "local": EncoderRole(_load_local, _IMAGENET, in_start=True),
    "medium": EncoderRole(_load_medium, _STAGE, used=_has_own("medium")),
    "large": EncoderRole(_load_large, _STAGE, used=_has_own("large")),
}


def _classifier_rules(used: bool) -> list[Rule]:
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
    """SegFormer's encoder in its authors' layout and in the hub's older one -> `encoder.` and our names."""
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
            Rule(attention + r"kv\.(weight|bias)$", (to + r"attn.k.\2", to + r"attn.v.\2"), split=_halves),
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


def _halves(tensor: Tensor) -> Sequence[Tensor]:
    return tensor.chunk(2)


def _convert_model(model: FCtL, state: Mapping[str, Tensor], report: LoadReport) -> dict[str, Tensor]:
    if not FCtLLayout().is_published(state.keys()):
        return convert(state, [Rule(PREFIX, "")], report)
    rules = rules_for(model, state.keys(), report.source)
    return convert(merge_aliases(state, report), rules, report)


def _convert_contexts(model: FCtL, sources: Mapping[str, Source], report: LoadReport) -> dict[str, Tensor]:
    own = list(model.context_encoders)
    wrong = [name for name in sources if name not in own]
    missing = [name for name in own if name not in sources]
    if wrong or missing:
        raise CheckpointError(
            f"{report.source}: the encoders of contexts come from files of their own; this model needs "
            f"contexts={{name: file}} for {own or 'none'}; found {sorted(sources) or 'none'}"
        )
    state: dict[str, Tensor] = {}
    for name, source in sources.items():
        file, weights = read_source(source)
        part = LoadReport(f"{file} ({name})")
        state |= _convert_encoder(weights.state, f"context_encoders.{name}.", part)
        # Key names are the same in all files; the report tells them apart.
        report.converted |= {f"{name}: {key}": to for key, to in part.converted.items()}
        report.dropped |= {f"{name}: {key}": reason for key, reason in part.dropped.items()}
    return state


def _convert_encoder(state: Mapping[str, Tensor], to: str, report: LoadReport) -> dict[str, Tensor]:
    published = FCtLLayout().is_published(state.keys())
    if published:
        state = merge_aliases(state, report)
    prefix = r"vgg\." if published else PREFIX + r"encoder\."
    return convert(
        state,
        [
            Rule(r"vgg\.classifier\.", None, "the classifier of ImageNet is not used"),
            Rule(prefix, to),
            Rule(r".*", None, "of this stage the patch encoder alone is used"),
        ],
        report,
    )


def merge_aliases(state: Mapping[str, Tensor], report: LoadReport) -> dict[str, Tensor]:
    """A published state dict without `module.` and with every layer of VGG16 under `vgg.features` alone.

    Raises `CheckpointError` where two names of one layer hold different values.
    """
    merged = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    for key in list(merged):
        match = _ALIAS.fullmatch(key)
        if match is None:
            continue
        first = f"vgg.features.{_POOLS[match[1]] + int(match[2])}.{match[3]}"
        if first not in merged or not torch.equal(merged[first], merged[key]):
            raise CheckpointError(
                f"{report.source}: {key} and {first} are one tensor of the published model and must be equal"
            )
        del merged[key]
        report.dropped[key] = "a second name of a layer of vgg.features, and found equal"
    return merged


def rules_for(model: FCtL, keys: Set[str], source: str) -> list[Rule]:
    """Rules for a published state dict with `keys`, after `merge_aliases`, and one model.

    Raises `CheckpointError` where the checkpoint is of the other published branch.
    """
    parts = {key.removeprefix("module.").split(".")[0] for key in keys}
    branch = "main" if "big_attention" in parts else "deepglobe"
    if parts & {"big_attention", "big", "local"} and model.spec.branch != branch:
        raise CheckpointError(
            f"{source} is of the published branch {branch!r}; build the model with branch={branch!r}"
        )
    terms = model.spec.terms
    # Only the stages with a single context name the encoder a third time, as big_pool3 to big_pool5.
    single = "big_pool3" in parts and len(terms) == 1 and terms[0] in model.spec.contexts
    fusion = _single_rules(terms[0]) if single else _FUSION_RULES[branch]
    return [
        Rule(r"vgg\.features\.", "encoder.features."),
        Rule(r"vgg\.classifier\.", None, "the classifier of ImageNet is not used"),
        *(Rule(re.escape(old) + r"\.", f"decoder.{new}.") for old, new in _DECODER.items()),
        *fusion,
    ]


def _single_rules(context: str) -> list[Rule]:
    """The published stages with one context: of `main`'s tensors only the first correlation was trained."""
    return [
        Rule(r"(?:big_attention|big)\.conv_(query|key|value)\.", rf"fusion.correlate.{context}.\1."),
        Rule(r"(?:big_attention|big)\.gamma$", f"fusion.correlate.{context}.gamma"),
        Rule(r"big_attention\.", None, "the stages with a single context leave it untrained"),
    ]


def _main_rules() -> list[Rule]:
    rules = []
    for suffix, name in zip(("", "_1", "_2"), _ORDERS["main"], strict=True):
        to = f"fusion.correlate.{name}."
        rules += [
            Rule(rf"big_attention\.conv_(query|key|value){suffix}\.", to + r"\1."),
            Rule(rf"big_attention\.gamma{suffix}$", to + "gamma"),
        ]
    return [*rules, *_weigh_rules("main", r"big_attention\.")]


def _deepglobe_rules() -> list[Rule]:
    return [
        Rule(r"(local|medium|large)\.conv_(query|key|value)\.", r"fusion.correlate.\1.\2."),
        Rule(r"(local|medium|large)\.gamma$", r"fusion.correlate.\1.gamma"),
        *_weigh_rules("deepglobe", ""),
    ]


def _weigh_rules(branch: str, prefix: str) -> list[Rule]:
    order = _ORDERS[branch]
    places = [order.index(name) for name in _ORDERS["deepglobe"]]

    def rows(tensor: Tensor) -> list[Tensor]:
        blocks = tensor.chunk(3)
        return [torch.cat([blocks[i] for i in places])]

    def both(tensor: Tensor) -> list[Tensor]:
        return [rows(rows(tensor)[0].transpose(0, 1))[0].transpose(0, 1)]

    rules = []
    for number, name in enumerate(order, start=1):
        rules += [
            Rule(rf"{prefix}in_{number}\.", f"fusion.weigh.enter.{name}."),
            Rule(rf"{prefix}out_{number}\.", f"fusion.weigh.leave.{name}."),
        ]
    return [
        *rules,
        Rule(rf"{prefix}trans\.weight$", ("fusion.weigh.mix.weight",), split=both),
        Rule(rf"{prefix}trans\.bias$", ("fusion.weigh.mix.bias",), split=rows),
    ]


_FUSION_RULES = {"main": _main_rules(), "deepglobe": _deepglobe_rules()}
"""The published context order of each branch, turned into this package's (local, medium, large)."""
