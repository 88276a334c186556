"""Mappers from a dataset dict to the tensors of `RSSegmentor`."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from rskt_seg.d2.chains import chosen_chain, evaluation_augmentations, training_augmentations
from rskt_seg.d2.crops import Sample
from rskt_seg.d2.reading import EntryReader
from rskt_seg.d2.typing import DatasetDict
from rskt_seg.errors import ConfigError

logger = logging.getLogger(__name__)


class RSDatasetMapper:
    """Mapper of a dataset dict: reads the image (and in training its label), augments both, makes tensors.

    In training the augmentations are the chain of `INPUT.AUGMENTATION` (`rskt_seg.d2.chains`). In evaluation
    the short side is resized to `INPUT.MIN_SIZE_TEST` (0: not at all); the evaluator reads the label.

    Args:
        is_train: Whether to read labels.
        augmentations: Applied in this order.
        ignore: Id that unlabelled pixels get.
        reader: Reads images and labels; by default of files alone.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation],
        ignore: int = 255,
        reader: EntryReader | None = None,
    ) -> None:
        self.is_train = is_train
        self.reader = reader or EntryReader({})
        self.augmentations = T.AugmentationList(augmentations)
        self.ignore = ignore
        logger.debug("Augmentations in %s: %s", "training" if is_train else "evaluation", list(augmentations))

    @classmethod
    def from_config(
        cls, cfg: CfgNode, is_train: bool = True, samples: Sequence[DatasetDict] = ()
    ) -> dict[str, Any]:
        """Return the arguments of the constructor.

        Args:
            cfg: The configuration.
            is_train: Whether to read labels.
            samples: The dataset, from which mosaics take their other images.

        Returns:
            Argument -> value.

        Raises:
            ConfigError: A key of `INPUT` cannot be used; `INPUT.FORMAT` must be RGB.
        """
        if cfg.INPUT.FORMAT != "RGB":
            raise ConfigError(
                f"INPUT.FORMAT must be RGB, which the encoders expect; found {cfg.INPUT.FORMAT!r}"
            )
        ignore = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        reader = EntryReader.of((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST))
        if is_train:
            augmentations = training_augmentations(cfg, samples, partial(reader.sample, ignore=ignore))
        else:
            augmentations = evaluation_augmentations(cfg)
        return {"is_train": is_train, "augmentations": augmentations, "ignore": ignore, "reader": reader}

    def __call__(self, dataset_dict: DatasetDict) -> DatasetDict:
        """Return the dict with what a model and an evaluator need of its files.

        Args:
            dataset_dict: A dict of `load_datasets`. In training it must have `sem_seg_file_name` and
                `vocabulary`; pixels of its `ignore` become the ignored id of the configuration.

        Returns:
            A new dict, with `image` (3, H, W) uint8 RGB, `height` and `width` of the image file and, in
            training, `sem_seg` (H, W) uint8. In evaluation `valid_pixels` (H, W) bool tells where the image
            file has data; it is missing if it has data everywhere. `truth` is the label of a window.

        Raises:
            ImageReadError: The image cannot be read.
            LabelError: The label cannot be read, or has other ids or another size than expected.
            DatasetError: There is no label file.
        """
        result = dict(dataset_dict)
        if self.is_train:
            image, label = self.sample(result)
        else:
            image, label = self._read_test_image(result), None
        result["height"], result["width"] = image.shape[:2]
        inputs = T.AugInput(image, sem_seg=label)
        self.augmentations(inputs)
        planes = np.empty((3, *inputs.image.shape[:2]), np.uint8)
        cv2.split(np.ascontiguousarray(inputs.image), list(planes))  # ten times as fast as transposing
        result["image"] = torch.from_numpy(planes)
        if label is not None:
            result |= self.target(torch.from_numpy(inputs.sem_seg.copy()))
        return result

    def _read_test_image(self, result: DatasetDict) -> np.ndarray:
        """Return the pixels of the image, and add to the result what is scored of it."""
        image, truth = self.reader.test_image(result)
        if not image.valid.all():
            result["valid_pixels"] = image.valid
        if truth is not None:
            result["truth"] = truth
        return image.filled()

    def sample(self, entry: DatasetDict) -> Sample:
        """Read what is augmented in training."""
        return self.reader.sample(entry, self.ignore)

    def target(self, label: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what an augmented label (H, W) uint8 adds to the result."""
        return {"sem_seg": label}


class WeakDatasetMapper(RSDatasetMapper):
    """Mapper of training images without labels; no label file is opened.

    In place of `sem_seg` a result has `valid` (H, W) bool, False where the image is padded or has no data. To
    find both, the augmentations are given a label of one constant id; padding, and pixels without data, get
    `ignore`.
    """

    @property
    def _inside(self) -> int:
        """Id of the pixels of the image; any but `ignore`."""
        return (self.ignore + 1) % 256

    def sample(self, entry: DatasetDict) -> Sample:
        """Read the image; its label is constant where the image has data."""
        image = self.reader.image(entry)
        return image.filled(), np.where(image.valid, np.uint8(self._inside), np.uint8(self.ignore))

    def target(self, label: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `valid`."""
        return {"valid": label == self._inside}


def training_mapper(cfg: CfgNode, samples: Sequence[DatasetDict]) -> RSDatasetMapper:
    """Return the mapper of training data; it reads no masks if the augmentation chain uses none.

    Args:
        cfg: The configuration.
        samples: The dataset, from which mosaics take their other images.

    Returns:
        The mapper, with the augmentations of `INPUT.AUGMENTATION`.

    Raises:
        ConfigError: As `training_augmentations`.
    """
    mapper = RSDatasetMapper if chosen_chain(cfg).uses_masks else WeakDatasetMapper
    return mapper(cfg, is_train=True, samples=samples)
