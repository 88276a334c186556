"""`load_checkpoint` for whole models, `load_encoder` for one pretrained encoder."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from typing import TypeGuard

from rskt_seg.checkpoints.files import Source, WeightFile, read_source
from rskt_seg.checkpoints.hub import locate
from rskt_seg.checkpoints.manifest import config_key
from rskt_seg.checkpoints.rules import LoadReport
from rskt_seg.checkpoints.wrappers import common_prefix, shared_prefixes, source_without, without_prefix
from rskt_seg.digests import weights_digest
from rskt_seg.errors import CheckpointError, OtherModelError
from rskt_seg.methods.layout import PREFIX
from rskt_seg.methods.record import NUM_CLASSES, EncoderRole, Method
from rskt_seg.methods.registry import method_of, registered_methods
from rskt_seg.typing import ClosedSetModel, SegmentationModel, Spec


def load_checkpoint(
    model: SegmentationModel, source: Source, contexts: Mapping[str, Source] | None = None
) -> LoadReport:
    """Load all weights of a trained model, strictly.

    Args:
        model: A model of a registered method. A closed-set model without class names takes those that the
            checkpoint states.
        source: A file (see `rskt_seg.checkpoints.read_weights`), or a state dict or checkpoint in memory.
            Key names are those of this package, with or without Detectron2's prefix, or of the method's
            published code. Prefixes of wrappers that all names share (`_orig_mod.` of torch.compile,
            `module.`, `model.`) are removed where that makes them fit. Load frozen encoders that the
            checkpoint leaves out beforehand.
        contexts: Role -> file, for published checkpoints with encoders in separate files.

    Returns:
        Which tensors were loaded, converted and dropped; its source says which prefix was removed.

    Raises:
        CheckpointError: A tensor of the model is missing, not finite, given twice or of another shape, or the
            checkpoint has further tensors; or it is of another method, or states other options or class
            names. The model is unchanged.
        WeightsNotFoundError: There is no such file.
    """
    return load_weights(model, *read_source(source), contexts)


def load_weights(
    model: SegmentationModel,
    source: str,
    content: WeightFile,
    contexts: Mapping[str, Source] | None = None,
) -> LoadReport:
    """Load the content of a weight file into a model, strictly; see `load_checkpoint`.

    Args:
        model: A model of a registered method.
        source: Name of the file in messages.
        content: What `read_weights` read.
        contexts: Role -> file, for published checkpoints with encoders in separate files.

    Returns:
        Which tensors were loaded, converted and dropped.

    Raises:
        CheckpointError: As `load_checkpoint`.
    """
    name, weights = without_wrapper(model, source, content)
    method = method_of(model)
    check_method(method, weights, name)
    check_stated(model, weights, name)
    left_out = {
        f"{role}.{key}": tensor
        for role in weights.frozen
        for key, tensor in model.get_submodule(role).state_dict().items()
    }
    try:
        report = method.checkpoint.load(model, weights, name, left_out, contexts)
    except CheckpointError as error:
        if _knows(model, weights.state):
            raise
        raise CheckpointError(_describe_foreign(model, weights, name)) from error
    if is_closed_set(model) and model.class_names is None:
        model.class_names = weights.class_names
    return report


def is_closed_set(model: SegmentationModel) -> TypeGuard[ClosedSetModel]:
    """Return whether a model has a fixed set of classes, as the record of its method says."""
    return method_of(model).is_closed


def class_names_of(model: SegmentationModel) -> tuple[str, ...] | None:
    """Return the class names of a closed-set model; None if unknown, and for open vocabularies."""
    return model.class_names if is_closed_set(model) else None


def _knows(model: SegmentationModel, names: Iterable[str]) -> bool:
    """Return whether a layout knows the names, or one of them is a name of the model."""
    keys, own = set(names), model.state_dict().keys()
    if method_of(model).checkpoint.is_encoder(keys) or any(
        method.checkpoint.is_published(keys) for method in registered_methods()
    ):
        return True
    return any(re.sub(f"^{PREFIX}", "", key) in own for key in keys)


def without_wrapper(model: SegmentationModel, source: str, weights: WeightFile) -> tuple[str, WeightFile]:
    """Remove the prefix of a wrapper from all names of a checkpoint, if only then they are known.

    Args:
        model: The model that it is for.
        source: Its name in messages.
        weights: The checkpoint.

    Returns:
        Its name, which says what was removed, and its content.
    """
    for prefix in ("", *shared_prefixes(weights.state)):
        state = without_prefix(weights.state, prefix)
        if _knows(model, state):
            return source_without(source, prefix), replace(weights, state=state)
    return source, weights


def _describe_foreign(model: SegmentationModel, weights: WeightFile, source: str) -> str:
    """Return the message about a checkpoint that has no name of the model."""
    state, prefix = weights.state, common_prefix(weights.state)
    found = f"such as {', '.join(list(state)[:3])}"
    if prefix:
        found = f"all of which begin with {prefix!r}, {found}"
    remedy = f"choose a checkpoint of {method_of(model).title}"
    if prefix and _knows(model, without_prefix(state, prefix)):
        remedy = (
            f"without {prefix!r} they would fit: save the state dict again with key.removeprefix({prefix!r})"
        )
    own = ", ".join(list(model.state_dict())[:3])
    return (
        f"{source} does not fit this model: expected names such as {own}; found {len(state)} others, "
        f"{found}; {remedy}"
    )


def check_method(method: Method, weights: WeightFile, source: str) -> None:
    """Check that a checkpoint is of a method, as far as its names and options tell.

    Args:
        method: The method.
        weights: The checkpoint.
        source: Its name in messages.

    Raises:
        CheckpointError: It is of another method, published or stating other options.
    """
    keys, stated = weights.state.keys(), set(weights.options or ())
    if method.checkpoint.is_published(keys) or stated == set(method.options):
        return
    others = [other for other in registered_methods() if other is not method]
    published = [other for other in others if other.checkpoint.is_published(keys)]
    if found := published or [other for other in others if stated == set(other.options)]:
        kind = "a published checkpoint" if published else "a checkpoint"
        stated_options = {} if published else _compared(found[0], weights.options or {})
        presets = [_nearest_preset(other, stated_options) for other in found]
        calls = " or ".join(f"create_model({preset!r}, ...)" for preset in presets)
        raise OtherModelError(
            f"{source} is {kind} of {' or '.join(other.title for other in found)}, the model is one of "
            f"{method.title}",
            f"build its model with {calls}"
            if published
            else f"rskt_seg.load builds its model, as does {calls}",
            presets,
            stated_options,
        )


def _compared(method: Method, options: Mapping[str, object]) -> dict[str, object]:
    """Return the options that a model must share with a checkpoint, with tuples for lists."""
    free = {*method.checkpoint.training_only, *method.checkpoint.evaluation_only}
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in options.items()
        if key not in free
    }


def _nearest_preset(method: Method, options: Mapping[str, object]) -> str:
    """Return the preset of a method in which the fewest of some options differ, the first of several."""
    default = {each.name: each.default for each in fields(method.spec)}
    options = {key: value for key, value in options.items() if key != NUM_CLASSES}
    return min(
        method.presets,
        key=lambda name: sum(
            {**default, **method.presets[name]}.get(key) != value for key, value in options.items()
        ),
    )


def check_stated(model: SegmentationModel, weights: WeightFile, source: str) -> None:
    """Compare the options, class names and frozen encoders that a checkpoint states with a model.

    Options that change nothing of what a trained model computes may differ.

    Args:
        model: A model of a registered method.
        weights: The checkpoint.
        source: Its name in messages.

    Raises:
        CheckpointError: The model differs from what the checkpoint states.
    """
    method = method_of(model)
    own, stated = class_names_of(model), weights.class_names
    if own is not None and stated is not None and own != stated:
        raise CheckpointError(
            f"{source} was trained on the classes {', '.join(stated)}; this model was built for "
            f"{', '.join(own)}: build it with those of the checkpoint; a configuration takes them from its "
            "training set (DATASETS.TRAIN, with DATASETS.OWN for data of your own). A training on other "
            "classes starts from it with MODEL.WEIGHTS"
        )
    if weights.options is not None:
        _check_options(method, model.spec, weights.options, source)
    for role, facts in weights.frozen.items():
        if role not in method.encoders or _digest(model, role) != facts["digest"]:
            raise CheckpointError(
                f"{source} does not contain the frozen {role} weights (trained with {facts['source']}), and "
                f"the model has others: load them first, load_encoder(model, {role!r}, {facts['source']!r}), "
                f"or set {config_key(role)} to it"
            )
    method.checkpoint.check_stated(model, weights, source)


def _check_options(method: Method, spec: Spec, options: Mapping[str, object], source: str) -> None:
    """Raise `CheckpointError` for options that change what a trained model computes.

    Several of them leave no trace in the weights (heads, templates, attention, loss).
    """
    compared, stated = _compared(method, asdict(spec)), _compared(method, options)
    other = {key: stated[key] for key, value in compared.items() if key in stated and stated[key] != value}
    if other:
        listed = ", ".join(f"{key}={value!r} (this model: {compared[key]!r})" for key, value in other.items())
        raise OtherModelError(
            f"{source} was saved from a model with {listed}",
            "build the model with these options",
            [_nearest_preset(method, stated)],
            other,
        )


def _digest(model: SegmentationModel, role: str) -> str:
    return weights_digest(model.get_submodule(role).state_dict())


def frozen_parts(model: SegmentationModel, sources: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return what a checkpoint states about the frozen encoders that it leaves out.

    Args:
        model: The model.
        sources: Role -> file or name that the encoder was loaded from.

    Returns:
        Role -> {"source", "digest"}, as in `rskt_seg.checkpoints.files.FROZEN`.
    """
    return {role: {"source": source, "digest": _digest(model, role)} for role, source in sources.items()}


