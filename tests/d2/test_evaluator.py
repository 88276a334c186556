"""Scores of a dataset through Detectron2's evaluator interface."""

import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from PIL import Image

from rskt_seg.d2 import compat
from rskt_seg.d2.evaluator import RSEvaluator
from rskt_seg.data.catalog import UDD5, find_split
from rskt_seg.data.fingerprint import compute_fingerprint
from rskt_seg.data.pairing import Pair
from rskt_seg.errors import DatasetError, LabelError, NotFiniteError
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.metrics.protocols import FIGURES, protocol_scores

NAME = "UDD5_all_sem_seg"
COUNT, SIZE = 5, (12, 9)
ISPRS = find_split("Potsdam_all_sem_seg").class_set


def images(
    folder, classes: int = len(UDD5), first: int = 0
) -> list[tuple[dict, dict, np.ndarray, np.ndarray]]:
    """Inputs, outputs, predicted ids and labels of a few images; one class is never labelled."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(COUNT):
        label = rng.integers(first, first + classes - 1, SIZE, dtype=np.uint8)
        label[0] = 255
        scores = rng.random((classes, *SIZE), dtype=np.float32)
        path = folder / f"{i}.png"
        Image.fromarray(label).save(path)
        Image.fromarray(label).save(path.with_suffix(".bmp"))
        fed = {"file_name": str(path.with_suffix(".bmp")), "sem_seg_file_name": str(path)}
        found.append((fed, {"sem_seg": torch.from_numpy(scores)}, scores.argmax(0), label))
    return found


def evaluated(evaluator: RSEvaluator, parts) -> dict | None:
    for fed, output, _, _ in parts:
        evaluator.process([fed], [output])
    return evaluator.evaluate()


def test_results_are_those_of_the_confusion_matrix(tmp_path):
    parts = images(tmp_path)
    matrix = ConfusionMatrix(len(UDD5))
    for _, _, prediction, label in parts:
        matrix.update(prediction, label)
    expected = matrix.scores()
    results = evaluated(RSEvaluator(NAME), parts)["sem_seg"]
    for key in ("mIoU", "fwIoU", "mACC", "pACC"):
        assert results[key] == getattr(expected, key)
    for k, name in enumerate(UDD5.names[:-1]):
        assert results[f"IoU-{name}"] == expected.IoU[k]
    assert f"IoU-{UDD5.names[-1]}" not in results


def test_a_perfect_prediction_scores_100(tmp_path):
    evaluator = RSEvaluator(NAME)
    for fed, _, _, label in images(tmp_path):
        one_hot = np.eye(len(UDD5), dtype=np.float32)[np.where(label == 255, 0, label)]
        evaluator.process([fed], [{"sem_seg": torch.from_numpy(one_hot.transpose(2, 0, 1))}])
    results = evaluator.evaluate()["sem_seg"]
    assert [results[key] for key in ("mIoU", "fwIoU", "mACC", "pACC")] == [100] * 4


def test_results_are_written_as_json_beside_each_other(tmp_path):
    parts = images(tmp_path)
    for suffix in ("", "_TTA"):
        results = evaluated(RSEvaluator(NAME, tmp_path / "inference", suffix), parts)["sem_seg"]
        written = json.loads((tmp_path / "inference" / f"{NAME}{suffix}.json").read_text())
        assert written["datasets"][f"{NAME}{suffix}"]["mIoU"] == results["mIoU"]
        assert written["datasets"][f"{NAME}{suffix}"]["classes"].keys() == set(UDD5.names)


def test_a_reset_forgets_all_images(tmp_path):
    parts = images(tmp_path)
    evaluator = RSEvaluator(NAME)
    once = evaluated(evaluator, parts[:2])
    evaluator.reset()
    assert evaluated(evaluator, parts[:2]) == once
    assert evaluator.matrix.counts.sum() == 2 * (SIZE[0] - 1) * SIZE[1]


def test_what_was_counted_can_be_written_down_and_taken_up_again(tmp_path):
    parts = images(tmp_path)
    evaluator, other = RSEvaluator(NAME), RSEvaluator(NAME)
    results = evaluated(evaluator, parts)
    counts = evaluator.tally.image_counts
    other.restore(json.loads(json.dumps(evaluator.state())), counts)
    assert other.results() == results
    assert (other.images, other.fingerprint) == (COUNT, evaluator.fingerprint)
    with pytest.raises(DatasetError, match=r"of 5 classes.* and of 4"):
        other.restore({"matrix": ConfusionMatrix(4).state(), "digests": []}, counts)


def test_the_fingerprint_is_that_of_the_files_that_were_read(tmp_path):
    evaluator = RSEvaluator(NAME)
    evaluated(evaluator, images(tmp_path)[::-1])
    files = [Pair(path, path.with_suffix(".png")) for path in tmp_path.glob("*.bmp")]
    assert evaluator.fingerprint == compute_fingerprint(files)


def test_a_model_of_other_classes_is_refused(tmp_path):
    fed, output, _, _ = images(tmp_path)[0]
    with pytest.raises(DatasetError, match="has 5 classes, but the model has scores of 4"):
        RSEvaluator(NAME).process([fed], [{"sem_seg": output["sem_seg"][:4]}])


def test_a_label_that_cannot_be_scored_is_told_with_its_file(tmp_path):
    fed, output, _, label = images(tmp_path)[0]
    Image.fromarray(np.where(label == 1, 7, label).astype(np.uint8)).save(fed["sem_seg_file_name"])
    with pytest.raises(LabelError, match=r"0\.png: found ids 7"):
        RSEvaluator(NAME).process([fed], [output])
    Image.fromarray(label.T.copy()).save(fed["sem_seg_file_name"])
    with pytest.raises(LabelError, match=r"9x12.*12x9"):
        RSEvaluator(NAME).process([fed], [output])


@pytest.fixture
def patches():
    """A registered set of six classes that is scored by GeoSeg's protocol as well."""
    MetadataCatalog.get("patches").set(
        stuff_classes=list(ISPRS.names), ignore_label=255, protocol="geoseg_isprs"
    )
    yield "patches"
    MetadataCatalog.remove("patches")


