"""Layouts of the checkpoints of a method: those of this package, and those of the published code."""

from collections.abc import Mapping, Sequence, Set
from typing import Any, ClassVar

from torch import Tensor

from rskt_seg.checkpoints.files import Source, WeightFile
from rskt_seg.checkpoints.rules import LoadReport, Rule, convert, load_strict
from rskt_seg.errors import CheckpointError

PREFIX = r"(module\.)?(sem_seg_head\.model\.)?(?=.)"
"""Prefix of distributed training and Detectron2 before the names of the plain model."""
REMEDY = (
    "Build the model with the options the checkpoint was trained with "
    "(number of classes, number of layers, components)"
)
OTHER_ENCODER = "The model's encoder has another architecture: choose the file that fits it"
"""Advice for `load_strict` of an encoder."""


class CheckpointLayout:
    """Checkpoints under this package's names alone. Methods with other layouts override what differs.

    `Any` is the model or specification of the method.

    Attributes:
        training_only: Options that change nothing of what a trained model computes. Checkpoint and model may
            differ in them.
        evaluation_only: Options of how a trained model is evaluated, on which no weight depends. Checkpoint
            and model may differ in them, and those of the model count.
        output_key: Name of the weight of the last layer, by which checkpoints of the method are recognised,
            and models that nothing was loaded into.
        class_axes: Name of each tensor that depends on the classes -> how many of its first axes count them.
            The first counts all classes. Empty for open vocabularies; names that a model lacks are skipped.
        class_options: Options that follow from the classes, in which a model of other classes may differ.
        remedy: Advice for a checkpoint that does not fit, as a sentence without a full stop.
    """

    training_only: tuple[str, ...] = ()
    evaluation_only: tuple[str, ...] = ()
    output_key: str = ""
    class_axes: ClassVar[Mapping[str, int]] = {}
    class_options: tuple[str, ...] = ("num_classes",)
    remedy: str = REMEDY

    def class_rows(
        self, name: str, class_names: Sequence[str], options: Mapping[str, object]
    ) -> tuple[str, ...]:
        """Return which class each entry of a tensor in `class_axes` is of, along any of its class axes.

        Args:
            name: Name of the tensor.
            class_names: The classes of its model, in the order of their ids.
            options: The options of its model.

        Returns:
            The class names, all of them unless the method says otherwise; () for a tensor that has to be
            computed again for other classes.
        """
        return tuple(class_names)

    def is_published(self, keys: Set[str]) -> bool:
        """Return whether a checkpoint was written by the published code.

        Args:
            keys: The key names of the checkpoint.

        Returns:
            True if they are names of the published code; `published_rules` then convert them.
        """
        return False

    def published_rules(self, model: Any, state: Mapping[str, Tensor], source: str) -> Sequence[Rule]:
        """Return the rules from the names of the published code to those of `model`.

        Args:
            model: The model to load into.
            state: State dict for which `is_published` is True.
            source: Name of the checkpoint in messages.

        Returns:
            The rules in the order of precedence.

        Raises:
            CheckpointError: The checkpoint is of a variant that `model` is not.
        """
        raise NotImplementedError

    def is_encoder(self, keys: Set[str]) -> bool:
        """Return whether a checkpoint is the file of a pretrained encoder, and all that the model needs.

        Args:
            keys: The key names of the checkpoint.

        Returns:
            True if `load` takes it as a whole checkpoint.
        """
        return False

    def companions(self, spec: Any, keys: Set[str]) -> tuple[str, ...]:
        """Return the roles of encoders that a checkpoint with these keys keeps in separate files.

        Args:
            spec: Specification of the model to load into.
            keys: Key names of the checkpoint.

        Returns:
            The roles; empty if the checkpoint is complete.
        """
        return ()

    def renamed(
        self,
        model: Any,
        weights: WeightFile,
        source: str,
        companions: Mapping[str, Source] | None = None,
    ) -> tuple[dict[str, Tensor], LoadReport]:
        """Return a whole checkpoint under the names of this package.

        Args:
            model: A model of the method.
            weights: The checkpoint, under this package's names or those of the published code.
            source: Its name in messages.
            companions: Role -> file, for the encoders that a published checkpoint keeps in separate files.

        Returns:
            The tensors, and which of them were converted and dropped.

        Raises:
            CheckpointError: The checkpoint is of a variant that `model` is not, or has a tensor twice.
        """
        if companions:
            raise CheckpointError(
                f"{source} contains all encoders, so that contexts={sorted(companions)} would not be read; "
                "leave them out"
            )
        rules: Sequence[Rule] = [Rule(PREFIX, "")]
        if self.is_published(weights.state.keys()):
            rules = self.published_rules(model, weights.state, source)
        report = LoadReport(source)
        return convert(weights.state, rules, report), report

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
            weights: The checkpoint, under this package's names or those of the published code.
            source: Its name in messages.
            left_out: Tensors of the frozen encoders that the checkpoint leaves out, under the model's names.
            companions: Role -> file, for the encoders that a published checkpoint keeps in separate files.

        Returns:
            Which tensors were loaded, converted and dropped.

        Raises:
            CheckpointError: A tensor of the model is missing or of another shape, or the checkpoint has
                further tensors. The model is unchanged.
        """
        state, report = self.renamed(model, weights, source, companions)
        state |= left_out
        self.check_classes(model, state, source)
        load_strict(model, state, source, self.remedy)
        return report

    def start_from(
        self, model: Any, source: Source, companions: Mapping[str, Source] | None = None
    ) -> LoadReport:
        """Start a training stage from the checkpoint of an earlier one.

        Args:
            model: A model of the method.
            source: The checkpoint.
            companions: Role -> file, for encoders from other checkpoints.

        Returns:
            Which tensors were loaded, converted and dropped.

        Raises:
            CheckpointError: The method is not trained in stages, or the checkpoint does not fit.
        """
        raise CheckpointError("this method is not trained in stages; use MODEL.WEIGHTS")

    def check_classes(self, model: Any, state: Mapping[str, Tensor], source: str) -> None:
        """Check that a checkpoint has as many classes as the model.

        Args:
            model: The model to load into.
            state: State dict under this package's names.
            source: Name of the checkpoint in messages.

        Raises:
            CheckpointError: It has another number of classes.
        """
        key = next(iter(self.class_axes), None)
        if key is None or key not in state:
            return
        own, given = len(model.state_dict()[key]), len(state[key])
        if own != given:
            raise CheckpointError(
                f"{source} was trained on {given} classes, this model has {own}; build it with "
                f"num_classes={given} or the class names of its training set, choose a checkpoint trained on "
                "your classes, or start a training from it with MODEL.WEIGHTS"
            )

    def check_stated(self, model: Any, weights: WeightFile, source: str) -> None:
        """Compare further facts that a checkpoint states, besides options, class names and frozen encoders.

        Args:
            model: The model to load into.
            weights: The checkpoint.
            source: Its name in messages.

        Raises:
            CheckpointError: The model differs from what the checkpoint states.
        """
