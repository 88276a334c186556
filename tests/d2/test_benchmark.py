"""The benchmark: one pass over several sets, resumed where it was interrupted, reported as a table."""

import csv
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from safetensors.torch import save_file

from rskt_seg.checkpoints.fetch import sha256_of
from rskt_seg.d2 import benchmark, load_config
from rskt_seg.d2.benchmark import evaluate
from rskt_seg.d2.datasets import register_splits
from rskt_seg.d2.loaders import evaluation_loader
from rskt_seg.d2.trained_sets import TrainedSet
from rskt_seg.d2.trainer import Trainer
from rskt_seg.data.catalog import UDD5, find_split, pairs
from rskt_seg.data.fingerprint import compute_fingerprint
from rskt_seg.errors import ConfigError, DatasetError, LabelError
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.metrics.protocols import FIGURES, protocol_scores
from tests.d2.conftest import tiny_config, write_split

SETS = ("DLRSD_val_sem_seg", "UDD5_all_sem_seg")
REPORTS = {f"benchmark{ending}" for ending in (".txt", ".md", ".csv", ".json", "_classes.csv")}


def weights(folder: Path, seed: int = 1) -> Path:
    torch.manual_seed(seed)
    path = folder / f"weights{seed}.safetensors"
    save_file(Trainer.build_model(tiny_config()).state_dict(), path)
    return path


@pytest.fixture
def cfg(data_root, tmp_path):
    def build(*opts: str, path: Path | None = None):
        path = path or weights(tmp_path)
        return tiny_config("MODEL.WEIGHTS", str(path), "OUTPUT_DIR", str(tmp_path / "out"),
                           "DATASETS.TEST", str(SETS), *opts)  # fmt: skip

    return build


def counts(folder: Path, name: str) -> list:
    return json.loads((folder / "inference" / f"{name}.counts.json").read_text())["matrix"]["counts"]


def test_every_set_is_evaluated_and_the_report_says_what_was_run(cfg, tmp_path, data_root, caplog):
    config = cfg("DATASETS.TRAIN", "('DLRSD_val_sem_seg',)")
    with caplog.at_level(logging.INFO, "rskt_seg"):
        results = evaluate(config)
    out = tmp_path / "out"
    report = json.loads((out / "benchmark.json").read_text())
    assert tuple(results) == tuple(report["datasets"]) == SETS
    for name in SETS:
        row = report["datasets"][name]
        assert row["mIoU"] == results[name]["sem_seg"]["mIoU"]
        files = pairs(find_split(name), data_root)
        assert (row["images"], row["fingerprint"]) == (3, str(compute_fingerprint(files)))
        assert row["contains_training_images"] == (name == "DLRSD_val_sem_seg")
    assert report["mean"]["mIoU"] == pytest.approx(np.mean([r["sem_seg"]["mIoU"] for r in results.values()]))
    assert report["weights"]["sha256"] == sha256_of(tmp_path / "weights1.safetensors")
    assert report["config"]["DATASETS"]["TEST"] == list(SETS)
    assert report["datasets"]["UDD5_all_sem_seg"]["seen"]["classes"] == 1  # Building, as buildings
    assert {path.name for path in out.iterdir()} >= REPORTS
    why = report["not_compared"]  # the paper has no model of this size, and none trained on this set
    assert "there 'vitb16' or 'vitl14', trained on DLRSD_val_sem_seg, there on" in why
    assert f"\npaper: {why}" in (out / "benchmark.txt").read_text()
    assert "mean of 2" in caplog.text and "DLRSD_val_sem_seg *" in caplog.text
    assert len(list(csv.reader((out / "benchmark_classes.csv").open()))) == 1 + 17 + 5


def test_a_set_that_is_not_the_published_one_says_so(cfg, tmp_path, data_root):
    write_split(data_root, "DLRSD_all_sem_seg")
    evaluate(cfg("DATASETS.TEST", "('DLRSD_all_sem_seg', 'UDD5_all_sem_seg')"))
    report = json.loads((tmp_path / "out" / "benchmark.json").read_text())["datasets"]
    assert report["DLRSD_all_sem_seg"]["unpublished"] == "it has 3 images, the published set 2100"
    assert report["UDD5_all_sem_seg"]["unpublished"] is None  # nothing is known of it


def test_a_repeated_run_takes_up_what_is_done_and_reports_the_same(cfg, tmp_path, passes):
    first = evaluate(cfg())
    report = (tmp_path / "out" / "benchmark.json").read_text()
    again = evaluate(cfg())
    assert passes == list(SETS)
    assert again == first
    assert (tmp_path / "out" / "benchmark.json").read_text() == report


