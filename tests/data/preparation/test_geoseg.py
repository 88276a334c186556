"""GeoSeg's layouts of the ISPRS scenes: which labels, which areas, which patches."""

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data.catalog import find_split, pairs
from rskt_seg.data.class_sets import ISPRS
from rskt_seg.data.labels import read_label
from rskt_seg.data.preparation import plan_only
from tests.data.preparation.official import (
    CLOSED_SET,
    VAIHINGEN_AREAS,
    photograph,
    prepare_quietly,
    stems_of,
)

FLIPS = {"0": lambda a: a, "1": lambda a: a[:, ::-1], "2": lambda a: a[::-1]}
CAR = ISPRS.names.index("Car")


def test_vaihingen_is_trained_on_full_labels_and_tested_on_eroded_ones(tmp_path):
    ids = CLOSED_SET["Vaihingen_geoseg"](tmp_path / "src")
    summary = prepare_quietly("Vaihingen_geoseg", tmp_path / "src", tmp_path / "out")
    assert summary.parts == {"train": 2, "val": 1, "test": 1}
    assert any("GeoSeg's code makes them class 0" in note for note in summary.notes)
    area = "top_mosaic_09cm_area"
    assert stems_of(tmp_path / "out", "Vaihingen_geoseg_val") == [f"{area}30_0_0"]
    assert stems_of(tmp_path / "out", "Vaihingen_geoseg_test") == [f"{area}38_0_0"]
    copies = [f"{area}{n}_{copy}_0" for n in (1, 13) for copy in range(3)]
    assert stems_of(tmp_path / "out", "Vaihingen_geoseg_train") == sorted(copies)
    for part in ("train", "val", "test"):
        for pair in pairs(find_split(f"Vaihingen_geoseg_{part}_sem_seg"), tmp_path / "out"):
            stem, copy, _ = pair.image.stem.rsplit("_", 2)
            height, width = VAIHINGEN_AREAS[int(stem.removeprefix(area))]
            image, label = np.asarray(Image.open(pair.image)), read_label(pair.label)
            assert image.shape == (1024, 1024, 3) and label.shape == (1024, 1024)
            whole = np.asarray(Image.open(tmp_path / f"src/vaihingen/top/{stem}.tif"))
            assert (FLIPS[copy](image[-height:, -width:]) == whole).all()
            assert (FLIPS[copy](label[-height:, -width:]) == ids[stem]).all()
            assert (label == 255).sum() == 1024**2 - height * width + (ids[stem] == 255).sum()


def test_padded_registrations_share_images_and_differ_on_the_padding_alone(tmp_path):
    CLOSED_SET["Vaihingen_geoseg"](tmp_path / "src")
    prepare_quietly("Vaihingen_geoseg", tmp_path / "src", tmp_path / "out")
    for part in ("train", "test"):
        plain, padded = (
            pairs(find_split(f"Vaihingen_geoseg_{form}{part}_sem_seg"), tmp_path / "out")
            for form in ("", "padded_")
        )
        assert [p.image for p in plain] == [p.image for p in padded]
        for one, two in zip(plain, padded, strict=True):
            height, width = VAIHINGEN_AREAS[int(one.image.stem.split("_")[3].removeprefix("area"))]
            padding = np.ones((1024, 1024), bool)
            padding[-height:, -width:] = False
            ignored, scored = read_label(one.label), read_label(two.label)
            assert (ignored[padding] == 255).all() and (scored[padding] == 0).all()
            assert (ignored[~padding] == scored[~padding]).all()


