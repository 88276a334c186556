"""Record of a method: every fact about it that generic code needs. Generic code asks nothing else.

The models, specifications and results of methods have types of their own. Where a record holds functions of
them, `Any` stands for these types: generic code passes the values on and does not look inside.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from rskt_seg.checkpoints.manifest import MODEL_ROLE, Weights
from rskt_seg.checkpoints.rules import LoadReport
from rskt_seg.encoders.text import TextTower
from rskt_seg.inference.strategies import Strategy
from rskt_seg.methods.layout import CheckpointLayout
from rskt_seg.methods.notices import note_weights
from rskt_seg.metrics.published import ComparableTable
from rskt_seg.metrics.results import Evaluation, PaperRows, PrintedCost, Reference
from rskt_seg.typing import ScoreKind, SegmentationModel, Spec

NUM_CLASSES = "num_classes"
"""Field of the specifications of closed-set models: the number of classes, which follows from the data."""


@dataclass(frozen=True)
class EncoderRole:
    """A pretrained encoder that a model starts from.

    Attributes:
        load: Loads a state dict into the encoder, strictly: (model, state dict, source) -> report. The source
            is for messages.
        where: Which files fit and where to get them; completes the sentence "Get ...".
        used: Returns whether a model of this specification has the encoder.
        named: Whether the name of open_clip or hub weights is accepted in place of a file.
        frozen: Whether the encoder is never trained, so that checkpoints may leave it out.
        in_start: Whether the checkpoint that a training stage starts from contains it already.
    """

    load: Callable[[Any, Mapping[str, Tensor], str], LoadReport]
    where: str
    used: Callable[[Any], bool] = lambda spec: True
    named: bool = False
    frozen: bool = False
    in_start: bool = False


class ExplanationRequest(NamedTuple):
    """Input of an explanation: an image, and what is asked about it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB, with the mean colour of the valid pixels as nodata.
        original: (H, W, 3) uint8 RGB as read from the file.
        valid: (H, W) bool.
        at: (row, column) of a pixel; None: the centre.
        present: Class names of an image-level label; None: the classes in `truth`, or without it the
            predicted ones.
        truth: (H, W) class ids; None: unknown.
    """

    pixels: np.ndarray
    original: np.ndarray
    valid: np.ndarray
    at: tuple[int, int] | None = None
    present: Sequence[str] | None = None
    truth: np.ndarray | None = None


class Picture(NamedTuple):
    """What `Explanation.draw` needs besides the result.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        prompts: Names that the model was asked for.
        colors: (T, 3) uint8 RGB, the colours of the classes.
    """

    image: np.ndarray
    prompts: tuple[str, ...]
    colors: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """A view of what a model computes for an image, such as its cost maps.

    Attributes:
        label: Name in messages, such as "cost maps".
        help: One line for the command line.
        compute: (strategy, request) -> result.
        draw: (result, picture) -> RGB pictures (H, W, 3) uint8.
        unavailable: Returns why this model of the method lacks it; None if it has it.
        check: Raises for a request that `compute` would refuse, before anything is computed.
        report: Returns a line about a result for the log and whether it is a warning; None for no line.
        takes: Optional fields of `ExplanationRequest` that it reads.
    """

    label: str
    help: str
    compute: Callable[[Any, ExplanationRequest], Any]
    draw: Callable[[Any, Picture], Sequence[np.ndarray]]
    unavailable: Callable[[Any], str | None] = lambda model: None
    check: Callable[[Any, Sequence[str] | None], None] = lambda model, present: None
    report: Callable[[Any], tuple[str, bool] | None] = lambda result: None
    takes: frozenset[str] = frozenset()


def _keep_names(names: Sequence[str], options: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(names)


@dataclass(frozen=True)
class NamedModel:
    """A model that `rskt_seg.load` and `rskt-seg segment --model` know by the name of its weight file.

    Attributes:
        weights: The file: a whole checkpoint, or for a method that is not trained its encoder.
        preset: Name of the model for `create_model`; a file that states its model itself has the last word.
        config: Configuration of the same model that sees images in the same way, a name within `configs`.
        purpose: What it is for, in a few words.
        options: Options in which it differs from the preset.
        inference: Options of `rskt_seg.Segmenter` in which it differs from their defaults.
    """

    weights: Weights
    preset: str
    config: str
    purpose: str
    options: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its weight file in the manifest."""
        return self.weights.name


