"""`create_model`: models of all registered methods by name."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from rskt_seg.errors import ConfigError
from rskt_seg.methods.record import NUM_CLASSES, Method
from rskt_seg.methods.registry import registered_methods
from rskt_seg.typing import SegmentationModel, Spec
from rskt_seg.vocabulary import check_names


def model_names() -> tuple[str, ...]:
    """Return the names that `create_model` knows."""
    return tuple(name for method in registered_methods() for name in method.presets)


def find_preset(name: str) -> tuple[Method, Mapping[str, object]]:
    """Return the method of a preset, and the options in which it differs from the method's defaults.

    Args:
        name: One of `model_names()`.

    Returns:
        The method's record, and option -> value.

    Raises:
        ConfigError: There is no such name. The message gives the nearest.
    """
    for method in registered_methods():
        if name in method.presets:
            return method, method.presets[name]
    near = get_close_matches(name, model_names(), n=1)
    hint = f"did you mean {near[0]!r}? known" if near else "known"
    raise ConfigError(f"unknown model {name!r}; {hint} are {', '.join(model_names())}")


def create_model(
    name: str,
    num_classes: int | Sequence[str] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    **options: Any,
) -> SegmentationModel:
    """Build a model with random weights, in evaluation mode, without reading a file.

    Images are RGB in 0..255, (B, 3, H, W); the output has `.logits` (B, T, h, w). Open-vocabulary models are
    called as `model(images, vocabulary)`, closed-set models as `model(images)` or as their class documents.
    Load trained weights with `rskt_seg.load_checkpoint`, pretrained encoders with `rskt_seg.load_encoder`.

    Args:
        name: A preset of a method; `rskt_seg.methods.model_names()` lists them.
        num_classes: Number of classes of a closed-set model. Their names are accepted too, as `class_names`.
        class_names: Names of the classes of a closed-set model. Some methods find their classes by name: they
            need the names, and may add to them (a class "background" in front, unless there is one).
        options: Fields of the method's specification, for example `num_layers=3`. The class
            `rskt_seg.methods.find_preset(name)[0].spec` documents each.

    Returns:
        The model.

    Raises:
        ConfigError: A name, option or value is unknown; a closed-set model gets no classes, or an
            open-vocabulary model gets some.
        VocabularyError: The class names cannot be used.
    """
    method, preset = find_preset(name)
    _check_options(name, method, options)
    options = {**preset, **options}
    if not (num_classes is None or isinstance(num_classes, int)):
        if class_names is not None:
            raise ConfigError(
                "class names are given twice: leave class_names out, or give a number of classes"
            )
        num_classes, class_names = None, num_classes
    if method.is_closed:
        return _closed_set_model(name, method, num_classes, class_names, options).eval()
    if num_classes is not None or class_names is not None:
        raise ConfigError(
            f"{name} has no classes of its own: leave num_classes and class_names out; give the vocabulary "
            "to Segmenter or model(images, vocabulary)"
        )
    return method.build(method.spec(**options)).eval()


def _closed_set_model(
    name: str,
    method: Method,
    num_classes: int | None,
    class_names: Sequence[str] | None,
    options: Mapping[str, Any],
) -> SegmentationModel:
    make_spec: Callable[..., Spec] = method.spec
    if class_names is None:
        if num_classes is None:
            raise ConfigError(f"{name} has a fixed set of classes: give num_classes or class_names")
        if method.needs_names:
            raise ConfigError(
                f"{name} finds its classes by name: give class_names in place of num_classes={num_classes}"
            )
        return method.build(make_spec(num_classes, **options))
    if method.needs_names:
        if num_classes is not None:
            raise ConfigError(
                f"{name} takes the number of classes from class_names; leave num_classes={num_classes} out"
            )
        class_names = method.complete_names(check_names(class_names), options)
    return method.build(make_spec(num_classes or len(class_names), **options), class_names)


def _check_options(name: str, method: Method, options: Mapping[str, object]) -> None:
    known = [option for option in method.options if option != NUM_CLASSES]
    for option in options:
        if option not in known:
            near = get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"options are {', '.join(known)}"
            raise ConfigError(f"{name} has no option {option!r}; {hint}")
