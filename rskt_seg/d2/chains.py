"""Augmentation chains: `INPUT.AUGMENTATION` chooses one of those of the methods."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import transforms as T

from rskt_seg.d2.methods.record import Chain, SampleReader
from rskt_seg.d2.methods.registry import chains
from rskt_seg.d2.typing import DatasetDict
from rskt_seg.errors import ConfigError


def chosen_chain(cfg: CfgNode) -> Chain:
    """Return the chain of `INPUT.AUGMENTATION`.

    Raises:
        ConfigError: No method has a chain of this name.
    """
    known, name = chains(), cfg.INPUT.AUGMENTATION
    if name not in known:
        raise ConfigError(f"INPUT.AUGMENTATION must be one of {', '.join(known)}; found {name!r}")
    return known[name]


def training_augmentations(
    cfg: CfgNode, samples: Sequence[DatasetDict] = (), read: SampleReader | None = None
) -> list[T.Augmentation]:
    """Return the augmentations of `INPUT.AUGMENTATION`.

    Args:
        cfg: The configuration.
        samples: The dataset, from which mosaics take their other images.
        read: Reads the image and the label of one of them.

    Returns:
        The augmentations, in the order in which they are applied.

    Raises:
        ConfigError: The chain is unknown, or one of its keys cannot be used.
    """
    return chosen_chain(cfg).build(cfg, samples, read)


def evaluation_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Return the resizing of the short side to `INPUT.MIN_SIZE_TEST`; 0 leaves the image as it is."""
    return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]


def check_probability(key: str, value: float) -> float:
    """Return `value` if it is a probability.

    Args:
        key: Name of the key below `INPUT`, for the message.
        value: Its value.

    Returns:
        `value`, from 0 to 1.

    Raises:
        ConfigError: The value is outside 0 to 1.
    """
    if not 0 <= value <= 1:
        raise ConfigError(f"INPUT.{key} must be a probability from 0 to 1; found {value}")
    return value


def crop_size(cfg: CfgNode) -> tuple[int, int]:
    """Return `INPUT.CROP.SIZE`: height and width, in pixels.

    Raises:
        ConfigError: `INPUT.CROP.TYPE` is not "absolute", or the size is not two positive numbers of pixels.
    """
    crop, size = cfg.INPUT.CROP, tuple(cfg.INPUT.CROP.SIZE)
    if crop.TYPE != "absolute" or len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise ConfigError(
            f"INPUT.AUGMENTATION {cfg.INPUT.AUGMENTATION} crops to INPUT.CROP.SIZE [height, width] in pixels,"
            f" with INPUT.CROP.TYPE absolute; found {list(size)} and {crop.TYPE}"
        )
    return size
