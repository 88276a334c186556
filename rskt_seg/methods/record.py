"""The record of a method: every fact about it that generic code needs, and generic code asks nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from torch import Tensor, nn

from rskt_seg.checkpoints.rules import LoadReport
from rskt_seg.inference.strategies import Strategy
from rskt_seg.methods.layout import CheckpointLayout
from rskt_seg.metrics.benchmark import BenchmarkReference, Reference
from rskt_seg.typing import SegmentationModel

NUM_CLASSES = "num_classes"
"""Field of the specifications of closed-set models: the number of classes, which follows from the data."""


@dataclass(frozen=True)
class EncoderRole:
    """A pretrained encoder that a model starts from.

    Attributes:
        load: Fill the encoder of a model from a state dict, strictly: (model, state, source) -> report.
        where: One sentence on which files fit and where to get them.
        used: Whether a model of this specification has the encoder.
        named: Whether an open_clip or hub name may stand in place of a file.
        frozen: Whether it never trains, so that checkpoints may leave it out.
        in_start: Whether a checkpoint given as the start of a training stage holds it already.
    """

    load: Callable[[Any, Mapping[str, Tensor], str], LoadReport]
    where: str
    used: Callable[[Any], bool] = lambda spec: True
    named: bool = False
    frozen: bool = False
    in_start: bool = False


class ExplanationRequest(NamedTuple):
    """What an explanation is computed from.

    `pixels` (H, W, 3) uint8 RGB with the mean colour where there is no data; `original`, the pixels of the
    file; `valid` (H, W) bool. `at`: (row, column) of a pixel, None the centre. `present`: names of an
    image-level label, None those of the `truth` (H, W) ids, or without it those predicted.
    """

    pixels: np.ndarray
    original: np.ndarray
    valid: np.ndarray
    at: tuple[int, int] | None = None
    present: Sequence[str] | None = None
    truth: np.ndarray | None = None


class Picture(NamedTuple):
    """What `Explanation.draw` needs besides the result: the image, names and colours of the classes."""

    image: np.ndarray
    prompts: tuple[str, ...]
    colors: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """A way to show what a model did with an image.

    Attributes:
        label: How messages call it, such as "cost maps".
        help: One line for the command line.
        compute: (strategy, request) -> result.
        draw: (result, picture) -> RGB pictures (H, W, 3) uint8.
        unavailable: Why a model of the method lacks it, None where it has it.
        check: Raise for a request that `compute` would refuse, before anything is computed.
        report: One line about a result for the log, None for nothing; True where it is a warning.
        takes: Which optional fields of a request it reads.
    """

    label: str
    help: str
    compute: Callable[[Any, ExplanationRequest], Any]
    draw: Callable[[Any, Picture], Sequence[np.ndarray]]
    unavailable: Callable[[Any], str | None] = lambda model: None
    check: Callable[[Any, Sequence[str] | None], None] = lambda model, present: None
    report: Callable[[Any], tuple[str, bool] | None] = lambda result: None
    takes: frozenset[str] = frozenset()


def _as_given(names: Sequence[str], options: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(names)


@dataclass(frozen=True)
class Method:
    """One method: its names, model, options, and how generic code builds, loads, uses and compares it.

    Attributes:
        name: Short name, such as "rskt".
        title: How people call it, such as "RSKT-Seg".
        model: The model class. Called as `model(spec)`, for closed sets as `model(spec, class_names=...)`.
        spec: The frozen dataclass of its options. Closed sets have a field `num_classes`.
        presets: Name for `create_model` -> options that differ from the defaults of `spec`.
        vocabulary: "open" (class names are given with every image) or "closed" (a fixed set of classes).
        strategy: How it sees an image of any size; its fields are options of `Segmenter`.
        checkpoint: The layouts of its checkpoints.
        supervision: "masks", or "image labels" (which classes each training image shows).
        encoders: Role -> pretrained encoder, in the order in which they are loaded.
        explanations: Name -> what it can show, such as "cost_maps".
        needs_names: Whether a closed-set model cannot be built from a number of classes alone.
        complete_names: Closed sets: (names, options) -> the names with what the method adds to them.
        published_row: (spec, training set) -> the row of the paper's benchmark table that a run repeats.
        reference: (spec, registered test set) -> what the paper prints for a model that computes the same.
        detectron2: "module:attribute" of the Detectron2 side (`rskt_seg.d2.methods.DetectronMethod`), "" for
            none. It is imported by `rskt_seg.d2` alone.
    """

    name: str
    title: str
    model: type[nn.Module]
    spec: type[Any]
    presets: Mapping[str, Mapping[str, object]]
    vocabulary: Literal["open", "closed"]
    strategy: type[Strategy]
    checkpoint: CheckpointLayout
    supervision: Literal["masks", "image labels"] = "masks"
    encoders: Mapping[str, EncoderRole] = field(default_factory=dict)
    explanations: Mapping[str, Explanation] = field(default_factory=dict)
    needs_names: bool = False
    complete_names: Callable[[Sequence[str], Mapping[str, object]], tuple[str, ...]] = _as_given
    published_row: Callable[[Any, str], BenchmarkReference | None] = lambda spec, trained_on: None
    reference: Callable[[Any, str], Reference | None] = lambda spec, test_set: None
    detectron2: str = ""

    def build(self, spec: Any, class_names: Sequence[str] | None = None) -> SegmentationModel:
        """Build a model with random weights; `class_names` (None: unknown) are for closed sets alone."""
        model = self.model(spec, class_names=class_names) if self.is_closed else self.model(spec)
        return cast(SegmentationModel, model)  # what registering a method promises

    @property
    def is_closed(self) -> bool:
        """Whether the classes are part of the model."""
        return self.vocabulary == "closed"

    @property
    def is_weak(self) -> bool:
        """Whether it learns from image-level labels."""
        return self.supervision == "image labels"

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options: the fields of `spec`."""
        return tuple(each.name for each in fields(self.spec))

    @property
    def frozen_encoders(self) -> tuple[str, ...]:
        """Roles of the encoders that never train."""
        return tuple(role for role, encoder in self.encoders.items() if encoder.frozen)
