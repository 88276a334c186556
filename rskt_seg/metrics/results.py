"""What a benchmark measured on each test set and with what, and what papers print for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rskt_seg.metrics.confusion import Scores
from rskt_seg.metrics.protocols import ProtocolScores


@dataclass(frozen=True)
class Reference:
    """What a paper prints for one test set, in percent; None: not printed.

    Attributes:
        source: Paper, table and row, and what does not compare.
        mIoU: Mean IoU.
        mF1: Mean F1.
        OA: Overall accuracy.
    """

    source: str
    mIoU: float | None
    mF1: float | None = None
    OA: float | None = None


@dataclass(frozen=True)
class BenchmarkReference:
    """What a paper prints of one model for all test sets of a benchmark, in percent; None: not printed.

    Attributes:
        source: Paper, table and row.
        labels: What tells the row from others, such as `{"trained_on": "DLRSD", "backbone": "ViT-B"}`.
        columns: Registered name of a test set -> its column, for registrations whose scores compare. The
            means are over exactly these sets.
        figures: Measure, such as "mIoU" -> column -> figure; empty if the means alone are printed.
        means: Measure -> mean of all columns, as printed.
    """

    source: str
    labels: Mapping[str, str]
    columns: Mapping[str, str]
    figures: Mapping[str, Mapping[str, float | None]]
    means: Mapping[str, float | None]


@dataclass(frozen=True)
class SetRecords:
    """Files of a set beside the report, and what they must hold.

    Attributes:
        image_counts: File of the counts of each image, relative to the folder of the report.
        image_counts_sha256: `ImageCounts.digest` of it.
        predictions: Folder of the predictions, absolute or relative likewise; "" if they were not kept.
        predictions_sha256: Digest of all predictions, equal for equal predictions in whatever files.
    """

    image_counts: str
    image_counts_sha256: str
    predictions: str
    predictions_sha256: str


_SAME = 2e-3
"""Relative difference up to which a figure counts as that of a paper, which prints three to five digits."""


@dataclass(frozen=True)
class PrintedCost:
    """A figure that a paper prints for the cost of a model, and what is known of it.

    Attributes:
        source: Paper, table and row.
        quantity: What it is the figure of, with its unit, such as "FLOPs (G)".
        printed: The figure as printed.
        convention: How it comes about, or what is not known of that.
        ours: The figure of the model at hand by that convention; None if it cannot be had here.
    """

    source: str
    quantity: str
    printed: float
    convention: str
    ours: float | None = None

    @property
    def verdict(self) -> str:
        """Whether `ours` is the printed figure."""
        if self.ours is None:
            return "not comparable"
        difference = self.ours / self.printed - 1
        return "reproduced" if abs(difference) <= _SAME else f"differs by {100 * difference:+.1f} %"


@dataclass(frozen=True)
class ImageFigures:
    """Cost of an image of a size; None: not known.

    Attributes:
        height: Height (px).
        width: Width (px).
        flops: FLOPs by the rule of the analysis, without what a vocabulary costs once.
        crops: Crops that the model sees.
        seconds: Median time of an image.
        memory: Most bytes in use at any time.
        measured_on: Device, threads and version of PyTorch of time and memory; "" if they were not measured.
    """

    height: int
    width: int
    flops: int
    crops: int | None
    seconds: float | None
    memory: int | None
    measured_on: str


@dataclass(frozen=True)
class CostFigures:
    """Cost of a run.

    Attributes:
        source: The file that states it.
        rule: The rule of its FLOPs.
        classes: Number of classes that the model was asked for.
        parameters: Number of all parameters.
        trained: Number of those that training changes.
        images: Figures of each size.
        augmented: Whether the figures of images include the views of test-time augmentation.
    """

    source: str
    rule: str
    classes: int
    parameters: int
    trained: int
    images: tuple[ImageFigures, ...]
    augmented: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What decides which rows of papers an evaluation compares with, besides the test sets.

    Attributes:
        spec: Specification of the model.
        trained_on: Registered names of the training sets.
        encoders: Role of an encoder -> the file or name that the configuration starts it from.
        options: How the evaluation sees images: name -> value.
        augmented: Whether it averages the scores of augmented views.
        trained: Options that only matter in training, name -> value, as the checkpoint states them. They may
            differ from those of `spec`.
    """

    spec: Any
    trained_on: tuple[str, ...]
    encoders: Mapping[str, str]
    options: Mapping[str, object]
    augmented: bool = False
    trained: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class PaperRows:
    """The rows of papers that an evaluation compares with.

    Attributes:
        rows: The rows; several if a paper prints one model more than once.
        why_none: If there is none, how the evaluation differs from the nearest row, or from all of them, in
            one sentence; "" if no paper has rows of the method.
    """

    rows: tuple[BenchmarkReference, ...] = ()
    why_none: str = ""


@dataclass(frozen=True, eq=False)
class SetResult:
    """What was measured on one test set.

    Attributes:
        name: Registered name of the set.
        classes: Names of its K classes.
        seen: For each class, whether its name was trained; None for a model whose classes are fixed.
        scores: Its scores.
        images: Number of images.
        fingerprint: Digest of images and labels.
        in_domain: Whether it contains images that the model was trained on; None: unknown.
        note: What a reader must know of it.
        protocol: Figures of its published protocol.
        paper: What a paper prints for it.
        ignore: Id of the labels that are not scored.
        records: Its files beside the report; None: there are none.
        unpublished: Why it is not the set that papers scored, beside which no figure of a paper stands; "" if
            nothing speaks against it.
    """

    name: str
    classes: tuple[str, ...]
    seen: tuple[bool, ...] | None
    scores: Scores
    images: int
    fingerprint: str
    in_domain: bool | None = False
    note: str = ""
    protocol: ProtocolScores | None = None
    paper: Reference | None = None
    ignore: int = 255
    records: SetRecords | None = None
    unpublished: str = ""

    @property
    def printed(self) -> Reference | None:
        """What a paper prints for it, unless it is not the set that papers scored."""
        return None if self.unpublished else self.paper

    @property
    def seen_flags(self) -> tuple[bool | None, ...]:
        """Return `seen`, or None for each class if the classes are fixed."""
        return (None,) * len(self.classes) if self.seen is None else self.seen


@dataclass(frozen=True)
class EvaluatedModel:
    """A model and how it sees images: what its cost depends on besides size and classes.

    Attributes:
        method: Title of its method.
        options: Options of the model, name -> value.
        evaluation: How an evaluation sees images, name -> value.
        augmentation: Views of test-time augmentation, name -> value; None: the scores are those of the image
            alone.
    """

    method: str
    options: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    augmentation: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Run:
    """What was evaluated and with what.

    Attributes:
        weights: Path of the checkpoint, or folder of the predictions of another program.
        weights_sha256: Its digest.
        trained_on: Names of the training sets, which decide what is seen.
        config: The configuration as plain values.
        versions: Name of a package or of the device -> its version.
        published: What papers print of this model for whole benchmarks.
        rotated: By how many places the class names were exchanged, as a control (0: not).
        training_free: Whether the method has nothing to train, so that an empty `trained_on` means nothing,
            not that it is unknown.
        source: What was scored, as reports name it: "weights" or "predictions".
        title: Name of the method in comparisons; "" for that of the folder of the report.
        model: What was evaluated; None if it is unknown, or if the results are no scores of predictions.
    """

    weights: str
    weights_sha256: str
    trained_on: tuple[str, ...]
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    published: PaperRows = PaperRows()
    rotated: int = 0
    training_free: bool = False
    source: Literal["weights", "predictions"] = "weights"
    title: str = ""
    model: EvaluatedModel | None = None
