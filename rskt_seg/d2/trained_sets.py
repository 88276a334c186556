"""What a model was trained on: stated by its checkpoints, so that an evaluation need not be told."""

import logging
from collections.abc import Mapping
from typing import NamedTuple, Self

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from rskt_seg.checkpoints.files import read_weights
from rskt_seg.errors import CheckpointError

logger = logging.getLogger(__name__)

_KINDS = {"", "8c", "padded", "fctl"}
"""Words of a split's name that tell how its labels are written, not which images it has."""


class TrainedSet(NamedTuple):
    """A registered set as a checkpoint states it: enough to be recognised where it is not registered."""

    name: str
    dataset: str
    split: str
    classes: tuple[str, ...]

    @classmethod
    def registered(cls, name: str) -> Self:
        """The set that is registered as `name`."""
        found = MetadataCatalog.get(name)
        classes = tuple(found.get("stuff_classes", ()))
        return cls(name, found.get("dataset", name), found.get("split", ""), classes)

    @classmethod
    def stated(cls, entry: Mapping, source: str) -> Self:
        """From an entry of a checkpoint. Raises `CheckpointError`."""
        try:
            texts = [str(entry[key]) for key in cls._fields[:3]]
            return cls(*texts, tuple(map(str, entry["classes"])))
        except (TypeError, KeyError) as error:
            raise CheckpointError(
                f"{source}: what it says of the sets it was trained on is damaged; found {entry!r}"
            ) from error

    def holds_images_of(self, test: str) -> bool:
        """Whether it has images of the set registered as `test`, going by what the two are registered as."""
        other = TrainedSet.registered(test)
        same = _images(other.dataset) == _images(self.dataset)
        parts = [set(each.split.split("_")) - _KINDS for each in (other, self)]
        shared = "all" in parts[0] | parts[1] or not parts[0].isdisjoint(parts[1])
        return test == self.name or (same and shared)


def sets_to_train(cfg: CfgNode) -> tuple[TrainedSet, ...]:
    """Those of `DATASETS.TRAIN`."""
    return tuple(TrainedSet.registered(name) for name in cfg.DATASETS.TRAIN)


def stated_sets(path: str) -> tuple[TrainedSet, ...]:
    """Those that a checkpoint states, none where it states nothing. Raises `CheckpointError`."""
    return tuple(TrainedSet.stated(entry, path) for entry in read_weights(path).trained_on)


def trained_sets(cfg: CfgNode, weights: str) -> tuple[TrainedSet, ...]:
    """What the file `weights` says it was trained on, else the sets of `DATASETS.TRAIN`.

    The log tells where these differ. Raises `CheckpointError`.
    """
    stated = stated_sets(weights)
    if stated and {each.name for each in stated} != set(cfg.DATASETS.TRAIN):
        logger.warning(
            "%s states that it was trained on %s: that, not DATASETS.TRAIN (%s), tells what was seen",
            weights,
            ", ".join(each.name for each in stated),
            ", ".join(cfg.DATASETS.TRAIN) or "empty",
        )
    return stated or sets_to_train(cfg)


def _images(dataset: str) -> str:
    """The dataset whose images, perhaps cut otherwise, the dataset called `dataset` has."""
    return dataset.removesuffix("_geoseg").removesuffix("_wsss")
