"""The Detectron2 side of a method: its head, its keys, its augmentations and its place in a run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.data import transforms as T
from torch import nn

from rskt_seg.checkpoints.manifest import config_key
from rskt_seg.d2.crops import Sample
from rskt_seg.d2.typing import DatasetDict, Entries
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.text import Tokenizer
from rskt_seg.methods.record import NUM_CLASSES, Method
from rskt_seg.typing import SegmentationModel

UNKNOWN_WORDS = "MODEL.UNKNOWN_WORDS"
"""Key that methods read whose models encode class names."""
OPEN_VOCABULARY_KEYS = frozenset(
    {"TEST.ROTATE_NAMES", "TEST.AUG.FLIP", "TEST.AUG.MIN_SIZES", "TEST.AUG.MAX_SIZE", UNKNOWN_WORDS}
)
"""Keys that methods with an open vocabulary read, and no others besides `UNKNOWN_WORDS`."""
CLOSED_SET_KEYS = frozenset({"TEST.AUG.VIEWS"})
"""Keys that methods with a closed set read, and no others."""
IMAGE_LABEL_KEYS = frozenset({"DATASETS.MIN_LABEL_PIXELS"})
"""Keys that methods read which learn from image-level labels, and no others."""


SampleReader = Callable[[DatasetDict], Sample]
"""Reads the image and the label of a dataset dict."""


@dataclass(frozen=True)
class Chain:
    """A sequence of training augmentations, chosen by `INPUT.AUGMENTATION`.

    Attributes:
        build: (configuration, dataset dicts, reader of a dict) -> augmentations. Raises `ConfigError` for
            keys that cannot be used.
        reads: The `INPUT` keys that it reads, besides those that every chain may read.
        uses_masks: Whether it augments masks; methods that learn from image-level labels have none.
    """

    build: Callable[[CfgNode, Sequence[DatasetDict], SampleReader | None], list[T.Augmentation]]
    reads: frozenset[str] = frozenset()
    uses_masks: bool = True


def _as_is(cfg: CfgNode, segmentor: nn.Module) -> nn.Module:
    return segmentor


class EvaluationPass(NamedTuple):
    """A pass over the test sets with results of its own; the plain one has the defaults.

    Attributes:
        suffix: End of the names of its results, such as "_CAM".
        wrap: (configuration, segmentor) -> the model that is evaluated.
        note: Printed with the results, which are then no scores of predictions and are not compared with
            papers; "" for ordinary results.
        augmented: Whether the scores of augmented views are averaged.
    """

    suffix: str = ""
    wrap: Callable[[CfgNode, nn.Module], nn.Module] = _as_is
    note: str = ""
    augmented: bool = False


@dataclass(frozen=True)
class DetectronMethod:
    """What Detectron2's side needs to know of a method; a method overrides the hooks that concern it.

    Attributes:
        method: The plain record.
        head: The head, registered in `SEM_SEG_HEADS_REGISTRY`: a `rskt_seg.d2.heads.Head`, for closed sets a
            `ClosedSetHead`. Its class name is the value of `MODEL.SEM_SEG_HEAD.NAME`.
        section: Its options are `MODEL.<section>.<FIELD>`.
        chain: The value of `INPUT.AUGMENTATION` that its configurations start from.
        chains: The chains that it brings along, by name.
        keys: Its own keys, full name -> default; only methods that list a key in `keys` or `reads` read it.
        reads: Keys of the common configuration that it reads and others do not.
    """

    method: Method
    head: type[nn.Module]
    section: str
    chain: str = "ovrsis"
    chains: Mapping[str, Chain] = field(default_factory=dict)
    keys: Mapping[str, object] = field(default_factory=dict)
    reads: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The value of `MODEL.SEM_SEG_HEAD.NAME`."""
        return self.head.__name__

    @property
    def options(self) -> dict[str, object]:
        """Key below `MODEL.<section>` -> default, for every option but the number of classes."""
        return {f.name.upper(): f.default for f in fields(self.method.spec) if f.name != NUM_CLASSES}

    @property
    def read_keys(self) -> frozenset[str]:
        """Every key that this method reads and some other method does not."""
        method = self.method
        common = CLOSED_SET_KEYS if method.is_closed else OPEN_VOCABULARY_KEYS
        weak = IMAGE_LABEL_KEYS if method.is_weak else frozenset()
        frozen = frozenset({"MODEL.SAVE_FROZEN"} if method.frozen_encoders else ())
        encoders = frozenset(config_key(role) for role in method.encoders)
        return common | weak | frozen | encoders | self.reads | frozenset(self.keys)

    def advice(self, key: str) -> str | None:
        """Return what to use in place of a key of the authors' configurations.

        Args:
            key: The dotted name of an unknown key, such as "MODEL.SWIN.DEPTHS".

        Returns:
            The key to use, or why there is none; None for a key that the authors do not have.
        """
        return None

    def check_config(self, cfg: CfgNode, spec: Any) -> None:
        """Check the values of `keys`, and whether they agree with the model.

        Args:
            cfg: The configuration.
            spec: Specification of the model.

        Raises:
            ConfigError: A value cannot be used.
        """

    def check_batch(self, cfg: CfgNode, images: int, processes: int) -> None:
        """Check that the method can learn from a training batch.

        Args:
            cfg: The configuration.
            images: Number of images of a batch, in all processes together.
            processes: Number of processes.

        Raises:
            ConfigError: They are too few.
        """

    def background(self, cfg: CfgNode, class_names: Sequence[str]) -> int | None:
        """Return the class that image-level labels need not name.

        Args:
            cfg: The configuration.
            class_names: Classes of the data, in the order of their ids.

        Returns:
            Its id, or None if there is none.
        """
        return None

    def text_encoder(self, model: Any) -> tuple[CLIP, Tokenizer] | None:
        """Return what reads class names in a model.

        Args:
            model: A plain model of the method.

        Returns:
            The CLIP and its tokenizer; None for a method that reads none.
        """
        if (tower := self.method.text_tower) is None:
            return None
        return tower(model).clip, tower(model).bank.tokenizer

    def fit(self, cfg: CfgNode, spec: Any, class_names: Sequence[str]) -> Any:
        """Return the options of a model that follow from its classes.

        Args:
            cfg: The configuration.
            spec: The options that the configuration asks for.
            class_names: Classes of the data, in the order of their ids.

        Returns:
            `spec`, or a copy with other options.
        """
        return spec

    def check_training_data(self, cfg: CfgNode, class_names: Sequence[str]) -> None:
        """Check that the method can be trained on these classes, once the datasets are registered.

        Args:
            cfg: The configuration.
            class_names: Classes of the training data, in the order of their ids.

        Raises:
            RSKTSegError: It cannot.
        """

    def check_test_data(self, cfg: CfgNode, name: str, entries: Entries) -> None:
        """Check that an evaluation as configured can score the images of a test set.

        Args:
            cfg: The configuration.
            name: Registered name of the test set.
            entries: Its dicts.

        Raises:
            ConfigError: It cannot.
        """

    def finish_start(self, model: SegmentationModel, cfg: CfgNode) -> None:
        """Complete a new model whose encoders have just been loaded one by one.

        Args:
            model: The plain model; changed in place.
            cfg: The configuration.
        """

    def learning_rate_factors(self, cfg: CfgNode) -> Iterable[tuple[str, float]]:
        """Return the factors on `SOLVER.BASE_LR` of parameters that do not learn at that rate.

        Args:
            cfg: The whole configuration.

        Returns:
            (prefix of parameter names in the plain model, factor) pairs; the others have 1.
        """
        return ()

    def evaluation_passes(self, cfg: CfgNode) -> Sequence[EvaluationPass]:
        """Return the passes that follow the plain evaluation and the one with test-time augmentation.

        Args:
            cfg: The whole configuration.

        Returns:
            The further passes over every test dataset, in their order; none by default.
        """
        return ()

    def segmenter_options(self, cfg: CfgNode) -> dict[str, Any]:
        """Return the options of `rskt_seg.Segmenter` that follow from a configuration.

        Args:
            cfg: The whole configuration.

        Returns:
            Name -> value of the options that the demo passes to `Segmenter` with this configuration.
        """
        return {}

    def evaluation_options(self, cfg: CfgNode) -> dict[str, Any]:
        """Return the options with which `rskt_seg.Segmenter` sees images as an evaluation does.

        Args:
            cfg: The whole configuration.

        Returns:
            Name -> value; those of `segmenter_options` by default.
        """
        return self.segmenter_options(cfg)

    @property
    def allows_tf32(self) -> bool:
        """Whether matrix products may be rounded to TF32 on GPUs that have it, as published codes do."""
        return True
