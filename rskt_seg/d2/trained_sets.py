"""The training sets of a model, as its checkpoints state them for evaluations."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from rskt_seg.checkpoints.files import read_weights
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.data.catalog import share_images
from rskt_seg.errors import CheckpointError

logger = logging.getLogger(__name__)


class TrainedSet(NamedTuple):
    """A registered set as a checkpoint states it: enough to recognise it where it is not registered.

    Attributes:
        name: Registered name.
        dataset: The dataset it is a part of.
        split: Which part, such as "train".
        classes: Class names, in the order of ids.
    """

    name: str
    dataset: str
    split: str
    classes: tuple[str, ...]

    @classmethod
    def registered(cls, name: str) -> "TrainedSet":
        """Return the set that is registered as `name`."""
        found = MetadataCatalog.get(name)
        classes = tuple(found.get("stuff_classes", ()))
        return cls(name, found.get("dataset", name), found.get("split", ""), classes)

    @classmethod
    def stated(cls, entry: Mapping[str, Any], source: str) -> "TrainedSet":
        """Return the set of an entry of a checkpoint.

        Args:
            entry: The entry.
            source: The checkpoint, for messages.

        Returns:
            The set.

        Raises:
            CheckpointError: The entry is malformed.
        """
        try:
            classes = tuple(map(str, entry["classes"]))
            return cls(str(entry["name"]), str(entry["dataset"]), str(entry["split"]), classes)
        except (TypeError, KeyError) as error:
            raise CheckpointError(
                f"{source}: an entry on the sets it was trained on must have {', '.join(cls._fields)}; found "
                f"{entry!r}: the file is damaged"
            ) from error

    def holds_images_of(self, test: str) -> bool:
        """Return whether it has images of the set registered as `test`, by dataset and split of both."""
        other = TrainedSet.registered(test)
        parts = (other.dataset, other.split), (self.dataset, self.split)
        return test == self.name or share_images(*parts)


def sets_to_train(cfg: CfgNode) -> tuple[TrainedSet, ...]:
    """Return the sets of `DATASETS.TRAIN`."""
    return tuple(TrainedSet.registered(name) for name in cfg.DATASETS.TRAIN)


def stated_sets(path: str) -> tuple[TrainedSet, ...]:
    """Return the sets that a checkpoint states it was trained on; none if it states nothing.

    Raises:
        CheckpointError: The file cannot be read, or an entry is malformed.
    """
    return tuple(TrainedSet.stated(entry, path) for entry in read_weights(path).trained_on)


def trained_sets(cfg: CfgNode, weights: str) -> tuple[TrainedSet, ...]:
    """Return the sets that the checkpoint `weights` states, or else those of `DATASETS.TRAIN`.

    A difference between the two is logged as a warning. A method that is not trained has only those that its
    weights state.

    Args:
        cfg: The configuration.
        weights: Path of the checkpoint; "" if there is none.

    Returns:
        The sets in the order in which they are stated.

    Raises:
        CheckpointError: The file cannot be read, or an entry is malformed.
    """
    stated = stated_sets(weights) if weights else ()
    if not method_of(cfg).method.is_trained:
        return stated
    if stated and {each.name for each in stated} != set(cfg.DATASETS.TRAIN):
        logger.warning(
            "%s states that it was trained on %s: that, not DATASETS.TRAIN (%s), defines the seen classes",
            weights,
            ", ".join(each.name for each in stated),
            ", ".join(cfg.DATASETS.TRAIN) or "empty",
        )
    return stated or sets_to_train(cfg)