def test_an_interrupted_run_goes_on_with_the_sets_not_done(cfg, data_root, tmp_path, passes):
    broken = next(iter((data_root / find_split(SETS[1]).labels).iterdir()))
    good = broken.read_bytes()
    Image.fromarray(np.full((40, 48), 77, np.uint8)).save(broken)
    with pytest.raises(LabelError, match=r"scene\d\.png: found ids 77"):
        evaluate(cfg())
    assert not REPORTS & {path.name for path in (tmp_path / "out").iterdir()}
    broken.write_bytes(good)
    evaluate(cfg())
    assert passes == [SETS[0], SETS[1], SETS[1]]
    resumed = [counts(tmp_path / "out", name) for name in SETS]
    for path in (tmp_path / "out" / "inference").iterdir():
        path.unlink()
    evaluate(cfg())
    assert [counts(tmp_path / "out", name) for name in SETS] == resumed


def test_counts_of_other_data_weights_settings_or_code_are_not_taken_up(
    cfg, data_root, tmp_path, passes, monkeypatch, caplog
):
    evaluate(cfg())
    label = next(iter((data_root / find_split(SETS[1]).labels).iterdir()))
    Image.fromarray(np.zeros((40, 48), np.uint8)).save(label)
    with caplog.at_level(logging.INFO, "rskt_seg"):
        evaluate(cfg())
    assert passes == [*SETS, SETS[1]]
    assert "UDD5_all_sem_seg: evaluated again, because of other data" in caplog.text
    evaluate(cfg(path=weights(tmp_path, seed=2)))
    evaluate(cfg("INPUT.MIN_SIZE_TEST", "64", path=weights(tmp_path, seed=2)))
    monkeypatch.setattr(benchmark.provenance, "code_digest", lambda: "changed")
    evaluate(cfg("INPUT.MIN_SIZE_TEST", "64", path=weights(tmp_path, seed=2)))
    assert passes == [*SETS, SETS[1], *SETS, *SETS, *SETS]


@pytest.fixture
def register():
    """Registers a split in place of the one of its name, until the test ends."""

    def replace_split(split):
        DatasetCatalog.remove(split.name)
        MetadataCatalog.remove(split.name)
        register_splits([split])

    yield replace_split
    replace_split(find_split(SETS[1]))


def test_counts_of_other_class_names_are_not_taken_up(cfg, passes, register):
    before = evaluate(cfg())[SETS[1]]["sem_seg"]
    row = find_split(SETS[1])
    turned = replace(row.class_set, names=(*UDD5.names[1:], UDD5.names[0]))
    register(replace(row, class_set=turned))
    after = evaluate(cfg())[SETS[1]]["sem_seg"]
    assert passes == [*SETS, SETS[1]]
    assert before != after


def test_a_set_of_which_all_was_trained_on_is_in_domain():
    assert TrainedSet.registered("DLRSD_train_sem_seg").holds_images_of("DLRSD_all_sem_seg")
    assert TrainedSet.registered("DLRSD_all_sem_seg").holds_images_of("DLRSD_val_sem_seg")
    assert TrainedSet.registered("DLRSD_val_sem_seg").holds_images_of("DLRSD_val_sem_seg")
    assert not TrainedSet.registered("DLRSD_train_sem_seg").holds_images_of("DLRSD_val_sem_seg")
    assert not TrainedSet.registered("DLRSD_all_sem_seg").holds_images_of("iSAID_all_sem_seg")


@pytest.mark.parametrize(
    ("test", "train", "contained"),
    [
        ("LoveDA_geoseg_val_sem_seg", "LoveDA_geoseg_train_val_sem_seg", True),  # the released BiCoR-Seg does
        ("LoveDA_geoseg_val_sem_seg", "LoveDA_geoseg_train_sem_seg", False),
        ("LoveDA_all_sem_seg", "LoveDA_geoseg_train_sem_seg", True),
        ("Potsdam_geoseg_padded_test_sem_seg", "Potsdam_geoseg_test_sem_seg", True),
        ("Potsdam_geoseg_padded_test_sem_seg", "Potsdam_geoseg_padded_train_sem_seg", False),
        ("Vaihingen_geoseg_test_sem_seg", "Potsdam_geoseg_test_sem_seg", False),
        ("deepglobe_test_sem_seg", "deepglobe_fctl_test_sem_seg", True),
        ("deepglobe_fctl_test_sem_seg", "deepglobe_fctl_train_sem_seg", False),
    ],
)
def test_other_cuts_and_labels_of_the_same_images_are_the_same_images(test, train, contained):
    assert TrainedSet.registered(train).holds_images_of(test) is contained


def test_damaged_counts_are_replaced(cfg, tmp_path, passes, caplog):
    evaluate(cfg())
    path = tmp_path / "out" / "inference" / f"{SETS[0]}.counts.json"
    path.write_text(path.read_text()[:100])
    evaluate(cfg())
    assert passes == [*SETS, SETS[0]]
    assert "cannot be read as counts" in caplog.text


def test_a_count_that_has_changed_is_noticed_and_the_set_is_evaluated_again(cfg, tmp_path, passes, caplog):
    results = evaluate(cfg())
    path = tmp_path / "out" / "inference" / f"{SETS[0]}.counts.json"
    stored = json.loads(path.read_text())
    stored["matrix"]["counts"][0][0] += 1
    path.write_text(json.dumps(stored))
    assert evaluate(cfg()) == results
    assert passes == [*SETS, SETS[0]]
    assert "a value has changed since it was written" in caplog.text