def test_areas_of_train_val_and_test_never_meet_and_7_10_is_never_read(tmp_path):
    ids = CLOSED_SET["Potsdam_geoseg"](tmp_path / "src")
    summary = prepare_quietly("Potsdam_geoseg", tmp_path / "src", tmp_path / "out")
    assert summary.parts == {"train": 1, "val": 1, "test": 1}
    assert any(note.startswith("area 7_10 is left out") for note in summary.notes)
    assert not [p for p in (tmp_path / "out").rglob("*") if "7_10" in p.name]
    assert stems_of(tmp_path / "out", "Potsdam_geoseg_train") == [f"top_potsdam_6_7_{c}_0" for c in range(3)]
    assert stems_of(tmp_path / "out", "Potsdam_geoseg_val") == ["top_potsdam_2_10_0_0"]
    assert stems_of(tmp_path / "out", "Potsdam_geoseg_test") == ["top_potsdam_7_13_0_0"]
    for stem, part in (("6_7", "train"), ("2_10", "val"), ("7_13", "test")):
        name = f"top_potsdam_{stem}"
        label = read_label(tmp_path / f"out/Potsdam_geoseg/{part}/labels/{name}_0_0.png")
        assert (label[-40:, -40:] == ids[name]).all()
        image = np.asarray(Image.open(tmp_path / f"out/Potsdam_geoseg/{part}/images/{name}_0_0.png"))
        whole = np.asarray(Image.open(tmp_path / f"src/2_Ortho_RGB/{name}_RGB.tif"))
        assert (image[-40:, -40:] == whole).all()


@pytest.mark.parametrize(("dataset", "counts"), [("Vaihingen", (15, 1, 17)), ("Potsdam", (22, 1, 14))])
def test_every_official_area_is_in_one_part_and_the_counts_are_the_published_ones(dataset, counts, tmp_path):
    """All areas with one pixel each; a dry run counts them without reading any."""
    everything = {
        "Vaihingen": range(1, 39),
        "Potsdam": [f"{r}_{c}" for r in range(2, 8) for c in range(7, 16)],
    }
    for area in everything[dataset]:
        if dataset == "Vaihingen":
            names = (f"top/top_mosaic_09cm_area{area}", f"gts/top_mosaic_09cm_area{area}")
            names += (f"eroded/top_mosaic_09cm_area{area}_noBoundary",)
        else:
            stem = f"top_potsdam_{area}"
            names = (f"i/{stem}_RGB", f"l/{stem}_label", f"e/{stem}_label_noBoundary")
        for name in names:
            photograph(tmp_path / f"{name}.tif", (1, 1))
    lines = plan_only(f"{dataset}_geoseg", [tmp_path])
    assert f"{dataset}_geoseg: {sum(counts)} images" in lines
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        assert f"part {part}: {count} labelled images" in lines


def test_windows_full_of_cars_are_enlarged_in_vaihingen_and_kept_in_potsdam(tmp_path):
    size, full = (1024, 1024), np.zeros((1024, 1024, 3), np.uint8)
    full[:] = ISPRS.colors[CAR]
    full[::40] = ISPRS.colors[1]
    for image, label in (
        ("top/top_mosaic_09cm_area1.tif", "gts/top_mosaic_09cm_area1.tif"),
        ("rgb/top_potsdam_3_11_RGB.tif", "labels/top_potsdam_3_11_label.tif"),
    ):
        for path in (tmp_path / "src" / image, tmp_path / "src" / label):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(full).save(path)
    for name in ("Vaihingen_geoseg", "Potsdam_geoseg"):
        prepare_quietly(name, tmp_path / "src", tmp_path / "out")
    assert len(stems_of(tmp_path / "out", "Potsdam_geoseg_train")) == 3
    found = stems_of(tmp_path / "out", "Vaihingen_geoseg_train")
    assert found == [f"top_mosaic_09cm_area1_{copy}_0_{i}" for copy in range(3) for i in range(4)]
    folder = tmp_path / "out/Vaihingen_geoseg/train"
    for copy in range(3):
        for kind in ("images", "labels", "labels_padded"):
            one, two, three, four = (
                np.asarray(Image.open(folder / kind / f"top_mosaic_09cm_area1_{copy}_0_{i}.png"))
                for i in range(4)
            )
            assert one.shape[:2] == size and (two == one[::-1]).all() and (three == one[:, ::-1]).all()
            assert any((four == np.rot90(one, k)).all() for k in range(4))
            if kind == "labels":
                # One row in 40 is no car; crops of 384 to 512 px are enlarged 2 to 2.67 times.
                assert (one == CAR).mean() > 0.9
                apart = np.diff(np.flatnonzero(np.diff(one[:, 0].astype(int)) > 0)).mean()
                assert 40 * 1024 / 512 * 0.98 < apart < 40 * 1024 / 384 * 1.02
