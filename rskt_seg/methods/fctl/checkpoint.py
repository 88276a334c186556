"""Checkpoints of FCtL.

Maps the layouts of the published code to the names of `rskt_seg.models.fctl.FCtL`. A published model is three
files: the model with its patch encoder, and one for the encoder of each context (the
checkpoints of earlier training stages). Every file contains VGG16 under several names, and a classifier that
is never used.
"""

import logging
import re
from collections.abc import Mapping, Set
from typing import ClassVar

import torch
from torch import Tensor

from rskt_seg.checkpoints.files import Source, WeightFile, read_source
from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.errors import CheckpointError, OtherModelError
from rskt_seg.methods.layout import PREFIX, CheckpointLayout
from rskt_seg.models.fctl import FCtL, FCtLSpec

logger = logging.getLogger(__name__)
_BUILD = "Build the model with the classes, contexts and options the checkpoint was trained with"
_POOLS = {"pool3": 0, "pool4": 17, "pool5": 24}
"""Published name of a part of VGG16 -> index of its first layer in `features`."""
_ALIAS = re.compile(r"(?:big_)?(pool[345])\.(\d+)\.(.*)")
_ORDERS = {"main": ("medium", "large", "local"), "deepglobe": ("local", "medium", "large")}
"""Branch of the published code -> order of the contexts in its fusion."""
_NEW_PARTS = ("fusion.", "enhancement.")
"""Parts of the model that the checkpoint of an earlier stage may lack."""
_CLASSIFIERS = ("score", "skip4", "skip3")
"""Layers of the decoders with an output for each class; SegFormer's has the first alone."""
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
    """Checkpoints of this package, and of the published code with each context encoder in a separate file."""

    # Whether contexts share the patch's encoder shows in the weights.
    training_only = ("context_encoder", "learn_upsampling", "focal_gamma")
    output_key = "decoder.score.weight"
    # The upsampling of FCN-8s has a kernel from every class to every class.
    class_axes: ClassVar[Mapping[str, int]] = {
        **{f"decoder.{name}.{part}": 1 for name in _CLASSIFIERS for part in ("weight", "bias")},
        **{f"decoder.{name}.weight": 2 for name in ("up5", "up4", "up3")},
    }
    remedy = _BUILD

    def is_published(self, keys: Set[str]) -> bool:
        """See `CheckpointLayout.is_published`."""
        return any(key.startswith(("vgg.features.", "module.vgg.features.")) for key in keys)

    def companions(self, spec: FCtLSpec, keys: Set[str]) -> tuple[str, ...]:
        """See `CheckpointLayout.companions`: the contexts, whose encoders are those of earlier stages."""
        return spec.contexts if self.is_published(keys) and spec.context_encoder != "shared" else ()

    def renamed(
        self,
        model: FCtL,
        weights: WeightFile,
        source: str,
        companions: Mapping[str, Source] | None = None,
    ) -> tuple[dict[str, Tensor], LoadReport]:
        """Return a whole checkpoint under the names of this package.

        Args:
            model: The model to fill.
            weights: A checkpoint of this package, or a published file of stages 1 to 4, with or without the
                prefix `module.`.
            source: Its name in messages.
            companions: For a published file and a model whose contexts have encoders of their own: "medium"
                and "large" -> file with the VGG16 of this context, the checkpoint of the stage that trained
                it or the encoder alone.

        Returns:
            The tensors, and which of them were converted and dropped.

        Raises:
            CheckpointError: A tensor is given twice, or the file has different values under the several names
                of one VGG16 layer.
        """
        if not self.is_published(weights.state.keys()):
            return super().renamed(model, weights, source, companions)
        report = LoadReport(source)
        converted = _convert_model(model, weights.state, report)
        return {**converted, **_convert_contexts(model, companions or {}, report)}, report

    def start_from(
        self, model: FCtL, source: Source, companions: Mapping[str, Source] | None = None
    ) -> LoadReport:
        """Start a training stage from the checkpoints of earlier ones.

        The checkpoint fills the patch encoder, the decoder and what it has of fusion and enhancement. Parts
        that are new in this stage keep their initial values and are listed in the log.

        Args:
            model: The model to fill.
            source: Checkpoint of an earlier stage, under this package's names or the published ones.
            companions: Context -> checkpoint whose patch encoder becomes the encoder of this context.

        Returns:
            Which tensors were loaded, converted and dropped.

        Raises:
            CheckpointError: The checkpoint states other classes, encoder or decoder would not be filled
                completely, or a tensor has no place in the model.
        """
        name, weights = read_source(source)
        stated, own_names = weights.class_names, model.class_names
        if stated is not None and own_names is not None and stated != own_names:
            raise CheckpointError(
                f"{name} was trained on the classes {', '.join(stated)}; those of this stage are "
                f"{', '.join(own_names)}: stages have the same classes in the same order, those of their "
                "training sets; train the earlier stage on them, or start from it with MODEL.WEIGHTS"
            )
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
            logger.info(
                "%s lacks %d tensors, which keep their initial values: %s", name, len(fresh), ", ".join(fresh)
            )
        return report


