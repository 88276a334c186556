"""`load`: a trained model from its checkpoint alone."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rskt_seg.checkpoints.files import Source, WeightFile, read_source, read_weights
from rskt_seg.checkpoints.hub import HUB
from rskt_seg.checkpoints.manifest import MODEL_ROLE
from rskt_seg.checkpoints.rules import LoadReport
from rskt_seg.errors import CheckpointError, ConfigError, WeightsNotFoundError
from rskt_seg.methods.create import create_model, find_preset, model_names
from rskt_seg.methods.load import load_encoder, load_weights
from rskt_seg.methods.named import find_named, obtain
from rskt_seg.methods.notices import note_weights
from rskt_seg.methods.record import Method, NamedModel
from rskt_seg.methods.registry import method_of, registered_methods
from rskt_seg.methods.use import check_options
from rskt_seg.reading import brief
from rskt_seg.typing import SegmentationModel, Spec


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, and how it sees images.

    Attributes:
        model: The model, in evaluation mode on the CPU.
        options: Options of `rskt_seg.Segmenter` that the checkpoint states, such as `short_side`; empty if it
            states none.
        report: Which tensors were loaded, converted and dropped.
    """

    model: SegmentationModel
    options: Mapping[str, object] = field(default_factory=dict)
    report: LoadReport = field(default_factory=lambda: LoadReport("nothing"))


def load(
    source: Source,
    preset: str | None = None,
    *,
    class_names: Sequence[str] | None = None,
    encoders: Mapping[str, Source] | None = None,
    contexts: Mapping[str, Source] | None = None,
    **options: Any,
) -> TrainedModel:
    """Build a model as its checkpoint states, or as its name says, and load its weights.

    `Segmenter(rskt_seg.load("model_final.pth"), ["building", "road"])` segments as `rskt-seg segment` does
    with the configuration of the training.

    Args:
        source: A checkpoint that this package wrote, a published one, or the content of one; or the name of a
            model in `rskt_seg.list_models()`, such as "tiny", whose file is fetched into `pretrained` if it
            is to be had and not here.
        preset: Name of the model (`create_model`) for a checkpoint that states nothing, as published ones do.
        class_names: The classes of a closed-set model whose checkpoint does not state them.
        encoders: Role -> file or name of the frozen encoders that the checkpoint leaves out. None: where they
            were when the model was trained.
        contexts: As for `load_checkpoint`.
        options: With `preset`: options in which the model differs from it, such as `num_layers=5`.

    Returns:
        The model and its options; `Segmenter` takes both as they are.

    Raises:
        CheckpointError: The file does not state its model and no preset is given, both are given, it does not
            fit, what it states cannot be used, or it names a repository of an encoder.
        ConfigError: There is no such preset, or the classes of a closed-set model are unknown; or a preset
            and a name of a model are given.
        WeightsNotFoundError: There is no such file, or no such encoder; or the file of a name has to be got
            by hand, which the message explains.
    """
    if isinstance(source, str | os.PathLike) and os.fspath(source).endswith(".onnx"):
        raise CheckpointError(
            f"{os.fspath(source)} is a graph, not weights; use it by rskt_seg.Segmenter.from_onnx, or by "
            "rskt-seg segment --model"
        )
    if named := find_named(source):
        return _load_named(named, preset, options, class_names, encoders, contexts)
    return _load_file(source, preset, options, class_names, encoders, contexts)


def _load_named(
    named: NamedModel,
    preset: str | None,
    options: Mapping[str, object],
    class_names: Sequence[str] | None,
    encoders: Mapping[str, Source] | None,
    contexts: Mapping[str, Source] | None,
) -> TrainedModel:
    """Load a model by its name, as a whole or by its encoder alone."""
    if preset is not None or options:
        given = ", ".join([*(["preset"] if preset else []), *options])
        raise ConfigError(f"{named.name} is the name of one model; leave {given} out, or give its file")
    path = obtain(named)
    if named.weights.role != MODEL_ROLE:
        model = create_model(named.preset, class_names=class_names, **named.options)
        fitting = (role for role in named.weights.roles if role in method_of(model).encoders)
        return TrainedModel(model.eval(), named.inference, load_encoder(model, next(fitting), path))
    states_itself = read_weights(path).options is not None
    own, differing = (None, {}) if states_itself else (named.preset, named.options)
    trained = _load_file(path, own, differing, class_names, encoders, contexts)
    return replace(trained, options={**named.inference, **trained.options})


