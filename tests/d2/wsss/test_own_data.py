"""Own datasets with image-level labels, with masks, and with both."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from rskt_seg.d2.datasets import load_datasets, register_own, with_image_labels
from rskt_seg.d2.loaders import check_datasets, training_loader
from rskt_seg.errors import DatasetError
from tests.d2.conftest import tiny_config
from tests.d2.wsss.tiny import batches, by_stem, config

CLASSES = ("background", "road", "tree")


@pytest.fixture
def own(tmp_path):
    """A folder of own data: the split `weak` of its YAML file has a file of classes, `both` that file and
    masks, and `masks` masks alone. The datasets are forgotten afterwards."""
    before = set(DatasetCatalog.list())
    folder = tmp_path / "farm"
    for name in "xy":
        (folder / name).mkdir(parents=True)
    for number, stem in enumerate("abc"):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 44, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"x/{stem}.jpg")
        ids = np.full((40, 44), number % 2, np.uint8)
        ids[0] = 2
        Image.fromarray(ids).save(folder / f"y/{stem}.png")
    (folder / "labels.csv").write_text("a,tree\nb,road,tree\nc\n")
    weak, masks = "images: x, image_labels: labels.csv", "images: x, labels: y"
    (folder / "farm.yaml").write_text(
        f"name: farm\nclasses: [{', '.join(CLASSES)}]\nignore: 2\n"
        f"splits: {{weak: {{{weak}}}, both: {{{weak}, labels: y}}, masks: {{{masks}}}}}\n"
    )
    yield folder
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def farm(own: Path, train: str, test: str = "", make=config):
    names = [f"('farm_{part}_sem_seg',)" if part else "()" for part in (train, test)]
    opts = (
        "DATASETS.OWN",
        f"('{own / 'farm.yaml'}',)",
        "DATASETS.TRAIN",
        names[0],
        "DATASETS.TEST",
        names[1],
    )
    return make(*opts)


def test_somebody_without_masks_can_train(own):
    cfg = farm(own, "weak")
    shutil.rmtree(own / "y")
    (own / "farm.yaml").write_text((own / "farm.yaml").read_text().replace(", labels: y", ""))
    with pytest.raises(DatasetError, match=r"splits\.masks: missing key labels"):
        check_datasets(cfg, training=True)
    text = (own / "farm.yaml").read_text()
    (own / "farm.yaml").write_text(text[: text.index(", masks:")] + "}\n")
    check_datasets(cfg, training=True)
    entries = batches(training_loader(cfg), 8)
    assert by_stem(entries) == {"a": (2,), "b": (1, 2), "c": ()}
    assert {entry["vocabulary"] for entry in entries} == {CLASSES}


def test_a_file_comes_before_masks_and_what_masks_ignore_is_in_no_label(own):
    register_own([str(own / "farm.yaml")])
    both, masks = (
        with_image_labels(load_datasets([f"farm_{part}_sem_seg"]), 1) for part in ("both", "masks")
    )
    assert by_stem(both) == {"a": (2,), "b": (1, 2), "c": ()}
    assert by_stem(masks) == {"a": (0,), "b": (1,), "c": (0,)}
    assert all("sem_seg_file_name" in entry for entry in both)
    check_datasets(farm(own, "both", "both"), training=True)


@pytest.mark.parametrize("training", [True, False])
def test_nothing_can_be_scored_on_image_level_labels(own, training):
    words = r"farm_weak_sem_seg: .*a\.jpg has no mask: nothing can be scored without .*out of DATASETS\.TEST"
    with pytest.raises(DatasetError, match=words):
        check_datasets(farm(own, "weak", "weak"), training=training)


def test_another_head_cannot_be_trained_on_image_level_labels(own):
    cfg = farm(own, "weak", "masks", make=tiny_config)
    with pytest.raises(
        DatasetError, match=r"farm_weak_sem_seg: .*a\.jpg has no mask: .*learns from image-level labels"
    ):
        check_datasets(cfg, training=True)
    with pytest.raises(DatasetError, match=r"[abc]\.jpg has no mask"):
        next(iter(training_loader(cfg)))
    check_datasets(farm(own, "both", "masks", make=tiny_config), training=True)


def test_a_faulty_file_or_a_broken_image_stops_the_run_and_is_named(own):
    cfg = farm(own, "weak")
    good = (own / "x/b.jpg").read_bytes()
    (own / "x/b.jpg").write_bytes(b"no image")
    with pytest.raises(
        DatasetError, match=r"image cannot be read: \S*b\.jpg .*rskt-seg check \S*farm\.yaml` gives"
    ):
        check_datasets(cfg, training=True)
    (own / "x/b.jpg").write_bytes(good)
    (own / "labels.csv").write_text("a,tre\nb\nc\n")
    with pytest.raises(DatasetError, match=r"labels\.csv, line 1: unknown class 'tre'; did you mean tree\?"):
        check_datasets(cfg, training=True)


@pytest.mark.parametrize(("part", "make"), [("weak", config), ("masks", tiny_config)])
@pytest.mark.parametrize("training", [True, False])
def test_images_of_more_than_8_bits_stop_a_run_of_any_method(own, part, make, training):
    (own / "x/b.jpg").unlink()
    Image.fromarray(np.full((40, 44), 9000, np.uint16)).save(own / "x/b.png")
    cfg = farm(own, part, "" if training else "masks", make=make)
    words = (
        r"not unsigned 8-bit integers: \S*b\.png \(16 bits\) .*gdal_translate .*rskt-seg check \S*farm\.yaml`"
    )
    with pytest.raises(DatasetError, match=words):
        check_datasets(cfg, training=training)
