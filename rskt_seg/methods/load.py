"""`load_checkpoint` for whole models, `load_encoder` for one pretrained encoder."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from rskt_seg.checkpoints.files import Source, WeightFile, read_source
from rskt_seg.checkpoints.hub import locate
from rskt_seg.checkpoints.rules import LoadReport
from rskt_seg.digests import weights_digest
from rskt_seg.errors import CheckpointError
from rskt_seg.methods.record import Method
from rskt_seg.methods.registry import method_of, registered_methods
from rskt_seg.typing import ClosedSetModel, SegmentationModel


def load_checkpoint(
    model: SegmentationModel, source: Source, contexts: Mapping[str, Source] | None = None
) -> LoadReport:
    """Load a whole trained model, strictly.

    Args:
        model: A model of a registered method. A closed-set model without class names takes those that the
            checkpoint states.
        source: A file (see `rskt_seg.checkpoints.files.read_weights`), or a state dict or checkpoint in
            memory, with this package's names (with or without Detectron2's prefix) or those of the method's
            published code. Frozen encoders that the checkpoint leaves out must be loaded before.
        contexts: For a published checkpoint that keeps some of its encoders in files of their own, role ->
            file.

    Returns:
        What was loaded, converted and dropped.

    Raises:
        CheckpointError: a tensor of the model is missing, given twice, left over or of another shape; the
            checkpoint is of another method, or states other options or class names. The model is unchanged.
    """
    name, weights = read_source(source)
    method = method_of(model)
    _check_method(method, weights, name)
    check_stated(model, weights, name)
    left_out = {
        f"{part}.{key}": tensor
        for part in weights.frozen
        for key, tensor in model.get_submodule(part).state_dict().items()
    }
    report = method.checkpoint.load(model, weights, name, left_out, contexts)
    if method.is_closed and class_names_of(model) is None:
        cast(ClosedSetModel, model).class_names = weights.class_names
    return report


def class_names_of(model: SegmentationModel) -> tuple[str, ...] | None:
    """Return the class names of a closed-set model; None where it does not know them, and for open ones."""
    return cast(ClosedSetModel, model).class_names if method_of(model).is_closed else None


def _check_method(method: Method, weights: WeightFile, source: str) -> None:
    keys = weights.state.keys()
    for other in registered_methods():
        if other is not method and other.checkpoint.is_published(keys):
            if method.checkpoint.is_published(keys):
                continue
            raise CheckpointError(
                f"{source} is a published checkpoint of {other.title}, the model is one of {method.title}: "
                f"build it with create_model({next(iter(other.presets))!r}, ...) or another of its presets"
            )


def check_stated(model: SegmentationModel, weights: WeightFile, source: str) -> None:
    """Compare what a checkpoint states with a model.

    Options that change nothing of what a trained model computes may differ.

    Raises:
        CheckpointError: the checkpoint states other options, class names or frozen encoders.
    """
    method = method_of(model)
    own, stated = class_names_of(model), weights.class_names
    if own is not None and stated is not None and own != stated:
        raise CheckpointError(
            f"{source} was trained on the classes {', '.join(stated)}; this model was built for "
            f"{', '.join(own)}: build it with those of the checkpoint; a configuration takes them from the "
            "data that it trains on (DATASETS.TRAIN, with DATASETS.OWN for data of your own)"
        )
    if weights.options is not None:
        _check_options(method, model.spec, weights.options, source)
    for part, facts in weights.frozen.items():
        if part not in method.encoders or _digest(model, part) != facts["digest"]:
            raise CheckpointError(
                f"{source} does not contain the frozen {part} weights (trained with {facts['source']}), and "
                f"the model has others: load them first, load_encoder(model, {part!r}, {facts['source']!r}), "
                f"or set MODEL.ENCODERS.{part.upper()} to it"
            )
    method.checkpoint.check_stated(model, weights, source)


def _check_options(method: Method, spec: Any, options: Mapping[str, object], source: str) -> None:
    """Raise `CheckpointError` for options that change what a trained model computes.

    Several options leave no trace in the weights (heads, templates, attention, loss).
    """
    compared = {
        key: value for key, value in asdict(spec).items() if key not in method.checkpoint.training_only
    }
    stated = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    other = {key: stated[key] for key, value in compared.items() if key in stated and stated[key] != value}
    if other:
        listed = ", ".join(f"{key}={value!r} (this model: {compared[key]!r})" for key, value in other.items())
        raise CheckpointError(
            f"{source} was saved from a model with {listed}; build the model with these options"
        )


def _digest(model: SegmentationModel, part: str) -> str:
    return weights_digest(model.get_submodule(part).state_dict())


def frozen_parts(model: SegmentationModel, sources: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return what a checkpoint states about frozen encoders that it leaves out: their source and digest."""
    return {part: {"source": source, "digest": _digest(model, part)} for part, source in sources.items()}


def load_encoder(model: SegmentationModel, role: str, source: Source) -> LoadReport:
    """Load one pretrained encoder.

    The towers of CLIP compute QuickGELU, as OpenAI's and RemoteCLIP's weights need; names whose weights were
    trained with GELU are refused, files cannot be told apart. CLIP weights may have the names of OpenAI and
    open_clip or those of transformers' CLIPModel. DINOv2 weights are Meta's or timm's, without register
    tokens; ConvNeXt weights torchvision's or timm's. What is not part of the encoder (heads, classifiers,
    mask tokens) is dropped and listed.

    Args:
        model: A model of a registered method.
        role: Which encoder: a key of the `encoders` of its method, such as "clip" or "dino".
        source: A file or a state dict; where the role allows a name, also an open_clip name "MODEL/TAG" such
            as "ViT-B-16/openai", a hub repository "hf-hub:ORGANISATION/NAME" in open_clip's layout, or
            "tiny", the small CLIP that comes with the package.

    Raises:
        CheckpointError: the model has no such encoder, the weights are of another architecture, or the file
            is incomplete.
        WeightsNotFoundError: the file or name does not exist.
    """
    method = method_of(model)
    encoder = method.encoders.get(role)
    if encoder is None:
        known = ", ".join(method.encoders) or "none"
        raise CheckpointError(f"{method.title} models have no encoder {role!r}; they have {known}")
    if not encoder.used(model.spec):
        raise CheckpointError(f"this model was built without {role}; there is nothing to load {source} into")
    if encoder.named and not isinstance(source, Mapping):
        source = locate(str(source))
    name, weights = read_source(source)
    return encoder.load(model, weights.state, name)