def test_a_missing_set_is_an_error_and_no_mean_is_printed(cfg, data_root, tmp_path):
    (data_root / find_split(SETS[1]).images).rename(data_root / "elsewhere")
    with pytest.raises(DatasetError, match="UDD5_all_sem_seg: the folder"):
        evaluate(cfg())
    assert not REPORTS & {path.name for path in (tmp_path / "out").glob("*")}


def test_test_time_augmentation_is_a_pass_and_a_report_of_its_own(cfg, tmp_path, passes):
    results = evaluate(cfg("TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(96,)"))
    assert tuple(results) == (*SETS, *(f"{name}_TTA" for name in SETS))
    assert passes == [*SETS, *SETS]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files >= REPORTS and {"benchmark_TTA.txt", "benchmark_TTA.json"} <= files


def test_rotated_names_ask_for_each_class_by_the_name_of_another(cfg):
    batch = next(iter(evaluation_loader(cfg("TEST.ROTATE_NAMES", "2"), "UDD5_all_sem_seg")))
    assert batch[0]["vocabulary"] == (*UDD5.names[2:], *UDD5.names[:2])
    with pytest.raises(ConfigError, match=r"ROTATE_NAMES 5 leaves a dataset of 5 classes as it is"):
        evaluation_loader(cfg("TEST.ROTATE_NAMES", "5"), "UDD5_all_sem_seg")


def test_a_control_is_marked_as_one_and_stands_beside_the_results(cfg, tmp_path, passes):
    plain = evaluate(cfg())
    report = (tmp_path / "out" / "benchmark.json").read_text()
    rotated = evaluate(cfg("TEST.ROTATE_NAMES", "1"))
    assert passes == [*SETS, *SETS]
    assert [rotated[f"{name}_rotated1"] != plain[name] for name in SETS] == [True, True]
    assert "CONTROL, not a result" in (tmp_path / "out" / "benchmark_rotated1.txt").read_text()
    assert (tmp_path / "out" / "benchmark.json").read_text() == report
    evaluate(cfg())
    assert passes == [*SETS, *SETS]


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A configuration of the smallest BiCoR-Seg with weights, for miniature patches."""
    root = tmp_path / "closed"
    for name in ("Vaihingen_geoseg_test_sem_seg", "Potsdam_geoseg_test_sem_seg"):
        write_split(root, name)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    file = tmp_path / "closed.yaml"
    file.write_text(
        "MODEL: {META_ARCHITECTURE: RSSegmentor, DEVICE: cpu, SEM_SEG_HEAD: {NAME: BiCoRHead},"
        " BICOR: {ENCODER: tiny, WIDTH: 16}}\n"
        "INPUT: {FORMAT: RGB, MIN_SIZE_TEST: 0}\nDATALOADER: {NUM_WORKERS: 0}\n"
        'DATASETS: {TRAIN: ["Vaihingen_geoseg_train_sem_seg"],'
        ' TEST: ["Vaihingen_geoseg_test_sem_seg", "Potsdam_geoseg_test_sem_seg"]}\n'
    )
    torch.manual_seed(3)
    path = tmp_path / "bicor.safetensors"
    save_file(Trainer.build_model(load_config(str(file))).state_dict(), path)
    return load_config(str(file), ["MODEL.WEIGHTS", str(path), "OUTPUT_DIR", str(tmp_path / "out")])


def test_a_closed_set_run_reports_the_protocol_of_its_sets_and_nothing_about_unseen_classes(
    closed, tmp_path, passes
):
    results = evaluate(closed)
    report = json.loads((tmp_path / "out" / "benchmark.json").read_text())["datasets"]
    for name in closed.DATASETS.TEST:
        stored = json.loads((tmp_path / "out" / "inference" / f"{name}.counts.json").read_text())
        matrix = ConfusionMatrix.from_state(stored["matrix"])
        figures = protocol_scores(matrix, "geoseg_isprs")
        found = [results[name]["sem_seg"][f"protocol/{key}"] for key in FIGURES]
        assert found == [getattr(figures, key) for key in FIGURES]
        assert report[name]["protocol"]["mF1"] == figures.mF1
        assert "seen" not in report[name] and report[name]["contains_training_images"] is False
    text = (tmp_path / "out" / "benchmark.txt").read_text()
    assert "protocol mIoU" in text and "seen" not in text and "chance" not in text
    again = evaluate(closed)
    assert again == results and len(passes) == 2  # taken up, with the same figures of the protocol
    assert (tmp_path / "out" / "benchmark.txt").read_text() == text


def test_the_scores_of_predictions_are_not_replaced(tmp_path):
    (tmp_path / "benchmark.json").write_text('{"predictions": {}}')
    with pytest.raises(ConfigError, match=r"holds the scores of predictions that .* wrote; choose another"):
        evaluate(tiny_config("OUTPUT_DIR", str(tmp_path)))
    assert (tmp_path / "benchmark.json").exists()