def load_encoder(model: SegmentationModel, role: str, source: Source) -> LoadReport:
    """Load the weights of one pretrained encoder, strictly.

    CLIP towers compute QuickGELU, which the weights of OpenAI and RemoteCLIP need. Names of weights trained
    with GELU are refused; files do not say which they need. CLIP weights may have the key names of OpenAI and
    open_clip or of transformers' CLIPModel, DINOv2 weights those of Meta or timm (without register tokens),
    ConvNeXt weights those of torchvision or timm. Tensors that are not part of the encoder (heads,
    classifiers, mask tokens) are dropped and listed.

    Args:
        model: A model of a registered method.
        role: Key of `Method.encoders`, such as "clip" or "dino".
        source: A file or a state dict. If the role accepts names, also an open_clip name "MODEL/TAG" such as
            "ViT-B-16/openai", a hub repository "hf-hub:ORGANISATION/NAME" in open_clip's layout, or "tiny",
            the small CLIP of this package.

    Returns:
        Which tensors were loaded, converted and dropped.

    Raises:
        CheckpointError: The model has no such encoder, the weights are of another architecture, or the file
            is incomplete. The model is unchanged.
        WeightsNotFoundError: There is no such file or name.
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
    return _load_encoder(encoder, model, weights, name)


def _load_encoder(
    encoder: EncoderRole, model: SegmentationModel, weights: WeightFile, source: str
) -> LoadReport:
    """Load an encoder, if need be without the prefix of a wrapper; a load that fails changes nothing."""
    *shorter, longest = ("", *shared_prefixes(weights.state))
    for prefix in shorter:
        with suppress(CheckpointError):
            state = without_prefix(weights.state, prefix)
            return encoder.load(model, state, source_without(source, prefix))
    return encoder.load(model, without_prefix(weights.state, longest), source_without(source, longest))
