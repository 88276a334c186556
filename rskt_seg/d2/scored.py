"""Predictions of single images, as an evaluation scores them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from numpy.typing import NDArray

from rskt_seg.d2.benchmark import evaluated_segmentor
from rskt_seg.d2.config import load_config
from rskt_seg.d2.datasets import register_own
from rskt_seg.d2.devices import allow_tf32, check_devices
from rskt_seg.d2.evaluator import predicted_labels
from rskt_seg.d2.mapper import RSDatasetMapper
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.typing import DatasetDict
from rskt_seg.d2.weights import check_trained
from rskt_seg.errors import ConfigError
from rskt_seg.metrics.confusion import UNCLASSIFIED


class ScoredModel:
    """A trained model that sees images as `rskt-seg eval` does, without test-time augmentation.

    Args:
        config_file: Its configuration, as `load_config` takes it.
        weights: Its checkpoint; "" for a method that is not trained.
        dataset_name: Name of the dataset, for messages.
        class_names: The classes of the dataset.

    Raises:
        CheckpointError: The checkpoint does not fit the model.
        ConfigError: The configuration cannot be used, or is that of a control with exchanged names.
        DeviceError: This machine lacks `MODEL.DEVICE`.
        WeightsNotFoundError: A file is missing.
    """

    def __init__(self, config_file: str, weights: str, dataset_name: str, class_names: Sequence[str]) -> None:
        self.cfg: CfgNode = load_config(config_file, ["MODEL.WEIGHTS", weights])
        if self.cfg.TEST.ROTATE_NAMES:
            raise ConfigError(
                f"{config_file}: TEST.ROTATE_NAMES {self.cfg.TEST.ROTATE_NAMES} is a control with exchanged "
                "names, whose predictions are no result; set it to 0"
            )
        check_devices(self.cfg.MODEL.DEVICE)
        register_own(self.cfg.DATASETS.OWN, self.cfg.OUTPUT_DIR)
        check_trained(self.cfg)
        allow_tf32(self.cfg.MODEL.DEVICE, method_of(self.cfg).allows_tf32)
        self.name, self.classes = dataset_name, tuple(class_names)
        self.segmentor = evaluated_segmentor(self.cfg, weights).eval()
        self.mapper = RSDatasetMapper(self.cfg, is_train=False)

    @property
    def augmented(self) -> bool:
        """Whether the configuration also scores test-time augmentation, which is not seen here."""
        return bool(self.cfg.TEST.AUG.ENABLED)

    def predict(self, image: Path) -> NDArray[np.uint8]:
        """Predict an image.

        Args:
            image: Its file.

        Returns:
            (H, W) class ids as `TEST.SAVE_PREDICTIONS` keeps them: 255 where the image has no data.

        Raises:
            ConfigError: An evaluation of this configuration could not score the image.
            DatasetError: The classes of a closed-set model are not those of the dataset.
            ImageReadError: The image cannot be read.
            NotFiniteError: A score is NaN or infinite.
        """
        entry: DatasetDict = {"file_name": str(image), "vocabulary": self.classes}
        method_of(self.cfg).check_test_data(self.cfg, self.name, [entry])
        mapped = self.mapper(entry)
        with torch.no_grad():
            (output,) = self.segmentor([mapped])
        labels = predicted_labels(output, self.name, self.classes, str(image)).cpu().numpy()
        valid = mapped.get("valid_pixels", np.ones(labels.shape, bool))
        found: NDArray[np.uint8] = np.where(valid, labels, UNCLASSIFIED).astype(np.uint8)
        return found
