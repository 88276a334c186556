"""Training and scoring on windows of sources, against the same on tiles that were prepared of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from rskt_seg.d2.benchmark import _data_digest
from rskt_seg.d2.datasets import load_datasets, register_own, size_of, with_labels_of_image
from rskt_seg.d2.evaluator import RSEvaluator
from rskt_seg.d2.launch import kept_warnings
from rskt_seg.d2.loaders import check_datasets, evaluation_loader, training_loader
from rskt_seg.d2.progress import describe_evaluation
from rskt_seg.d2.shorthand import own_data
from rskt_seg.data.own import read_own
from rskt_seg.errors import DatasetError
from tests.d2.conftest import tiny_config
from tests.data.own_preparation.sources import ids_of, prepare, write_description, write_tif

TRAIN, TEST = "farm_train_sem_seg", "farm_val_sem_seg"
SPEEDY = ["INPUT.MIN_SIZE_TRAIN", "(24,)", "INPUT.CROP.SIZE", "[24, 24]", "INPUT.MIN_SIZE_TEST", "0"]


@pytest.fixture
def farm(tmp_path):
    """A scene of deep bands with a border without data, and the description of it."""
    before = set(DatasetCatalog.list())
    bands = np.random.default_rng(3).integers(1, 3000, (3, 90, 120)).astype(np.uint16)
    bands[:, :7] = 0
    write_tif(tmp_path / "images/a.tif", bands, nodata=0)
    write_tif(tmp_path / "labels/a.tif", ids_of(3, 90, 120))
    yield write_description(tmp_path, tiles={"size": 24, "overlap": 4}, split={"val": 0.3, "blocks": "40 px"})
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def config(file: Path, output: Path, *opts: str):
    names = ("DATASETS.TRAIN", f"('{TRAIN}',)", "DATASETS.TEST", f"('{TEST}',)", "OUTPUT_DIR", str(output))
    return tiny_config("DATASETS.OWN", f"('{file}',)", *names, *SPEEDY, *opts)


def prepared(farm: Path) -> Path:
    return prepare(farm, farm.parent / "tiles").file


def registered(cfg):
    register_own(cfg.DATASETS.OWN, cfg.OUTPUT_DIR)
    return cfg


def batches(cfg, number=3):
    loader = iter(training_loader(registered(cfg)))
    return [entry for _ in range(number) for entry in next(loader)]


def test_batches_are_those_of_tiles_whatever_the_number_of_workers(farm, tmp_path):
    tiles = batches(config(prepared(farm), tmp_path / "run"))
    source = config(farm, tmp_path / "run")
    check_datasets(source, training=True)
    forked = config(farm, tmp_path / "run", "DATALOADER.NUM_WORKERS", "2")
    for found in (batches(source), batches(forked)):
        for tile, window in zip(tiles, found, strict=True):
            assert Path(window["file_name"]).name == Path(tile["file_name"]).name
            assert torch.equal(window["image"], tile["image"]) and torch.equal(
                window["sem_seg"], tile["sem_seg"]
            )


def test_scores_are_those_of_tiles(farm, tmp_path):
    found = []
    for number, file in enumerate((prepared(farm), farm)):
        cfg = registered(config(file, tmp_path / f"run{number}"))
        evaluator = RSEvaluator(TEST, tmp_path / f"run{number}", save_predictions=True, pictures=2)
        for inputs in evaluation_loader(cfg, TEST):
            shape = inputs[0]["height"], inputs[0]["width"]
            evaluator.process(inputs, [{"labels": torch.arange(shape[0] * shape[1]).reshape(shape) % 2}])
        scores = evaluator.evaluate()
        names = sorted(path.name for path in (tmp_path / f"run{number}/{TEST}").glob("*.png"))
        found.append(
            (scores, evaluator.matrix.state(), evaluator.fingerprint.labels, names, evaluator.picture)
        )
    np.testing.assert_equal(found[0], found[1])


def test_the_names_of_windows_are_no_files_and_their_sizes_are_known(farm, tmp_path):
    registered(config(farm, tmp_path / "run"))
    tiles = {split.split: Path(split.images) for split in read_own(prepared(farm))}
    for entry in load_datasets([TRAIN]):
        assert (
            not Path(entry["file_name"]).exists()
            and Path(entry["file_name"]).parent == farm.parent / "images/a.tif"
        )
        assert (tiles["train"] / Path(entry["file_name"]).name).exists() and size_of(entry) == (24, 24)
        assert with_labels_of_image(entry, 1)["image_labels"] in ((0,), (1,), (0, 1))


def test_a_resumed_run_and_an_evaluation_refuse_sources_that_have_changed(farm, tmp_path):
    cfg = config(farm, tmp_path / "run")
    check_datasets(cfg, training=True)
    check_datasets(cfg, training=True, resumed=True)
    before = _data_digest(TEST, load_datasets([TEST]))
    write_tif(farm.parent / "labels/a.tif", 1 - ids_of(3, 90, 120))
    for training in (True, False):
        with pytest.raises(DatasetError, match=r"labels/a\.tif changed since; put back"):
            check_datasets(cfg, training=training, resumed=training)
    check_datasets(config(farm, tmp_path / "other"), training=False)
    check_datasets(cfg, training=True)
    assert _data_digest(TEST, load_datasets([TEST])) != before


def test_the_plan_is_told_in_a_line_beside_the_sets(farm, tmp_path):
    told = describe_evaluation(registered(config(farm, tmp_path / "run")), 1)
    (line,) = [line for line in told.splitlines() if "read directly" in line]
    numbers = f"{len(load_datasets([TRAIN]))} train, {len(load_datasets([TEST]))} val"
    assert numbers in line and "windows of 24 px" in line and "uint16 to 8 bit" in line
    assert str(tmp_path / "run/windows_farm.json") in line


def test_a_look_at_sources_is_told_before_it_takes_its_time(farm, tmp_path, capsys):
    for number in range(2):
        with kept_warnings() as warnings:
            check_datasets(config(farm, tmp_path / "run"), training=True)
        told = [line for line in capsys.readouterr().out.splitlines() if "of 1 image once" in line]
        assert len(told) == (number == 0) and warnings == []


def test_sources_that_have_not_changed_are_planned_once(farm, tmp_path):
    cfg = registered(config(farm, tmp_path / "run"))
    first = load_datasets([TRAIN])
    known = MetadataCatalog.get(TRAIN).windows
    registered(cfg)
    assert MetadataCatalog.get(TRAIN).windows is known and load_datasets([TRAIN]) == first
    write_tif(farm.parent / "images/b.tif", np.ones((3, 30, 30), np.uint8), origin=(600_000.0, 5_300_000.0))
    write_tif(farm.parent / "labels/b.tif", ids_of(3, 30, 30), origin=(600_000.0, 5_300_000.0))
    registered(cfg)
    assert MetadataCatalog.get(TRAIN).windows is not known


def test_data_may_be_a_description_of_sources(farm):
    found = own_data(str(farm), [], evaluating=False)
    assert found[2:] == ("DATASETS.TRAIN", f"('{TRAIN}',)", "DATASETS.TEST", f"('{TEST}',)")
    with pytest.raises(DatasetError, match="describes sources, not a dataset"):
        read_own(farm)
