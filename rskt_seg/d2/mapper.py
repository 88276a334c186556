"""From a dataset dict to the tensors that the segmentor takes."""

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.data.detection_utils import read_image

from rskt_seg.d2.chains import chosen_chain, evaluation_augmentations, training_augmentations
from rskt_seg.d2.crops import Sample
from rskt_seg.d2.datasets import mask_of
from rskt_seg.data.labels import check_label, read_label
from rskt_seg.errors import ConfigError, ImageReadError

logger = logging.getLogger(__name__)


class RSDatasetMapper:
    """Read an image (and in training its label), augment both, and hand them on as tensors.

    Training: the chain of `INPUT.AUGMENTATION` (`rskt_seg.d2.chains`).
    Test: short side to `INPUT.MIN_SIZE_TEST` (0: as it is); the label stays on disk for the evaluator.
    """

    @configurable
    def __init__(self, is_train: bool, *, augmentations: Sequence[T.Augmentation], ignore: int = 255) -> None:
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.ignore = ignore
        logger.info("Augmentations in %s: %s", "training" if is_train else "evaluation", list(augmentations))

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True, samples: Sequence[dict] = ()) -> dict:
        """Arguments from a configuration; `samples` are the dataset, of which mosaics take parts.

        Raises `ConfigError`, among others unless `INPUT.FORMAT` is RGB.
        """
        if cfg.INPUT.FORMAT != "RGB":
            raise ConfigError(
                f"INPUT.FORMAT must be RGB, which the encoders expect; found {cfg.INPUT.FORMAT!r}"
            )
        ignore = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        if is_train:
            augmentations = training_augmentations(cfg, samples, partial(read_sample, ignore=ignore))
        else:
            augmentations = evaluation_augmentations(cfg)
        return {"is_train": is_train, "augmentations": augmentations, "ignore": ignore}

    def __call__(self, dataset_dict: dict) -> dict:
        """The dict with `image` (3, H, W) uint8 RGB and the source `height` and `width`.

        In training also `sem_seg` (H, W) uint8; there the dict must have `sem_seg_file_name` and
        `vocabulary`, and pixels of its `ignore` (if it has none, the ignored id of the configuration)
        become that of the configuration. Raises `ImageReadError`, and `LabelError` or `DatasetError` as
        `rskt_seg.data.labels`, naming the file.
        """
        result = dict(dataset_dict)
        if self.is_train:
            image, label = self.sample(result)
        else:
            image, label = _read_image(result["file_name"]), None
        result["height"], result["width"] = image.shape[:2]
        inputs = T.AugInput(image, sem_seg=label)
        self.augmentations(inputs)
        result["image"] = torch.from_numpy(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))
        if label is not None:
            result |= self.target(torch.from_numpy(inputs.sem_seg.copy()))
        return result

    def sample(self, entry: dict) -> Sample:
        """What a dict is augmented from in training."""
        return read_sample(entry, self.ignore)

    def target(self, label: torch.Tensor) -> dict[str, torch.Tensor]:
        """What an augmented label (H, W) uint8 adds to a sample."""
        return {"sem_seg": label}


class WeakDatasetMapper(RSDatasetMapper):
    """In training an image without its label: no label file is opened.

    In place of `sem_seg` a sample has `valid` (H, W) bool, False where the image is padded.
    """

    @property
    def _inside(self) -> int:
        """What the augmentations carry along as the label of the image; padding is labelled `ignore`."""
        return (self.ignore + 1) % 256

    def sample(self, entry: dict) -> Sample:
        """The image, and a label that says no more than where it is."""
        image = _read_image(entry["file_name"])
        return image, np.full(image.shape[:2], self._inside, np.uint8)

    def target(self, label: torch.Tensor) -> dict[str, torch.Tensor]:
        """`valid`."""
        return {"valid": label == self._inside}


def training_mapper(cfg: CfgNode, samples: Sequence[dict]) -> RSDatasetMapper:
    """Return the mapper of training data `samples`: without masks where the chain uses none."""
    mapper = RSDatasetMapper if chosen_chain(cfg).uses_masks else WeakDatasetMapper
    return mapper(cfg, is_train=True, samples=samples)


def read_sample(entry: dict, ignore: int) -> Sample:
    """The image (H, W, 3) uint8 RGB of a dataset dict and its label (H, W) uint8, checked.

    Pixels of the id that the label file ignores (`ignore` of the dict; without one it is the same) become
    `ignore`. Raises as `RSDatasetMapper`.
    """
    image = _read_image(entry["file_name"])
    path, classes = mask_of(entry), entry["vocabulary"]
    ignored = entry.get("ignore", ignore)
    label = read_label(path)
    check_label(label, len(classes), ignored, path, image_size=image.shape[:2], class_names=classes)
    label[label == ignored] = ignore
    # Nearest-neighbour resizing is centred on pixels, as that of the image is, for 8-bit maps only.
    return image, label.astype(np.uint8)


def _read_image(path: str) -> np.ndarray:
    try:
        # A copy, because Pillow's own memory is read-only.
        return np.array(read_image(path, format="RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageReadError(f"{path} cannot be read as an image: {error}; replace the file") from error