def _load_file(
    source: Source,
    preset: str | None,
    options: Mapping[str, Any],
    class_names: Sequence[str] | None,
    encoders: Mapping[str, Source] | None,
    contexts: Mapping[str, Source] | None,
) -> TrainedModel:
    name, weights = read_source(source)
    if weights.options is None:
        model = _build_preset(name, preset, class_names, options)
    elif preset is not None or options:
        given = [*([f"preset={preset!r}"] if preset else []), *(f"{k}={v!r}" for k, v in options.items())]
        raise CheckpointError(f"{name} states its model itself; leave {', '.join(given)} out")
    else:
        model = _build_stated(name, weights, weights.options, class_names)
    _load_frozen(model, name, weights, encoders or {})
    try:
        inference = check_options(method_of(model), weights.inference or {})
    except ConfigError as error:
        raise CheckpointError(f"{name}: what it states of how its model sees images: {error}") from error
    report = load_weights(model, name, weights, contexts)
    if weights.limits:
        note_weights(model, method_of(model).checkpoint.output_key, weights.limits)
    return TrainedModel(model.eval(), inference, report)


def _load_frozen(
    model: SegmentationModel, name: str, weights: WeightFile, encoders: Mapping[str, Source]
) -> None:
    """Load the frozen encoders that a checkpoint leaves out, from where it states or as given."""
    for role, facts in weights.frozen.items():
        source = facts["source"]
        if role not in encoders and source.startswith(HUB):
            raise CheckpointError(
                f"{name} states that its frozen encoder {role} is {source}, and nothing is fetched from a "
                "repository that only a file names: if you trust it, give "
                f"encoders={{{role!r}: {source!r}}}, or the configuration of the training"
            )
        try:
            load_encoder(model, role, encoders.get(role, source))
        except WeightsNotFoundError as error:
            raise WeightsNotFoundError(
                f"{name} does not contain its frozen encoder {role}: {error}; give the file by "
                f"encoders={{{role!r}: FILE}}"
            ) from error


def _build_preset(
    source: str, preset: str | None, class_names: Sequence[str] | None, options: Mapping[str, Any]
) -> SegmentationModel:
    if preset is None:
        raise CheckpointError(
            f"{source} does not state which model it belongs to, as published checkpoints do not: name the "
            f"model by preset; known are {', '.join(model_names())}"
        )
    method, _ = find_preset(preset)
    return create_model(preset, class_names=class_names if method.is_closed else None, **options)


def _build_stated(
    source: str, weights: WeightFile, options: Mapping[str, object], class_names: Sequence[str] | None
) -> SegmentationModel:
    method = _stated_method(source, options)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    make_spec: Callable[..., Spec] = method.spec
    try:
        spec = make_spec(**values)
    except (TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{source} states options that {method.title} does not take: {error}"
        ) from error
    if not method.is_closed and class_names is not None:
        raise ConfigError(f"{method.title} has no classes of its own: give the vocabulary to Segmenter")
    names = weights.class_names or (None if class_names is None else tuple(class_names))
    if names is None and method.needs_names:
        raise ConfigError(f"{source} does not state the names of its classes: give them by class_names")
    try:
        return method.build(spec, names)
    except (MemoryError, RuntimeError) as error:  # PyTorch's own error, where a width is beyond all memory
        raise CheckpointError(
            f"{source} states a model that cannot be built: {brief(str(error))}; if the file is no forgery, "
            "use a machine with more memory"
        ) from error


def _stated_method(source: str, options: Mapping[str, object]) -> Method:
    """Return the method whose options a checkpoint states."""
    found = [method for method in registered_methods() if set(method.options) == set(options)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(method.title for method in registered_methods())
    which = "several methods" if found else "no registered method"
    raise CheckpointError(
        f"{source} states the options {', '.join(map(str, list(options)[:5]))}, ..., those of {which} "
        f"({known}); register its method with rskt_seg.register_method, or build it with create_model and "
        "load_checkpoint"
    )
