"""How the checkpoints of a method look: its own, and those of the published code."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

from torch import Tensor

from rskt_seg.checkpoints.files import Source, WeightFile
from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.errors import CheckpointError

PREFIX = r"(module\.)?(sem_seg_head\.model\.)?(?=.)"
"""What distributed training and Detectron2 put before the names of the plain model."""
REMEDY = (
    "Build the model with the options the checkpoint was trained with "
    "(number of classes, number of layers, components)"
)


OTHER_ENCODER = "The model's encoder has another architecture: choose the file that fits it"


class CheckpointLayout:
    """The layout of a method without published checkpoints; methods override what differs.

    Attributes:
        training_only: Options that change nothing of what a trained model computes, so that a checkpoint may
            differ in them.
        output_key: Name of the weight of the last layer, by which a checkpoint of the method is recognised.
        class_key: Name of a tensor with one row per class, "" for open vocabularies.
    """

    training_only: tuple[str, ...] = ()
    output_key: str = ""
    class_key: str = ""

    def is_published(self, keys: Set[str]) -> bool:
        """Return whether these are key names of the published code."""
        return False

    def published_rules(self, model: Any, state: Mapping[str, Tensor], source: str) -> Sequence[Rule]:
        """Return the rules from the published names to those of `model`.

        Raises:
            CheckpointError: the checkpoint is of a variant that `model` is not.
        """
        raise NotImplementedError

    def companions(self, spec: Any, keys: Set[str]) -> tuple[str, ...]:
        """Return the encoders that a checkpoint with these keys keeps in files of their own."""
        return ()

    def load(
        self,
        model: Any,
        weights: WeightFile,
        source: str,
        left_out: Mapping[str, Tensor],
        companions: Mapping[str, Source] | None = None,
    ) -> LoadReport:
        """Load a whole checkpoint, strictly.

        Args:
            model: A model of the method.
            weights: The checkpoint, under this package's names or the published ones.
            source: How messages call it.
            left_out: Tensors of frozen encoders that the checkpoint states to leave out.
            companions: Encoders of a published checkpoint that are files of their own, by role.

        Raises:
            CheckpointError: a tensor of the model is missing, left over or of another shape; the model is
                then unchanged.
        """
        if companions:
            raise CheckpointError(
                f"{source} is one file with all encoders, so contexts={sorted(companions)} have no place; "
                "leave them out"
            )
        rules: Sequence[Rule] = [Rule(PREFIX, "")]
        if self.is_published(weights.state.keys()):
            rules = self.published_rules(model, weights.state, source)
        report = LoadReport(source)
        state = {**convert(weights.state, rules, report), **left_out}
        self.check_classes(model, state, source)
        load_strict(model, state, source, REMEDY)
        return report

    def start_from(
        self, model: Any, source: Source, companions: Mapping[str, Source] | None = None
    ) -> LoadReport:
        """Start a training stage from the checkpoint of an earlier one.

        Raises:
            CheckpointError: the method has no stages, or the checkpoint does not fit.
        """
        raise CheckpointError("this method is not trained in stages; use MODEL.WEIGHTS")

    def check_classes(self, model: Any, state: Mapping[str, Tensor], source: str) -> None:
        """Raise `CheckpointError` if `state`, under this package's names, has another number of classes."""
        if not self.class_key or self.class_key not in state:
            return
        own, given = len(model.state_dict()[self.class_key]), len(state[self.class_key])
        if own != given:
            raise CheckpointError(
                f"{source} was trained on {given} classes, this model has {own}; build it with "
                f"num_classes={given} or the names of the classes of its data, or choose the checkpoint of "
                "its data set"
            )

    def check_stated(self, model: Any, weights: WeightFile, source: str) -> None:
        """Raise or warn about further facts that a checkpoint states, beside options and class names."""
