"""Broken downloads of the closed-set datasets: each is refused with its file and the reason."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data.catalog import find_split, pairs
from rskt_seg.data.checking.check import check_split
from rskt_seg.data.split_lists import read_list
from rskt_seg.errors import DatasetError, LabelError
from tests.data.preparation.official import CLOSED_SET, photograph, prepare_quietly


def no_full_label(src: Path) -> None:
    (src / "complete/top_mosaic_09cm_area13.tif").unlink()


def eroded_alone(src: Path) -> None:
    shutil.rmtree(src / "complete")


def no_eroded_label(src: Path) -> None:
    (src / "5_Labels_all_noBoundary/top_potsdam_7_13_label_noBoundary.tif").unlink()


def foreign_colour(src: Path) -> None:
    path = src / "5_Labels_all/top_potsdam_6_7_label.tif"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, :3] = (6, 0, 0)
    Image.fromarray(pixels).save(path)


def ids_for_colours(src: Path) -> None:
    Image.new("L", (50, 35)).save(src / "eroded/top_mosaic_09cm_area38_noBoundary.tif")


def red(src: Path) -> None:
    stem = read_list("deepglobe_test")[0]
    pixels = np.asarray(Image.open(src / f"train/{stem}_mask.png")).copy()
    pixels[:2] = (128, 127, 0)
    Image.fromarray(pixels).save(src / f"train/{stem}_mask.png")


def no_mask(src: Path) -> None:
    (src / f"train/{read_list('deepglobe_val')[1]}_mask.png").unlink()


def other_size(src: Path) -> None:
    photograph(src / f"train/{read_list('deepglobe_val')[0]}_sat.jpg", (12, 24))


def gray_mask(src: Path) -> None:
    Image.new("L", (24, 24)).save(src / f"train/{read_list('deepglobe_train')[1]}_mask.png")


def converted(src: Path) -> None:
    Image.fromarray(np.eye(10, 15, dtype=np.uint8)).save(src / "AerialImageDataset/train/gt/tyrol-w3.tif")


def smoothed(src: Path) -> None:
    Image.new("L", (15, 10), 77).save(src / "AerialImageDataset/train/gt/austin2.tif")


def coloured(src: Path) -> None:
    photograph(src / "AerialImageDataset/train/gt/vienna7.tif", (10, 15))


def city_gone(src: Path) -> None:
    for path in (src / "AerialImageDataset/train").rglob("kitsap*.tif"):
        path.unlink()


FAULTS = {
    "a full label is missing": (
        "Vaihingen_geoseg",
        no_full_label,
        "1 images without a label: train/.*area13",
    ),
    "only eroded labels": ("Vaihingen_geoseg", eroded_alone, "2 images without a label: train/.*area1"),
    "an eroded label is missing": ("Potsdam_geoseg", no_eroded_label, "without a label: test/.*7_13"),
    "an unknown colour": (
        "Potsdam_geoseg",
        foreign_colour,
        r"6_7_label\.tif: 3 of 1600 .*\(6, 0, 0\) \(3 px\)",
    ),
    "ids for colours": ("Vaihingen_geoseg", ids_for_colours, r"area38_noB.*found mode L.*ids already"),
    "a ninth colour": ("deepglobe", red, r"_mask\.png: 48 of 576 pixels .*\(255, 0, 0\) \(48 px\)"),
    "no mask": ("deepglobe", no_mask, "1 images without a label: val/", {"allow_missing": False}),
    "another size": ("deepglobe", other_size, r"_sat\.jpg is 12x24 but its label .*_mask\.png is 24x24"),
    "a gray mask": ("deepglobe", gray_mask, r"_mask\.png: .*found mode L"),
    "a mask of 0 and 1": (
        "inria",
        converted,
        r"gt/tyrol-w3\.tif: .*found 1 \(10 px\); is the file converted",
    ),
    "a gray value": ("inria", smoothed, r"gt/austin2\.tif: .*found 77 \(150 px\)"),
    "a coloured mask": ("inria", coloured, r"gt/vienna7\.tif: .*a colour image \(RGB\)"),
    "a city is missing": (
        "inria",
        city_gone,
        r"list inria_train\.txt names 126 .*; 25 of .*: kitsap1, (kitsap\d+, ){8}kitsap\d+ and 15 more",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_download_is_refused_with_its_file_and_the_reason(fault, tmp_path):
    name, spoil, message, *rest = FAULTS[fault]
    options = rest[0] if rest else {}
    CLOSED_SET[name](tmp_path / "src")
    spoil(tmp_path / "src")
    with pytest.raises((DatasetError, LabelError), match=message):
        prepare_quietly(name, tmp_path / "src", tmp_path / "out", **options)
    assert not list((tmp_path / "out").rglob("prepare.json"))


def test_wrong_labels_in_a_prepared_set_are_found_by_the_check(tmp_path):
    CLOSED_SET["inria"](tmp_path / "src")
    prepare_quietly("inria", tmp_path / "src", tmp_path / "out")
    val = find_split("inria_val_sem_seg")
    for pair in pairs(val, tmp_path / "out"):
        raw = np.asarray(Image.open(tmp_path / f"src/AerialImageDataset/train/gt/{pair.image.stem}.tif"))
        Image.fromarray(raw).save(pair.label)
    (found,) = [f for f in check_split(val, tmp_path / "out", progress=False).findings if f.is_error]
    assert "all labels hold 0 and 255 and nothing else" in found.kind.what
    CLOSED_SET["deepglobe"](tmp_path / "src")
    prepare_quietly("deepglobe", tmp_path / "src", tmp_path / "out")
    for form in ("", "fctl_"):
        split = find_split(f"deepglobe_{form}test_sem_seg")
        pair = pairs(split, tmp_path / "out")[0]
        shutil.copy(tmp_path / f"src/train/{pair.image.stem}_mask.png", pair.label)
        report = check_split(split, tmp_path / "out", progress=False)
        (found,) = [f for f in report.findings if f.is_error]
        assert found.files[0][0] == str(pair.label) and "colour image" in found.kind.what