def _convert_model(model: FCtL, state: Mapping[str, Tensor], report: LoadReport) -> dict[str, Tensor]:
    """Return the checkpoint of a stage under this package's names, without encoders of contexts."""
    if not FCtLLayout().is_published(state.keys()):
        return convert(state, [Rule(PREFIX, "")], report)
    rules = rules_for(model, state.keys(), report.source)
    return convert(merge_aliases(state, report), rules, report)


def _convert_contexts(model: FCtL, sources: Mapping[str, Source], report: LoadReport) -> dict[str, Tensor]:
    """Return the encoders of all contexts, from one file each, under this package's names."""
    own = list(model.context_encoders)
    wrong = [name for name in sources if name not in own]
    missing = [name for name in own if name not in sources]
    if wrong or missing:
        raise CheckpointError(
            f"{report.source}: the encoders of contexts are in separate files; expected "
            f"contexts={{name: file}} for {own or 'none'}; found {sorted(sources) or 'none'}"
        )
    state: dict[str, Tensor] = {}
    for name, source in sources.items():
        file, weights = read_source(source)
        part = LoadReport(f"{file} ({name})")
        state |= _convert_encoder(weights.state, f"context_encoders.{name}.", part)
        # All files have the same key names, hence the prefix.
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
            Rule(r".*", None, "only the patch encoder of this stage is used"),
        ],
        report,
    )


def merge_aliases(state: Mapping[str, Tensor], report: LoadReport) -> dict[str, Tensor]:
    """Merge the several names of each VGG16 layer in a published state dict.

    Args:
        state: Published state dict, with or without the prefix `module.`.
        report: Is extended by what was dropped.

    Returns:
        The state dict without the prefix, with VGG16 under `vgg.features` only.

    Raises:
        CheckpointError: There are different values under two names of one layer.
    """
    merged = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    for key in list(merged):
        match = _ALIAS.fullmatch(key)
        if match is None:
            continue
        first = f"vgg.features.{_POOLS[match[1]] + int(match[2])}.{match[3]}"
        if first not in merged or not torch.equal(merged[first], merged[key]):
            raise CheckpointError(
                f"{report.source}: {key} and {first} are one tensor of the published model; expected equal "
                "values, found others: the file was altered or is incomplete"
            )
        del merged[key]
        report.dropped[key] = "another name of a layer of vgg.features, with equal values"
    return merged


def rules_for(model: FCtL, keys: Set[str], source: str) -> list[Rule]:
    """Return the rules from the published names, after `merge_aliases`, to those of a model.

    Args:
        model: The model to fill.
        keys: Key names of the checkpoint.
        source: Its name in messages.

    Returns:
        The rules in the order of precedence.

    Raises:
        CheckpointError: The checkpoint is of the other branch of the published code.
    """
    parts = {key.removeprefix("module.").split(".")[0] for key in keys}
    branch = "main" if "big_attention" in parts else "deepglobe"
    if parts & {"big_attention", "big", "local"} and model.spec.branch != branch:
        raise OtherModelError(
            f"{source} is of the published branch {branch!r}, this model has branch={model.spec.branch!r}",
            f"build it with branch={branch!r}",
            ["fctl_vgg16"],
            {"branch": branch},
        )
    terms = model.spec.terms
    # Only stages with a single context contain the encoder under a third name, big_pool3 to big_pool5.
    single = "big_pool3" in parts and len(terms) == 1 and terms[0] in model.spec.contexts
    fusion = _single_rules(terms[0]) if single else _FUSION_RULES[branch]
    return [
        Rule(r"vgg\.features\.", "encoder.features."),
        Rule(r"vgg\.classifier\.", None, "the classifier of ImageNet is not used"),
        *(Rule(re.escape(old) + r"\.", f"decoder.{new}.") for old, new in _DECODER.items()),
        *fusion,
    ]


def _single_rules(context: str) -> list[Rule]:
    """Return the rules for published stages with one context.

    Of the fusion in the branch `main` they train the first correlation only.
    """
    return [
        Rule(r"(?:big_attention|big)\.conv_(query|key|value)\.", rf"fusion.correlate.{context}.\1."),
        Rule(r"(?:big_attention|big)\.gamma$", f"fusion.correlate.{context}.gamma"),
        Rule(r"big_attention\.", None, "stages with a single context do not train it"),
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
    """Return the rules for the weights of the contexts, whose channels are reordered."""
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
"""Branch of the published code -> rules that bring its contexts into the order of this package."""
