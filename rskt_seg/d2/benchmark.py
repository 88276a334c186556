"""Evaluation of trained weights on all of `DATASETS.TEST`: resumable, and reported as one table.

Files in `OUTPUT_DIR`: `benchmark.txt`, `.md`, `.csv`, `.json` and `benchmark_classes.csv` once every set is
done; in `inference/`, for each set, its scores, the counts from which an interrupted run is resumed, those of
each image (`.images.npz`), from which `rskt-seg compare` draws samples, and with `TEST.SAVE_PREDICTIONS` a
folder of label maps. Counts are reused only if weights, settings, data, code and versions are those of the
run that wrote them, and if the predictions that are to be saved are there.
"""

import hashlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from torch import nn

from rskt_seg import metrics as report
from rskt_seg.checkpoints.fetch import sha256_of
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.d2 import provenance
from rskt_seg.d2.checkpointer import last_checkpoint
from rskt_seg.d2.datasets import load_datasets, why_other_than_published
from rskt_seg.d2.evaluator import RSEvaluator
from rskt_seg.d2.methods.record import EvaluationPass
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.progress import describe_evaluation
from rskt_seg.d2.run_record import EVALUATION, update_record
from rskt_seg.d2.segmentor import plain_model, unwrapped
from rskt_seg.d2.specs import model_spec
from rskt_seg.d2.trained_sets import TrainedSet, trained_sets
from rskt_seg.d2.trainer import Trainer
from rskt_seg.d2.tta import SUFFIX, evaluated_model, with_augmentation
from rskt_seg.d2.typing import DatasetDict, NamedResults, Results
from rskt_seg.d2.weights import check_trained, load_trained, load_weights, scored_files
from rskt_seg.errors import ConfigError, DatasetError, UnreadableError
from rskt_seg.methods import optimize_for_inference
from rskt_seg.metrics.image_counts import ImageCounts
from rskt_seg.reading import parse_json, read_text
from rskt_seg.vocabulary import seen_names
from rskt_seg.wording import counted
from rskt_seg.writing import replace_text

logger = logging.getLogger(__name__)

_PLAIN = EvaluationPass()
_SUM = "sha256"
"""Entry of a file of counts with the checksum of all others."""


def evaluate(cfg: CfgNode, resume: bool = False) -> NamedResults:
    """Evaluate trained weights on `DATASETS.TEST`; of a method that is not trained, its pretrained encoders.

    With `TEST.AUG.ENABLED` a second pass adds results that end in `_TTA`, and further passes of the method
    add theirs. With `TEST.ROTATE_NAMES` N all names end in `_rotatedN`, so that the control is never mistaken
    for a result.

    Args:
        cfg: The configuration.
        resume: Whether to evaluate the last checkpoint of `OUTPUT_DIR`, if there is one, instead of
            `MODEL.WEIGHTS`.

    Returns:
        The results of each set by name; empty in all but the main process.

    Raises:
        WeightsNotFoundError: There is no trained checkpoint.
        ConfigError: `OUTPUT_DIR` holds scores of predictions, which would be replaced.
        DatasetError: A set cannot be evaluated; the results of the sets before it are kept.
    """
    _check_output(Path(cfg.OUTPUT_DIR))
    begun = time.monotonic()
    last = last_checkpoint(cfg.OUTPUT_DIR) if resume else None
    if last is None:
        check_trained(cfg)
    weights = str(last or cfg.MODEL.WEIGHTS)
    if comm.is_main_process():
        logger.info("%s", describe_evaluation(cfg, comm.get_world_size()))
    model = evaluated_segmentor(cfg, weights)
    control = f"_rotated{cfg.TEST.ROTATE_NAMES}" if cfg.TEST.ROTATE_NAMES else ""
    trained = trained_sets(cfg, weights)
    passes = [EvaluationPass(control)]
    if cfg.TEST.AUG.ENABLED:
        passes.append(EvaluationPass(f"{control}{SUFFIX}", with_augmentation, augmented=True))
    results: NamedResults = OrderedDict()
    for each in (*passes, *method_of(cfg).evaluation_passes(cfg)):
        results.update(Benchmark(cfg, weights, trained, each).run(each.wrap(cfg, model)))
    if comm.is_main_process():
        update_record(cfg.OUTPUT_DIR, EVALUATION, {"seconds": round(time.monotonic() - begun, 1)})
    return results


def evaluated_segmentor(cfg: CfgNode, weights: str) -> nn.Module:
    """Return the segmentor of an evaluation.

    Args:
        cfg: The configuration.
        weights: The checkpoint; "" for the pretrained encoders of a method that is not trained.

    Raises:
        CheckpointError: The checkpoint does not fit the model.
        ConfigError: The device does not have `MODEL.PRECISION`.
        WeightsNotFoundError: A file is missing.
    """
    segmentor = Trainer.build_model(cfg)
    model = plain_model(segmentor)
    if weights:
        load_trained(model, cfg, weights)
    else:
        load_weights(model, cfg)
    head = unwrapped(segmentor).sem_seg_head
    head.model = optimize_for_inference(model, precision=cfg.MODEL.PRECISION, release=True)
    return segmentor


