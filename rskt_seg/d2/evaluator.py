"""Evaluator of a dataset: the confusion matrix of this project behind Detectron2's interface."""

import json
import logging
import shutil
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray
from torch import Tensor

from rskt_seg.class_colors import class_colors
from rskt_seg.d2.reading import EntryReader, Truth
from rskt_seg.d2.scene_pictures import chosen_entries, in_order, save_picture, shrunk_scene
from rskt_seg.d2.typing import Entries, Entry, Results
from rskt_seg.data.fingerprint import Digests, Fingerprint, image_digest, label_digest
from rskt_seg.data.labels import read_label
from rskt_seg.data.samples import valid_target
from rskt_seg.errors import DatasetError
from rskt_seg.finite import check_scores
from rskt_seg.metrics.confusion import ConfusionMatrix, Scores
from rskt_seg.metrics.image_counts import ImageCounts
from rskt_seg.metrics.protocols import (
    FIGURES,
    ProtocolScores,
    check_protocol,
    explain_scores,
    protocol_scores,
)
from rskt_seg.metrics.report import PER_CLASS, SUMMARY, class_table, scores_json
from rskt_seg.reporting.run_folder import CONFUSION
from rskt_seg.scoring.predictions import (
    changed_prediction,
    refuse_foreign_files,
    replace_predictions,
    save_prediction,
    unfinished_predictions,
)
from rskt_seg.scoring.tally import Tally
from rskt_seg.visualization.scenes import Scene, draw_scenes
from rskt_seg.wording import counted
from rskt_seg.writing import replace_text

PRECISION = "precision"
"""The score of a class that comes beside `PER_CLASS` in results; `ACC` is its recall."""
logger = logging.getLogger(__name__)


