"""`create_model`: every model of the package by name."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import NamedTuple

from torch import nn

from rskt_seg.errors import ConfigError
from rskt_seg.models.bicor import BiCoR, BiCoRSpec
from rskt_seg.models.fctl import FCtL, FCtLSpec
from rskt_seg.models.rskt import RSKT, RSKTSpec
from rskt_seg.models.wsss import PriorWSSS, PriorWSSSSpec, with_background
from rskt_seg.vocabulary import check_names


class Entry(NamedTuple):
    """What a name builds: model, specification, and the options that differ from the latter's defaults.

    `complete`: where a model cannot do without the names of its classes, what they become with the
    specification's `background`.
    """

    model: type[nn.Module]
    spec: type
    options: dict[str, object]
    complete: Callable[[Sequence[str], str], tuple[str, ...]] | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """Names of all options."""
        return tuple(field.name for field in fields(self.spec))

    @property
    def closed_set(self) -> bool:
        """Whether the classes are part of the model."""
        return "num_classes" in self.known


_RSKT_TINY = {"encoder": "tiny", "num_layers": 2, "hidden_dim": 32}
_BICOR_TINY = {"encoder": "tiny", "width": 64, "stochastic_depth": 0.0}
_WSSS_TINY = {
    "encoder": "tiny",
    "dino": "tiny",
    "dim": 64,
    "clip_levels": (1, 2, 3),
    "first_layer": 3,
    "template": "A photo of a {} in the scene",
    "descriptions": "tiny",
}
_FCTL_TINY = {"encoder": "vgg_tiny", "patch_side": 128, "input_side": 128}
MODELS: dict[str, Entry] = {
    "rskt_vitb16": Entry(RSKT, RSKTSpec, {"encoder": "vitb16"}),
    "rskt_vitl14": Entry(RSKT, RSKTSpec, {"encoder": "vitl14"}),
    "rskt_tiny": Entry(RSKT, RSKTSpec, _RSKT_TINY),
    "bicor_convnextb": Entry(BiCoR, BiCoRSpec, {"encoder": "convnextb"}),
    "bicor_tiny": Entry(BiCoR, BiCoRSpec, _BICOR_TINY),
    "fctl_vgg16": Entry(FCtL, FCtLSpec, {"encoder": "vgg16"}),
    "fctl_mitb2": Entry(FCtL, FCtLSpec, {"encoder": "mitb2"}),
    "fctl_mitb5": Entry(FCtL, FCtLSpec, {"encoder": "mitb5"}),
    "fctl_tiny": Entry(FCtL, FCtLSpec, _FCTL_TINY),
    "prior_wsss_vitb16": Entry(PriorWSSS, PriorWSSSSpec, {"encoder": "vitb16"}, with_background),
    "prior_wsss_tiny": Entry(PriorWSSS, PriorWSSSSpec, _WSSS_TINY, with_background),
}
"""Every model by name."""


def create_model(
    name: str,
    num_classes: int | Sequence[str] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    **options: object,
) -> nn.Module:
    """Build a model with random weights, in evaluation mode; no file is read.

    Args:
        name: one of `MODELS`. "rskt_*" are asked by words, `model(images, vocabulary)`; "bicor_*",
            `model(images)`, and "fctl_*", `model(patches, contexts={name: images})`, know a fixed set of
            classes; so does "prior_wsss_*", `model(images)`, which learns it from image-level labels.
        num_classes: of a closed-set model, which needs it unless class names are given, here or as
            `class_names`. "prior_wsss_*" needs the names. Its class "background" is added in front of them,
            unless it is there, one of them stands for it (`background="class:clutter"`) or there is none
            ("none").
        class_names: what its classes are called.
        options: fields of the model's specification, for example `num_layers=3, dino=False`: see
            `rskt_seg.models.rskt.RSKTSpec`, `rskt_seg.models.bicor.BiCoRSpec`,
            `rskt_seg.models.fctl.FCtLSpec` and `rskt_seg.models.wsss.PriorWSSSSpec`.

    Images are RGB in 0..255, (B, 3, H, W); the output has `.logits` (B, T, h, w). Load trained weights with
    `rskt_seg.load_checkpoint`, pretrained encoders with `rskt_seg.load_encoder`.

    Raises `ConfigError` for an unknown name, option or value, for a closed-set model without classes and for
    classes of an open-vocabulary model; `VocabularyError` for class names that cannot be used.
    """
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}; known are {', '.join(MODELS)}")
    entry = MODELS[name]
    _check_options(name, entry, options)
    if not (num_classes is None or isinstance(num_classes, int)):
        if class_names is not None:
            raise ConfigError(
                "class names are given twice: leave class_names out, or give a number of classes"
            )
        num_classes, class_names = None, num_classes
    if entry.closed_set:
        return _closed_set(name, entry, num_classes, class_names, {**entry.options, **options}).eval()
    if num_classes is not None or class_names is not None:
        raise ConfigError(
            f"{name} has no classes of its own: leave num_classes and class_names out; give the vocabulary "
            "to Segmenter or model(images, vocabulary)"
        )
    return entry.model(entry.spec(**{**entry.options, **options})).eval()


def _closed_set(
    name: str,
    entry: Entry,
    num_classes: int | None,
    class_names: Sequence[str] | None,
    options: dict[str, object],
) -> nn.Module:
    if num_classes is None and class_names is None:
        raise ConfigError(f"{name} knows a fixed set of classes: give num_classes or class_names")
    if entry.complete is not None:
        if class_names is None:
            raise ConfigError(f"{name} finds its classes by their names: give them in place of {num_classes}")
        if num_classes is not None:
            raise ConfigError(f"{name} takes the names alone; leave the number {num_classes} out")
        background = options.get("background", entry.spec.__dataclass_fields__["background"].default)
        class_names = entry.complete(check_names(class_names), background)
    num_classes = len(class_names) if num_classes is None else num_classes
    return entry.model(entry.spec(num_classes, **options), class_names=class_names)


def _check_options(name: str, entry: Entry, options: dict[str, object]) -> None:
    for option in options:
        if option not in entry.known:
            near = get_close_matches(option, entry.known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"options are {', '.join(entry.known)}"
            raise ConfigError(f"{name} has no option {option!r}; {hint}")