@dataclass(frozen=True)
class Method:
    """One method: how generic code names, builds, loads, uses and compares its models.

    Attributes:
        name: Short name in lower case, unique among the registered methods.
        title: Name in messages and reports.
        model: The model class, constructed as `model(spec)`; for closed sets as `model(spec, class_names)`.
        spec: The specification of its options. Closed sets have a first field `num_classes`.
        presets: Name for `create_model` -> options that differ from the defaults of `spec`.
        vocabulary: "open" (class names are given with every image) or "closed" (a fixed set of classes).
        strategy: How its models see an image of any size; the fields are options of `Segmenter`.
        checkpoint: The layouts of its checkpoints.
        supervision: What it learns from: "masks", "image labels" (the classes in each training image), or
            "none": its models are their pretrained encoders, and are evaluated as they are.
        encoders: Role -> pretrained encoder, in the order of loading.
        models: Models with weights that can be had, by name.
        explanations: Name -> explanation.
        needs_names: Whether building a closed-set model takes class names, not only their number.
        complete_names: For closed sets: (names, options) -> the names with those that the method adds.
        published_rows: Evaluation -> rows of the paper's tables on a whole benchmark that it repeats.
        reference: (spec, registered test set) -> figures that the paper prints for a model that computes the
            same; None if there are none.
        tables: Tables of papers whose rows `rskt-seg compare` can put beside own results.
        score_kind: Model -> what its scores are, "sigmoids", or "probabilities" of the names that it is asked
            for, a softmax.
        text_tower: Model -> what encodes its class names; None if it has none.
        printed_costs: Model, which may be on the device "meta" -> what the paper prints for its cost.
        detectron2: "module:attribute" of its `rskt_seg.d2.methods.DetectronMethod`, which only `rskt_seg.d2`
            imports; "" if it has none.
    """

    name: str
    title: str
    model: type[SegmentationModel]
    spec: type[Spec]
    presets: Mapping[str, Mapping[str, object]]
    vocabulary: Literal["open", "closed"]
    strategy: type[Strategy]
    checkpoint: CheckpointLayout
    supervision: Literal["masks", "image labels", "none"] = "masks"
    encoders: Mapping[str, EncoderRole] = field(default_factory=dict)
    models: tuple[NamedModel, ...] = ()
    explanations: Mapping[str, Explanation] = field(default_factory=dict)
    needs_names: bool = False
    complete_names: Callable[[Sequence[str], Mapping[str, object]], tuple[str, ...]] = _keep_names
    published_rows: Callable[[Evaluation], PaperRows] = lambda evaluation: PaperRows()
    reference: Callable[[Any, str], Reference | None] = lambda spec, test_set: None
    tables: tuple[ComparableTable, ...] = ()
    score_kind: Callable[[Any], ScoreKind] = lambda model: "probabilities"
    text_tower: Callable[[Any], TextTower] | None = None
    printed_costs: Callable[[Any], Sequence[PrintedCost]] = lambda model: ()
    detectron2: str = ""

    def build(self, spec: Spec, class_names: Sequence[str] | None = None) -> SegmentationModel:
        """Build a model with random weights, in training mode.

        Args:
            spec: An instance of the method's `spec`.
            class_names: For closed sets, the names of the classes; None if unknown.

        Returns:
            The model, an instance of `model`.
        """
        constructor: Callable[..., SegmentationModel] = self.model
        model = constructor(spec, class_names=class_names) if self.is_closed else constructor(spec)
        random = f"this model has random weights, so its classes mean nothing: {self._remedy}"
        note_weights(model, self.checkpoint.output_key, random)
        return model

    @property
    def weights(self) -> tuple[Weights, ...]:
        """Checkpoints of whole models."""
        return tuple(named.weights for named in self.models if named.weights.role == MODEL_ROLE)

    @property
    def _remedy(self) -> str:
        """Return the way to get weights into a model, for a message about one that has none."""
        if self.is_trained:
            return "load a trained checkpoint, rskt_seg.load_checkpoint(model, 'model_final.pth')"
        loads = (f"rskt_seg.load_encoder(model, {role!r}, FILE)" for role in self.encoders)
        return f"load its pretrained weights, {', '.join(loads)}"

    @property
    def is_closed(self) -> bool:
        """Whether the classes are part of the model."""
        return self.vocabulary == "closed"

    @property
    def is_weak(self) -> bool:
        """Whether it learns from image-level labels."""
        return self.supervision == "image labels"

    @property
    def is_trained(self) -> bool:
        """Whether there is anything to train."""
        return self.supervision != "none"

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options: the fields of `spec`."""
        return tuple(each.name for each in fields(self.spec))

    @property
    def frozen_encoders(self) -> tuple[str, ...]:
        """Roles of the encoders that are never trained."""
        return tuple(role for role, encoder in self.encoders.items() if encoder.frozen)


class StatesMethod(ABC):
    """A model that states its record itself, because none that is registered builds it: an exported graph."""

    @property
    @abstractmethod
    def method(self) -> Method:
        """The record of this model alone."""