class RSEvaluator(DatasetEvaluator):
    """mIoU, fwIoU, mACC and pACC (percent) of the arg-max of score maps, merged over all processes.

    If the metadata of the dataset names a `protocol` (`rskt_seg.metrics.protocols`), its mIoU, mF1 and OA are
    computed as well.

    Args:
        dataset_name: Registered name.
        output_dir: Folder of `<dataset><suffix>.json`; None writes nothing.
        suffix: End of the name of the results, in files and in the log, which tells the passes of a run
            apart.
        protocol: Protocol in place of that of the dataset.
        save_predictions: Whether to write the label map of each image to `<dataset><suffix>/<stem>.png`:
            uint8 ids, 255 where the image has no data. They replace those of an earlier evaluation all at
            once, when the last image is done.
        pictures: Number of images that are drawn beside truth and prediction to `<dataset><suffix>.png`, the
            same ones each time. Without `output_dir` there are none.

    Attributes:
        scores: The scores, in the main process after `results`; None before.
        protocol_scores: The scores by the protocol, if there is one, as `scores`.
        picture: The picture of images (H, W, 3) uint8 RGB, in the main process after `results`; None without.

    Raises:
        DatasetError: The protocol is unknown or for other classes; or predictions would replace PNG files
            that no evaluation wrote.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        suffix: str = "",
        protocol: str = "",
        save_predictions: bool = False,
        pictures: int = 0,
    ) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        self.name = dataset_name
        self.title = f"{dataset_name}{suffix}"
        self.classes = tuple(metadata.stuff_classes)
        self.ignore = metadata.ignore_label
        self.path = Path(output_dir, f"{self.title}.json") if output_dir else None
        self.saved = Path(output_dir, self.title) if output_dir and save_predictions else None
        if self.saved is not None:
            refuse_foreign_files(self.saved)
        self.protocol = protocol or metadata.get("protocol", "")
        if self.protocol:
            check_protocol(self.protocol, len(self.classes))
        self.drawn = chosen_entries(dataset_name, pictures) if output_dir else {}
        self._reader = EntryReader.of([dataset_name])
        self.picture: NDArray[np.uint8] | None = None
        self.scores: Scores | None = None
        self.protocol_scores: ProtocolScores | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all images, and the predictions of this process that are not complete."""
        self.tally = Tally(len(self.classes), self.ignore)
        self._scenes: list[tuple[str, Scene]] = []
        if self.saved is not None:
            shutil.rmtree(unfinished_predictions(self.saved, comm.get_rank()), ignore_errors=True)

    @property
    def matrix(self) -> ConfusionMatrix:
        """The confusion counts of the images that were counted."""
        return self.tally.matrix

    @property
    def images(self) -> int:
        """Number of images that were counted."""
        return len(self.tally.images)

    @property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the images and labels that were counted."""
        return self.tally.fingerprint

    def process(self, inputs: Entries, outputs: Sequence[Mapping[str, Tensor]]) -> None:
        """Count the pixels of each image against its label file.

        Args:
            inputs: Dicts with `file_name`, `sem_seg_file_name` or `truth` and, unless the image has data
                everywhere, `valid_pixels` (H, W) bool, without which nothing is scored.
            outputs: Those of `RSSegmentor`, or dicts with `labels` (H, W), class ids or 255.

        Raises:
            DatasetError: The number of classes of the model is not that of the dataset.
            LabelError: A label cannot be scored.
            NotFiniteError: A score is NaN or infinite.
        """
        for entry, output in zip(inputs, outputs, strict=True):
            predicted = predicted_labels(output, self.name, self.classes, entry["file_name"])
            valid = entry.get("valid_pixels", np.ones(predicted.shape, bool))
            image = Path(entry["file_name"])
            target, digests = self._truth(entry, valid)
            ids = self.tally.count(digests, predicted.cpu().numpy(), target, valid)
            if entry["file_name"] in self.drawn:
                truth = np.where(target == self.ignore, 255, target)
                pixels = self._reader.image(self.drawn[entry["file_name"]]).filled()
                scene = shrunk_scene(entry["file_name"], pixels, truth, ids, len(self.classes))
                self._scenes.append((entry["file_name"], scene))
            if self.saved is not None:
                save_prediction(unfinished_predictions(self.saved, comm.get_rank()), image.stem, ids)

    def _truth(self, entry: Entry, valid: np.ndarray) -> tuple[np.ndarray, Digests]:
        """Return the label (H, W) that an image is compared with, and what it adds to the fingerprint."""
        image = Path(entry["file_name"])
        if "truth" in entry:
            truth: Truth = entry["truth"]
            return truth.ids, Digests(image.stem, truth.image, label_digest(truth.ids))
        path = entry["sem_seg_file_name"]
        label = read_label(path)
        target = valid_target(label, path, valid, self.classes, self.ignore)
        return target, Digests(image.stem, image_digest(image.read_bytes()), label_digest(label))

    def evaluate(self) -> Results | None:
        """Return `results()` of all processes together in the main process, and None in the others."""
        parts = comm.gather((self.tally, self._scenes))
        if not comm.is_main_process():
            return None
        self.tally, self._scenes = Tally(len(self.classes), self.ignore), []
        for tally, scenes in parts:
            self.tally.merge(tally)
            self._scenes += scenes
        if self.saved is not None and replace_predictions(self.saved, comm.get_world_size()):
            logger.info("%s: replaced the predictions of an earlier evaluation in %s", self.title, self.saved)
        return self.results()

    def results(self) -> Results:
        """Compute the scores, log them, and write them to the output folder.

        Returns:
            `{"sem_seg": {"mIoU": ..., "protocol/mIoU": ..., "IoU-<class>": ..., "precision-<class>": ...}}`,
            without classes that have no ground truth and figures that have no value.
        """
        self.scores = self.matrix.scores()
        logger.debug("%s, class by class:\n%s", self.title, class_table(self.scores, self.classes))
        protocols = None
        if self.protocol:
            self.protocol_scores = protocol_scores(self.matrix, self.protocol)
            protocols = {self.title: self.protocol_scores}
            logger.info("%s: %s", self.title, "; ".join(explain_scores(self.protocol_scores, self.classes)))
        if self.path is not None:
            scores, classes = {self.title: self.scores}, {self.title: self.classes}
            replace_text(self.path, scores_json(scores, classes, protocols))
            counts = {"classes": self.classes, **self.matrix.state()}
            replace_text(self.path.with_name(f"{self.title}{CONFUSION}"), json.dumps(counts) + "\n")
            if self._scenes:
                self.picture = self._draw_scenes()
                save_picture(self.path.with_suffix(".png"), self.picture)
        return OrderedDict(sem_seg=self._flatten(self.scores))

    def _draw_scenes(self) -> NDArray[np.uint8]:
        stated = MetadataCatalog.get(self.name).get("stuff_colors")
        colors = np.array(class_colors(self.classes) if stated is None else stated, np.uint8)
        return draw_scenes(
            in_order(self._scenes, tuple(self.drawn)), self.classes, colors, titles=["Prediction"]
        )

    def state(self) -> dict[str, Any]:
        """Return everything that was counted but the counts of images, exactly, as values for JSON."""
        return self.tally.state()

    def restore(self, state: Mapping[str, Any], counts: ImageCounts) -> None:
        """Restore what `state` returned, and the counts of images that belong to it.

        Raises:
            DatasetError: It has another number of classes or another ignored id than this dataset, or the
                counts of images are others.
        """
        self.reset()
        self.tally.restore(state, counts)

    def changed_prediction(self) -> str:
        """Return the first file of predictions that is missing or not what was counted; "" if none is."""
        return "" if self.saved is None else changed_prediction(self.saved, self.tally.ordered)

    def _flatten(self, scores: Scores) -> dict[str, float]:
        results = {key: getattr(scores, key) for key in SUMMARY}
        if self.protocol_scores is not None:
            figures = {key: getattr(self.protocol_scores, key) for key in FIGURES}
            if self.protocol_scores.mIoU_foreground is not None:
                figures["mIoU_foreground"] = self.protocol_scores.mIoU_foreground
            results |= {f"protocol/{key}": value for key, value in figures.items() if not np.isnan(value)}
        for key in PER_CLASS:
            values = zip(self.classes, getattr(scores, key).tolist(), strict=True)
            results |= {f"{key}-{name}": value for name, value in values if not np.isnan(value)}
        values = zip(self.classes, self.matrix.precision().tolist(), strict=True)
        return results | {f"{PRECISION}-{name}": value for name, value in values if not np.isnan(value)}


def predicted_labels(
    output: Mapping[str, Tensor], dataset_name: str, classes: Sequence[str], image: str
) -> Tensor:
    """Return what is scored of a model's output for an image.

    Args:
        output: That of `RSSegmentor`, or a dict with `labels` (H, W).
        dataset_name: Name of the dataset, for messages.
        classes: Its K classes.
        image: Name of the image, for messages.

    Returns:
        (H, W) ids of the best classes, or `labels` as they are.

    Raises:
        DatasetError: The number of classes of the model is not that of the dataset.
        NotFiniteError: A score is NaN or infinite.
    """
    if "labels" in output:
        return output["labels"]
    scores = output["sem_seg"]
    if scores.shape[0] != len(classes):
        raise DatasetError(
            f"{dataset_name} has {counted(len(classes), 'class', 'classes')}, but the model has scores of "
            f"{scores.shape[0]}; give the model the vocabulary of the dataset"
        )
    check_scores(scores, image)
    return scores.argmax(dim=0)