def test_a_protocol_of_the_dataset_is_scored_beside_the_common_figures(tmp_path, patches, caplog):
    parts = images(tmp_path, len(ISPRS), first=1)
    evaluator = RSEvaluator(patches, tmp_path)
    with caplog.at_level(logging.INFO, "rskt_seg"):
        results = evaluated(evaluator, parts)["sem_seg"]
    expected = protocol_scores(evaluator.matrix, "geoseg_isprs")
    found = {key: results[f"protocol/{key}"] for key in FIGURES}
    assert found == {key: getattr(expected, key) for key in FIGURES}
    assert results["protocol/OA"] == results["pACC"]
    assert results["mIoU"] == evaluator.matrix.scores().mIoU
    assert results["protocol/mIoU"] != results["mIoU"]  # class 0 is predicted and never labelled
    assert "Clutter/background is trained, counted in OA and left out of the means" in caplog.text
    assert f"mIoU {expected.mIoU:.2f}, mF1 {expected.mF1:.2f}" in caplog.text
    written = json.loads((tmp_path / "patches.json").read_text())["datasets"]["patches"]["protocol"]
    assert written["name"] == "geoseg_isprs" and written["mF1"] == expected.mF1
    assert written["reported"] == list(ISPRS.names[:5])


def test_counts_taken_up_again_have_the_same_protocol_figures(tmp_path, patches):
    evaluator, other = RSEvaluator(patches), RSEvaluator(patches)
    results = evaluated(evaluator, images(tmp_path, len(ISPRS)))
    other.restore(json.loads(json.dumps(evaluator.state())), evaluator.tally.image_counts)
    assert other.protocol_scores is None
    assert other.results() == results
    assert other.protocol_scores == evaluator.protocol_scores


def test_a_dataset_without_a_protocol_has_no_figures_of_one(tmp_path):
    evaluator = RSEvaluator(NAME, tmp_path)
    results = evaluated(evaluator, images(tmp_path))["sem_seg"]
    assert not [key for key in results if key.startswith("protocol")]
    assert evaluator.protocol_scores is None
    assert "protocol" not in json.loads((tmp_path / f"{NAME}.json").read_text())["datasets"][NAME]


def test_a_protocol_that_does_not_fit_the_dataset_is_refused_at_once(patches):
    MetadataCatalog.remove(patches)
    names = list(ISPRS.names)
    MetadataCatalog.get(patches).set(stuff_classes=names, ignore_label=255, protocol="geoseg_loveda")
    with pytest.raises(DatasetError, match="geoseg_loveda is for 7 classes; the dataset has 6"):
        RSEvaluator(patches)


def evaluate_a_share(folder) -> None:
    rank, size = comm.get_rank(), comm.get_world_size()
    assert (comm.get_local_rank(), comm.get_local_size()) == (rank, size)
    evaluator = RSEvaluator(NAME, folder, save_predictions=True)
    results = evaluated(evaluator, images(folder)[rank::size])
    if rank == 0:
        (folder / "results.json").write_text(json.dumps([results, evaluator.state()]))
    else:
        assert results is None


def test_two_processes_score_as_one(tmp_path):
    compat.launch(evaluate_a_share, 2, 1, 0, "auto", (tmp_path,), on_cpu=True)
    together = json.loads((tmp_path / "results.json").read_text())
    evaluator = RSEvaluator(NAME)
    results = evaluated(evaluator, images(tmp_path))
    assert together == [results, json.loads(json.dumps(evaluator.state()))]  # counts of images among them
    assert len(list((tmp_path / NAME).glob("*.png"))) == COUNT


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused_and_nothing_is_counted(tmp_path, value):
    (fed, output, _, _), *_ = images(tmp_path)
    output["sem_seg"][3, 1, 1] = value
    evaluator = RSEvaluator(NAME, tmp_path / "results")
    with pytest.raises(NotFiniteError, match=r"0\.bmp: expected finite class scores"):
        evaluator.process([fed], [output])
    assert evaluator.images == 0 and not (tmp_path / "results").exists()
