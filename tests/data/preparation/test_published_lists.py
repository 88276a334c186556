"""DeepGlobe, Inria and LoveDA: images are sorted into the splits that published lists make up."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data.catalog import find_split, pairs
from rskt_seg.data.class_sets import ISPRS
from rskt_seg.data.labels import read_label
from rskt_seg.data.preparation import prepare
from rskt_seg.data.split_lists import LISTS, read_list
from rskt_seg.errors import DatasetError
from tests.data.preparation.official import (
    CLOSED_SET,
    OFFICIAL,
    colors,
    photograph,
    prepare_quietly,
    stems_of,
)

SAMPLES = os.environ.get("RSKT_SEG_SAMPLES")


def test_deepglobe_is_sorted_into_the_published_lists_in_both_forms(tmp_path):
    ids = CLOSED_SET["deepglobe"](tmp_path / "src")
    summary = prepare_quietly("deepglobe", tmp_path / "src", tmp_path / "out")
    assert summary.parts == {"train": 2, "val": 2, "test": 2}
    notes = "\n".join(summary.notes)
    assert "unlisted: 1 images without labels left out" in notes
    assert "list deepglobe_val.txt names 207 images; 205 of them are not in the download" in notes
    for part in LISTS["deepglobe"]:
        assert stems_of(tmp_path / "out", f"deepglobe_{part}") == sorted(read_list(f"deepglobe_{part}")[:2])
        for form, change in (("", lambda k: np.where(k == 0, 255, k - 1)), ("fctl_", lambda k: k)):
            for pair in pairs(find_split(f"deepglobe_{form}{part}_sem_seg"), tmp_path / "out"):
                assert (read_label(pair.label) == change(ids[pair.image.stem])).all()
                original = tmp_path / f"src/train/{pair.image.stem}_sat.jpg"
                assert pair.image.read_bytes() == original.read_bytes()


def test_inria_is_sorted_into_the_published_lists_and_its_images_stay_as_they_are(tmp_path):
    ids = CLOSED_SET["inria"](tmp_path / "src")
    summary = prepare_quietly("inria", tmp_path / "src", tmp_path / "out")
    assert summary.parts == LISTS["inria"] and summary.images == 180
    for part in LISTS["inria"]:
        assert stems_of(tmp_path / "out", f"inria_{part}") == sorted(read_list(f"inria_{part}"))
        for pair in pairs(find_split(f"inria_{part}_sem_seg"), tmp_path / "out"):
            assert (read_label(pair.label) == ids[pair.image.stem]).all()
            original = tmp_path / f"src/AerialImageDataset/train/images/{pair.image.name}"
            assert pair.image.read_bytes() == original.read_bytes()


def test_the_published_folders_of_inria_are_taken_as_they_are(tmp_path):
    CLOSED_SET["inria"](tmp_path / "src")
    folders = {"train": "train", "val": "crossvali", "test": "offical_crossvali"}
    for part, folder in folders.items():
        for stem in read_list(f"inria_{part}"):
            photograph(tmp_path / f"fctl/data_1/{folder}/Sat/{stem}_sat.tif", (10, 15))
            label = tmp_path / f"fctl/data_1/{folder}/Label/{stem}_mask.png"
            label.parent.mkdir(parents=True, exist_ok=True)
            mask = np.asarray(Image.open(tmp_path / f"src/AerialImageDataset/train/gt/{stem}.tif"))
            Image.fromarray(mask // 255).save(label)
    prepare_quietly("inria", tmp_path / "src", tmp_path / "out")
    prepare_quietly("inria", tmp_path / "fctl", tmp_path / "other")
    for path in (tmp_path / "out").rglob("labels/*.png"):
        assert (tmp_path / "other" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes()
    with pytest.raises(DatasetError, match="only one of the two"):
        prepare("inria", [tmp_path / "src", tmp_path / "fctl"], tmp_path / "both", progress=False)


def test_the_layout_of_loveda_geoseg_is_written_with_loveda(tmp_path):
    OFFICIAL["LoveDA"](tmp_path / "src")
    summary = prepare_quietly("loveda_geoseg", tmp_path / "src", tmp_path / "out")
    assert summary.dataset == "LoveDA" and summary.images == 3
    with pytest.raises(DatasetError, match=r"LoveDA_geoseg_val_sem_seg: 1668 listed stems without a file"):
        stems_of(tmp_path / "out", "LoveDA_geoseg_val")


def test_images_of_a_list_that_are_absent_are_named_with_their_list_and_nothing_is_written(tmp_path):
    CLOSED_SET["deepglobe"](tmp_path / "src")
    with pytest.raises(DatasetError) as error:
        prepare_quietly("deepglobe", tmp_path / "src", tmp_path / "out", allow_missing=False)
    text = str(error.value)
    assert "list deepglobe_train.txt names 454 images; 452 of them are not in the download" in text
    assert text.count(",") == 9 and "and 442 more" in text and "--allow-missing" in text
    assert not (tmp_path / "out").exists()


def test_labelled_images_of_no_list_are_left_out_and_named(tmp_path):
    CLOSED_SET["deepglobe"](tmp_path / "src")
    photograph(tmp_path / "src/train/7_sat.jpg", (24, 24))
    colors(tmp_path / "src/train/7_mask.png", ISPRS, (24, 24))
    summary = prepare_quietly("deepglobe", tmp_path / "src", tmp_path / "out")
    assert summary.images == 6
    assert "left out: 1 labelled images that are in no list: 7" in summary.notes


@pytest.mark.skipif(SAMPLES is None, reason="RSKT_SEG_SAMPLES names no folder of real samples")
def test_the_real_deepglobe_sample_has_its_published_counts_in_both_forms(tmp_path):
    (tmp_path / "src/train").mkdir(parents=True)
    for kind in ("sat.jpg", "mask.png"):
        shutil.copy(Path(SAMPLES) / f"deepglobe/6399_{kind}", tmp_path / f"src/train/6399_{kind}")
    summary = prepare_quietly("deepglobe", tmp_path / "src", tmp_path / "out")
    assert summary.unknown == {}
    assert summary.pixels == {2: 3013524, 1: 1491420, 4: 931980, 255: 432328, 3: 102792, 5: 20660}
    label = read_label(tmp_path / "out/deepglobe/train/labels_fctl/6399.png")
    assert np.bincount(label.ravel()).tolist() == [432328, 0, 1491420, 3013524, 102792, 931980, 20660]
