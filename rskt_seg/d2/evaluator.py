"""Scores of a dataset: our confusion matrix behind Detectron2's evaluator interface."""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor

from rskt_seg.data.fingerprint import Digests, Fingerprint, combine, image_digest, label_digest
from rskt_seg.data.labels import check_label, read_label
from rskt_seg.errors import DatasetError
from rskt_seg.metrics.confusion import ConfusionMatrix, Scores
from rskt_seg.metrics.protocols import (
    FIGURES,
    ProtocolScores,
    check_protocol,
    explain_scores,
    protocol_scores,
)
from rskt_seg.metrics.report import PER_CLASS, SUMMARY, class_table, scores_json
from rskt_seg.writing import replacing

logger = logging.getLogger(__name__)


class RSEvaluator(DatasetEvaluator):
    """mIoU, fwIoU, mACC and pACC (percent) of the arg-max of score maps, merged over all processes.

    Where the metadata of the dataset names a `protocol` (`rskt_seg.metrics.protocols`), its mIoU, mF1 and OA
    come beside them. After `evaluate` or `restore` the main process has `scores`, `protocol_scores` (None
    without a protocol), the number of `images`, and the `fingerprint` of the images and labels that were
    read.
    """

    def __init__(
        self, dataset_name: str, output_dir: str | Path | None = None, suffix: str = "", protocol: str = ""
    ) -> None:
        """`output_dir`: where `<dataset><suffix>.json` goes; None writes nothing. `suffix` ends the name in
        the log too, so that two passes cannot be mixed up. `protocol`: one in place of the dataset's.

        Raises `DatasetError` where the protocol of the dataset is unknown or for other classes.
        """
        metadata = MetadataCatalog.get(dataset_name)
        self.name = dataset_name
        self.title = f"{dataset_name}{suffix}"
        self.classes = tuple(metadata.stuff_classes)
        self.ignore = metadata.ignore_label
        self.path = Path(output_dir, f"{self.title}.json") if output_dir else None
        self.protocol = protocol or metadata.get("protocol", "")
        if self.protocol:
            check_protocol(self.protocol, len(self.classes))
        self.scores: Scores | None = None
        self.protocol_scores: ProtocolScores | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self.matrix = ConfusionMatrix(len(self.classes), self.ignore)
        self.digests: list[Digests] = []

    @property
    def images(self) -> int:
        """How many images were counted."""
        return len(self.digests)

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the images and labels that were counted."""
        return combine(self.digests)

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping[str, Tensor]]) -> None:
        """Count the pixels of each image against its label file.

        Outputs are those of `RSSegmentor`, or have `labels` (H, W), class ids or 255. Raises `DatasetError`
        where the model's classes are not those of the dataset, and `LabelError` for a label that cannot be
        scored.
        """
        for entry, output in zip(inputs, outputs, strict=True):
            predicted, path = self._predicted(output), entry["sem_seg_file_name"]
            label = read_label(path)
            check_label(label, len(self.classes), self.ignore, path, tuple(predicted.shape), self.classes)
            self.matrix.update(predicted.cpu().numpy(), label)
            image = Path(entry["file_name"])
            self.digests.append(Digests(image.stem, image_digest(image.read_bytes()), label_digest(label)))

    def _predicted(self, output: Mapping[str, Tensor]) -> Tensor:
        if "labels" in output:
            return output["labels"]
        scores, classes = output["sem_seg"], len(self.classes)
        if scores.shape[0] != classes:
            raise DatasetError(f"{self.name} has {classes} classes, the model scored {scores.shape[0]}")
        return scores.argmax(dim=0)

    def evaluate(self) -> OrderedDict | None:
        """`results()` of all processes together in the main process, None in the others."""
        parts = comm.gather((self.matrix, self.digests))
        if not comm.is_main_process():
            return None
        self.reset()
        for matrix, digests in parts:
            self.matrix.merge(matrix)
            self.digests += digests
        return self.results()

    def results(self) -> OrderedDict:
        """`{"sem_seg": {"mIoU": ..., "protocol/mIoU": ..., "IoU-<class>": ...}}`; also logs and writes them.

        Classes without ground truth and figures without a value are left out.
        """
        self.scores = self.matrix.scores()
        logger.info("%s, class by class:\n%s", self.title, class_table(self.scores, self.classes))
        if self.protocol:
            self.protocol_scores = protocol_scores(self.matrix, self.protocol)
            logger.info("%s: %s", self.title, "; ".join(explain_scores(self.protocol_scores, self.classes)))
        if self.path is not None:
            protocols = {self.title: self.protocol_scores} if self.protocol else None
            with replacing(self.path) as partial:
                partial.write_text(
                    scores_json({self.title: self.scores}, {self.title: self.classes}, protocols)
                )
        return OrderedDict(sem_seg=self._flat(self.scores))

    def state(self) -> dict:
        """Everything counted, exact, ready for JSON."""
        digests = [(part.stem, part.image.hex(), part.label.hex()) for part in self.digests]
        return {"matrix": self.matrix.state(), "digests": digests}

    def restore(self, state: Mapping) -> None:
        """Take up what `state` returned. Raises `DatasetError` unless it counts this dataset's classes."""
        matrix = ConfusionMatrix.from_state(state["matrix"])
        self.reset()
        self.matrix.merge(matrix)
        digests = state["digests"]
        self.digests = [Digests(stem, *map(bytes.fromhex, pair)) for stem, *pair in digests]

    def _flat(self, scores: Scores) -> dict[str, float]:
        results = {key: getattr(scores, key) for key in SUMMARY}
        if self.protocol_scores is not None:
            figures = {key: getattr(self.protocol_scores, key) for key in FIGURES}
            if self.protocol_scores.mIoU_foreground is not None:
                figures["mIoU_foreground"] = self.protocol_scores.mIoU_foreground
            results |= {f"protocol/{key}": value for key, value in figures.items() if not np.isnan(value)}
        for key in PER_CLASS:
            values = zip(self.classes, getattr(scores, key).tolist(), strict=True)
            results |= {f"{key}-{name}": value for name, value in values if not np.isnan(value)}
        return results