class Benchmark:
    """One pass over `DATASETS.TEST`.

    Args:
        cfg: The configuration.
        weights: The checkpoint that is evaluated; "" where a method that is not trained is evaluated with
            its pretrained encoders.
        trained: The sets it was trained on.
        each: The pass; its suffix ends the names of the results and of their files.
    """

    def __init__(
        self,
        cfg: CfgNode,
        weights: str,
        trained: Sequence[TrainedSet],
        each: EvaluationPass = _PLAIN,
    ) -> None:
        self.cfg = cfg
        self.suffix, self.note = each.suffix, each.note
        self.folder = Path(cfg.OUTPUT_DIR)
        self.trained = trained
        digests = {name: sha256_of(file) for name, file in scored_files(cfg, weights).items()}
        self.about = report.Run(
            weights=weights or ", ".join(digests),
            weights_sha256=digests[weights] if weights else ", ".join(digests.values()),
            trained_on=tuple(one.name for one in trained),
            config=provenance.settings(cfg),
            versions=provenance.versions(cfg.MODEL.DEVICE),
            published=comparison(
                cfg, [one.name for one in trained], each, read_weights(weights).options if weights else None
            ),
            rotated=cfg.TEST.ROTATE_NAMES,
            training_free=not method_of(cfg).method.is_trained,
            model=None if each.note else evaluated_model(cfg, each.augmented),
        )
        self.identity = {
            "weights": list(digests.values()),
            "settings": provenance.scoring_digest(cfg),
            "code": provenance.code_digest(),
            "versions": self.about.versions,
        }

    def run(self, model: nn.Module) -> NamedResults:
        """Evaluate the sets that are not done yet, and write the report in the main process.

        Returns:
            The results of each set by name and suffix; empty in all but the main process.
        """
        if comm.is_main_process():
            for path in self._report_paths():  # those of an earlier run must not be taken for this one's
                path.unlink(missing_ok=True)
        results: NamedResults = OrderedDict()
        done: list[report.SetResult] = []
        for name in self.cfg.DATASETS.TEST:
            evaluator = Trainer.build_evaluator(self.cfg, name, self.suffix)
            scores = self._evaluate(model, evaluator)
            if comm.is_main_process():
                results[name + self.suffix] = scores
                done.append(self._result(evaluator))
        if done:
            self._write_reports(done)
        return results

    def _evaluate(self, model: nn.Module, evaluator: RSEvaluator) -> Results:
        entries = load_datasets([evaluator.name])
        classes = [list(evaluator.classes), evaluator.ignore]
        identity = self.identity | {"data": _data_digest(evaluator.name, entries), "classes": classes}
        if self.note:  # the results depend on image-level labels
            given = [d.get("image_labels") for d in entries]
            identity["image_labels"] = [None if ids is None else list(ids) for ids in given]
            identity["min_label_pixels"] = self.cfg.DATASETS.MIN_LABEL_PIXELS
        path = self.folder / "inference" / f"{evaluator.title}.counts.json"
        # The main process decides for all, because each of them has to take part in an evaluation.
        if comm.all_gather(comm.is_main_process() and _restore_counts(evaluator, path, identity))[0]:
            return evaluator.results() if comm.is_main_process() else OrderedDict()
        kept = self.folder / "inference" / evaluator.title
        if comm.is_main_process() and evaluator.saved is None and kept.is_dir():
            logger.warning(
                "%s holds predictions of an earlier evaluation; this one keeps none (TEST.SAVE_PREDICTIONS)",
                kept,
            )
        loader = Trainer.build_test_loader(self.cfg, evaluator.name)
        results: Results = inference_on_dataset(model, loader, evaluator)
        if not comm.is_main_process():
            return OrderedDict()
        if evaluator.images != len(entries):
            raise DatasetError(
                f"{evaluator.name}: expected {counted(len(entries), 'image')}, evaluated {evaluator.images}; "
                "run the evaluation again"
            )
        evaluator.tally.image_counts.save(self.folder / _image_counts(evaluator))
        state = json.loads(json.dumps({"identity": identity, **evaluator.state()}))
        replace_text(path, json.dumps({**state, _SUM: _checksum(state)}))
        return results

    def _result(self, evaluator: RSEvaluator) -> report.SetResult:
        note, method = MetadataCatalog.get(evaluator.name).get("note", ""), method_of(self.cfg).method
        assert evaluator.scores is not None  # the set has just been evaluated
        trained = [name for each in self.trained for name in each.classes]
        return report.SetResult(
            name=evaluator.title if self.note else evaluator.name,
            classes=evaluator.classes,
            seen=None if method.is_closed else seen_names(evaluator.classes, trained),
            scores=evaluator.scores,
            images=evaluator.images,
            fingerprint=str(evaluator.fingerprint),
            in_domain=any(each.holds_images_of(evaluator.name) for each in self.trained),
            note="; ".join(filter(None, [note, self.note])),
            protocol=evaluator.protocol_scores,
            paper=None if self.note else method.reference(model_spec(self.cfg), evaluator.name),
            ignore=evaluator.ignore,
            unpublished=why_other_than_published(evaluator.name, evaluator.images),
            records=report.SetRecords(
                image_counts=_image_counts(evaluator),
                image_counts_sha256=evaluator.tally.image_counts.digest,
                predictions="" if evaluator.saved is None else f"inference/{evaluator.title}",
                predictions_sha256=evaluator.tally.predictions,
            ),
        )

    def _write_reports(self, results: Sequence[report.SetResult]) -> None:
        logger.info("Benchmark%s, in percent:\n%s", self.suffix, report.text_report(results, self.about))
        contents = report.report_files(results, self.about).values()
        for path, content in zip(self._report_paths(), contents, strict=True):
            replace_text(path, content)

    def _report_paths(self) -> list[Path]:
        return [self.folder / f"benchmark{self.suffix}{ending}" for ending in report.ENDINGS]


