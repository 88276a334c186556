"""From a dataset dict to the tensors that the segmentor takes."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.data.detection_utils import read_image

from rskt_seg.d2.augmentation import PadToMultiple, RandomPhotometricDistortion
from rskt_seg.data.labels import check_label, read_label
from rskt_seg.errors import ConfigError, ImageReadError

logger = logging.getLogger(__name__)


class RSDatasetMapper:
    """Read an image (and in training its label), augment both, and hand them on as tensors.

    Training, as published: short side to one of `INPUT.MIN_SIZE_TRAIN`, crop, colour, flip, padding.
    Test: short side to `INPUT.MIN_SIZE_TEST`; the label stays on disk for the evaluator.
    """

    @configurable
    def __init__(self, is_train: bool, *, augmentations: Sequence[T.Augmentation], ignore: int = 255) -> None:
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.ignore = ignore
        logger.info("Augmentations in %s: %s", "training" if is_train else "evaluation", list(augmentations))

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        """Arguments from a configuration. Raises `ConfigError` unless `INPUT.FORMAT` is RGB."""
        if cfg.INPUT.FORMAT != "RGB":
            raise ConfigError(
                f"INPUT.FORMAT must be RGB, which the encoders expect; found {cfg.INPUT.FORMAT!r}"
            )
        ignore = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        augmentations = _training(cfg, ignore) if is_train else _testing(cfg)
        return {"is_train": is_train, "augmentations": augmentations, "ignore": ignore}

    def __call__(self, dataset_dict: dict) -> dict:
        """The dict with `image` (3, H, W) uint8 RGB and the source `height` and `width`.

        In training also `sem_seg` (H, W) int64; there the dict must have `sem_seg_file_name` and
        `vocabulary`, and pixels of its `ignore` (if it has none, the ignored id of the configuration)
        become that of the configuration. Raises `ImageReadError`, and `LabelError` or `DatasetError` as
        `rskt_seg.data.labels`, naming the file.
        """
        result = dict(dataset_dict)
        image = _read_image(result["file_name"])
        result["height"], result["width"] = image.shape[:2]
        label = self._read_label(result, image) if self.is_train else None
        inputs = T.AugInput(image, sem_seg=label)
        self.augmentations(inputs)
        result["image"] = torch.from_numpy(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))
        if label is not None:
            result["sem_seg"] = torch.from_numpy(inputs.sem_seg.astype(np.int64))
        return result

    def _read_label(self, entry: dict, image: np.ndarray) -> np.ndarray:
        path, classes = entry["sem_seg_file_name"], entry["vocabulary"]
        ignore = entry.get("ignore", self.ignore)
        label = read_label(path)
        check_label(label, len(classes), ignore, path, image_size=image.shape[:2], class_names=classes)
        label[label == ignore] = self.ignore
        # Nearest-neighbour resizing is centred on pixels, as that of the image is, for 8-bit maps only.
        return label.astype(np.uint8)


def _read_image(path: str) -> np.ndarray:
    try:
        # A copy, because Pillow's own memory is read-only.
        return np.array(read_image(path, format="RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageReadError(f"{path} cannot be read as an image: {error}; replace the file") from error


def _testing(cfg: CfgNode) -> list[T.Augmentation]:
    return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]


def _training(cfg: CfgNode, ignore: int) -> list[T.Augmentation]:
    sizes, style = cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    augmentations = [T.ResizeShortestEdge(sizes, cfg.INPUT.MAX_SIZE_TRAIN, style)]
    crop = cfg.INPUT.CROP
    if crop.ENABLED:
        augmentations.append(
            T.RandomCrop_CategoryAreaConstraint(crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, ignore)
        )
    if cfg.INPUT.COLOR_AUG_SSD:
        augmentations.append(RandomPhotometricDistortion())
    if cfg.INPUT.RANDOM_FLIP != "none":
        vertical = cfg.INPUT.RANDOM_FLIP == "vertical"
        augmentations.append(T.RandomFlip(horizontal=not vertical, vertical=vertical))
    if cfg.INPUT.SIZE_DIVISIBILITY > 0:
        augmentations.append(PadToMultiple(cfg.INPUT.SIZE_DIVISIBILITY, ignore))
    return augmentations
