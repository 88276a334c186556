"""Image-level labels come from masks, or from whoever registers a dataset."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from rskt_seg.d2.datasets import load_datasets, with_image_labels
from rskt_seg.d2.loaders import evaluation_loader, training_loader
from rskt_seg.d2.methods.wsss import SegmentorCams
from rskt_seg.data.catalog import find_split
from rskt_seg.errors import DatasetError, LabelError
from tests.d2.conftest import tiny_config
from tests.d2.wsss.tiny import batches, by_stem, config

SIDE = 32
TRAIN, TEST = "iSAID_wsss_train_sem_seg", "iSAID_wsss_test_sem_seg"
MASKS = {"P1_0": [[0, 3], [3, 15]], "P1_1": [[255, 255], [0, 0]], "P2_5": [[7, 7], [7, 255]]}
SHOWN = {"P1_0": (0, 3, 15), "P1_1": (0,), "P2_5": (7,)}


def write_crops(root: Path, part: str, masks: dict[str, list[list[int]]]) -> None:
    split = find_split(f"iSAID_wsss_{part}_sem_seg")
    for folder in (split.images, split.labels):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (stem, rows) in enumerate(masks.items()):
        ids = np.array(rows, np.uint8).repeat(20, 0).repeat(20, 1)
        pixels = np.random.default_rng(number).integers(0, 256, (*ids.shape, 3), np.uint8)
        Image.fromarray(pixels).save(root / split.images / f"{stem}.png")
        Image.fromarray(ids).save(root / split.labels / f"{stem}.png")


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Crops of 40 px to train and to test on, which the run's environment points to."""
    for part in ("train", "test"):
        write_crops(tmp_path / "data", part, MASKS)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_training_reads_masks_once_at_its_beginning_and_no_label_file_after_that(root, workers):
    loader = training_loader(config("DATALOADER.NUM_WORKERS", workers))
    shutil.rmtree(root / "iSAID_wsss/train/labels")
    entries = batches(loader, 8)
    assert by_stem(entries) == SHOWN
    for entry in entries:
        assert entry["image"].shape == (3, SIDE, SIDE) and entry["valid"].shape == (SIDE, SIDE)
        assert "sem_seg" not in entry


def test_a_class_of_too_few_pixels_is_not_in_the_label(root):
    loader = training_loader(config("DATASETS.MIN_LABEL_PIXELS", "401"))
    assert by_stem(batches(loader, 8)) == {"P1_0": (3,), "P1_1": (0,), "P2_5": (7,)}


def test_a_faulty_mask_stops_the_training_before_it_begins(root):
    mask = root / "iSAID_wsss/train/labels/P1_1.png"
    Image.fromarray(np.full((40, 40), 16, np.uint8)).save(mask)
    with pytest.raises(LabelError, match=r"P1_1\.png: found ids 16"):
        training_loader(config())


def test_a_training_with_masks_has_no_image_level_labels(root):
    cfg = tiny_config("DATASETS.TRAIN", f"('{TRAIN}',)", "INPUT.CROP.SIZE", "[32,32]")
    assert all(
        "image_labels" not in entry and "sem_seg" in entry for entry in batches(training_loader(cfg), 1)
    )


def test_where_cams_are_scored_each_image_takes_its_labels_from_its_mask(root):
    asked = []
    head = SimpleNamespace(cam_labels=lambda entry: asked.append(entry) or torch.zeros(1, 1))
    cams = SegmentorCams(head)
    for batch in evaluation_loader(config("TEST.CAM", "True"), TEST):
        assert all("image_labels" not in entry for entry in batch)
        cams(batch)
    assert len(asked) == 3 and by_stem(asked) == SHOWN


def test_a_foreign_dataset_may_bring_image_level_labels_itself():
    DatasetCatalog.register("foreign_weak", lambda: [{"file_name": "a.png", "image_labels": (1,)}])
    DatasetCatalog.register("foreign_bare", lambda: [{"file_name": "a.png"}])
    try:
        for name in ("foreign_weak", "foreign_bare"):
            MetadataCatalog.get(name).set(stuff_classes=["roof", "road"])
        assert with_image_labels(load_datasets(["foreign_weak"]), 1)[0]["image_labels"] == (1,)
        with pytest.raises(DatasetError, match=r"a\.png has neither a mask nor image-level labels"):
            with_image_labels(load_datasets(["foreign_bare"]), 1)
    finally:
        for name in ("foreign_weak", "foreign_bare"):
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