def _data_digest(name: str, entries: Sequence[DatasetDict]) -> str:
    """Return a digest of all files that a test set consists of, and of what is made of them in windows."""
    windows = MetadataCatalog.get(name).get("windows")
    if windows is not None:
        return provenance.listing_digest(windows.sources) + str(windows.digest)
    return provenance.listing_digest(
        path for d in entries for path in (d["file_name"], d["sem_seg_file_name"])
    )


def _image_counts(evaluator: RSEvaluator) -> str:
    """Return the file of the counts of images, relative to the folder of the run."""
    return f"inference/{evaluator.title}.images.npz"


def comparison(
    cfg: CfgNode,
    trained_on: Sequence[str],
    each: EvaluationPass = _PLAIN,
    stated: Mapping[str, object] | None = None,
) -> report.PaperRows:
    """Return the rows of papers on the whole benchmark that a pass compares with.

    Args:
        cfg: The configuration of the evaluated model.
        trained_on: Registered names of the sets that the model was trained on.
        each: The pass.
        stated: Options of the model that the checkpoint states; None if it states none.

    Returns:
        The rows; none for a control, nor for a pass whose results are no scores of predictions.
    """
    if cfg.TEST.ROTATE_NAMES or each.note:
        return report.PaperRows()
    record, stated = method_of(cfg), stated or {}
    evaluation = report.Evaluation(
        spec=model_spec(cfg),
        trained_on=tuple(trained_on),
        encoders={role: cfg.MODEL.ENCODERS[role.upper()] for role in record.method.encoders},
        options=record.evaluation_options(cfg),
        augmented=each.augmented,
        trained={key: stated[key] for key in record.method.checkpoint.training_only if key in stated},
    )
    return record.method.published_rows(evaluation)


def _check_output(folder: Path) -> None:
    """Refuse to replace what `rskt-seg score` wrote; it may have been the work of another program."""
    try:
        stated = parse_json(read_text(folder / "benchmark.json"))
    except (FileNotFoundError, UnreadableError):
        return
    if isinstance(stated, dict) and "predictions" in stated:
        raise ConfigError(
            f"OUTPUT_DIR {folder} holds the scores of predictions that `rskt-seg score` wrote; choose another"
        )


def _restore_counts(evaluator: RSEvaluator, path: Path, identity: Mapping[str, Any]) -> bool:
    """Restore the counts of an earlier run with the same identity; return whether there were any."""
    if not path.is_file():
        return False
    try:
        found = json.loads(path.read_text("utf-8"))
        if found.pop(_SUM) != _checksum(found):
            raise ValueError("a value has changed since it was written")
        differing = [key for key, value in identity.items() if found["identity"].get(key) != value]
        if not differing:
            images = ImageCounts.load(path.with_name(f"{evaluator.title}.images.npz"), found["image_counts"])
            evaluator.restore(found, images)
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError, DatasetError) as error:
        logger.warning("%s cannot be read as counts and is replaced: %r", path, error)
        return False
    if differing:
        logger.info("%s: evaluated again, because of other %s", evaluator.name, ", ".join(differing))
        return False
    if changed := evaluator.changed_prediction():
        logger.info("%s: evaluated again, because %s is not saved", evaluator.name, changed)
        return False
    logger.info("%s: counts restored from %s, written by the same run", evaluator.name, path)
    return True


def _checksum(state: Mapping[str, Any]) -> str:
    """Return the SHA-256 of counts with their identity, as JSON reads them."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
