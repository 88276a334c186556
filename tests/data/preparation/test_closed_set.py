"""From miniature copies of official downloads to the layouts of the closed-set methods, faults included."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data.catalog import SPLITS, Split, find_split, pairs
from rskt_seg.data.checking.check import check_split, select_splits, shared_images
from rskt_seg.data.class_sets import ISPRS
from rskt_seg.data.labels import read_label
from rskt_seg.data.preparation import RECIPES, Options, plan_only, prepare
from rskt_seg.data.split_lists import LISTS, read_list
from rskt_seg.errors import DatasetError, LabelError
from rskt_seg.palette import palette
from tests.data.preparation.official import CLOSED_SET, OFFICIAL, VAIHINGEN_AREAS, colors, photograph, zipped

SAMPLES = os.environ.get("RSKT_SEG_SAMPLES")
PARTIAL = {"deepglobe": {"allow_missing": True}}
FLIPS = {"0": lambda a: a, "1": lambda a: a[:, ::-1], "2": lambda a: a[::-1]}
CAR = ISPRS.names.index("Car")


def go(name: str, source: Path, root: Path, **options):
    options = PARTIAL.get(name, {}) | options
    return prepare(name, [source], root, Options(**options), workers=2, progress=False)


def rows(name: str) -> list[Split]:
    return [split for split in SPLITS if split.dataset == name]


def stems(root: Path, name: str) -> list[str]:
    return [pair.image.stem for pair in pairs(find_split(f"{name}_sem_seg"), root)]


@pytest.fixture(scope="module", params=CLOSED_SET)
def prepared(request, tmp_path_factory):
    """Dataset, its download, ids of the download, and where it was prepared."""
    folder = tmp_path_factory.mktemp(request.param)
    ids = CLOSED_SET[request.param](folder / "src")
    summary = go(request.param, folder / "src", folder / "out")
    assert summary.images == len(ids) == summary.fresh
    return request.param, folder / "src", ids, folder / "out"


def test_every_split_of_the_table_is_written_and_its_check_finds_no_error(prepared):
    name, _, ids, root = prepared
    assert {row.split for row in rows(name)} == set(RECIPES[name].splits)
    assert set(select_splits(name, root, palette)) == set(rows(name))
    reports = {split: check_split(split, root, progress=False) for split in rows(name)}
    for split, report in reports.items():
        assert report.ok and report.fingerprint and len(report.histogram) == len(split.class_set) + 1
        assert report.classes == split.class_set.names
    assert shared_images(reports) == []
    assert ids


def test_a_second_run_touches_nothing_and_a_lost_file_is_made_again(prepared):
    name, source, _, root = prepared
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in root.rglob("*.*") if "prepare" not in p.name}
    assert go(name, source, root).fresh == 0
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before} == before
    lost = pairs(rows(name)[0], root)[0].label
    lost.unlink()
    assert go(name, source, root).fresh == 1
    assert lost.read_bytes() == before[lost][1]


def test_one_worker_writes_what_several_write_and_zips_give_the_same(prepared, tmp_path):
    name, source, _, root = prepared
    options = Options(**PARTIAL.get(name, {}))
    archive = zipped(source, tmp_path / "all.zip")
    prepare(name, [archive], tmp_path / "one", options, workers=1, progress=False)
    for path in (p for p in root.rglob("*.*") if not p.name.startswith("prepare")):
        assert (tmp_path / "one" / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_vaihingen_is_trained_on_full_labels_and_tested_on_eroded_ones(tmp_path):
    ids = CLOSED_SET["Vaihingen_geoseg"](tmp_path / "src")
    summary = go("Vaihingen_geoseg", tmp_path / "src", tmp_path / "out")
    assert summary.parts == {"train": 2, "val": 1, "test": 1}
    assert any("GeoSeg's code makes them class 0" in note for note in summary.notes)
    area = "top_mosaic_09cm_area"
    assert stems(tmp_path / "out", "Vaihingen_geoseg_val") == [f"{area}30_0_0"]
    assert stems(tmp_path / "out", "Vaihingen_geoseg_test") == [f"{area}38_0_0"]
    copies = [f"{area}{n}_{copy}_0" for n in (1, 13) for copy in range(3)]
    assert stems(tmp_path / "out", "Vaihingen_geoseg_train") == sorted(copies)
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
    go("Vaihingen_geoseg", tmp_path / "src", tmp_path / "out")
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


def test_areas_of_train_val_and_test_never_meet_and_7_10_is_read_by_nobody(tmp_path):
    ids = CLOSED_SET["Potsdam_geoseg"](tmp_path / "src")
    summary = go("Potsdam_geoseg", tmp_path / "src", tmp_path / "out")
    assert summary.parts == {"train": 1, "val": 1, "test": 1}
    assert any(note.startswith("area 7_10 is left out") for note in summary.notes)
    assert not [p for p in (tmp_path / "out").rglob("*") if "7_10" in p.name]
    assert stems(tmp_path / "out", "Potsdam_geoseg_train") == [f"top_potsdam_6_7_{c}_0" for c in range(3)]
    assert stems(tmp_path / "out", "Potsdam_geoseg_val") == ["top_potsdam_2_10_0_0"]
    assert stems(tmp_path / "out", "Potsdam_geoseg_test") == ["top_potsdam_7_13_0_0"]
    for stem, part in (("6_7", "train"), ("2_10", "val"), ("7_13", "test")):
        name = f"top_potsdam_{stem}"
        label = read_label(tmp_path / f"out/Potsdam_geoseg/{part}/labels/{name}_0_0.png")
        assert (label[-40:, -40:] == ids[name]).all()
        image = np.asarray(Image.open(tmp_path / f"out/Potsdam_geoseg/{part}/images/{name}_0_0.png"))
        whole = np.asarray(Image.open(tmp_path / f"src/2_Ortho_RGB/{name}_RGB.tif"))
        assert (image[-40:, -40:] == whole).all()


@pytest.mark.parametrize(("dataset", "counts"), [("Vaihingen", (15, 1, 17)), ("Potsdam", (22, 1, 14))])
def test_every_official_area_is_in_one_part_and_the_counts_are_the_published_ones(dataset, counts, tmp_path):
    """All areas with one pixel each: what is found is told by a dry run, which reads nothing."""
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
        go(name, tmp_path / "src", tmp_path / "out")
    assert len(stems(tmp_path / "out", "Potsdam_geoseg_train")) == 3
    found = stems(tmp_path / "out", "Vaihingen_geoseg_train")
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


def test_deepglobe_is_sorted_into_the_published_lists_in_both_forms(tmp_path):
    ids = CLOSED_SET["deepglobe"](tmp_path / "src")
    summary = go("deepglobe", tmp_path / "src", tmp_path / "out")
    assert summary.parts == {"train": 2, "val": 2, "test": 2}
    notes = "\n".join(summary.notes)
    assert "unlisted: 1 images without labels left out" in notes
    assert "list deepglobe_val.txt names 207 images; 205 of them are not in the download" in notes
    for part in LISTS["deepglobe"]:
        assert stems(tmp_path / "out", f"deepglobe_{part}") == sorted(read_list(f"deepglobe_{part}")[:2])
        for form, change in (("", lambda k: np.where(k == 0, 255, k - 1)), ("fctl_", lambda k: k)):
            for pair in pairs(find_split(f"deepglobe_{form}{part}_sem_seg"), tmp_path / "out"):
                assert (read_label(pair.label) == change(ids[pair.image.stem])).all()
                original = tmp_path / f"src/train/{pair.image.stem}_sat.jpg"
                assert pair.image.read_bytes() == original.read_bytes()


def test_inria_is_sorted_into_the_published_lists_and_its_images_stay_as_they_are(tmp_path):
    ids = CLOSED_SET["inria"](tmp_path / "src")
    summary = go("inria", tmp_path / "src", tmp_path / "out")
    assert summary.parts == LISTS["inria"] and summary.images == 180
    for part in LISTS["inria"]:
        assert stems(tmp_path / "out", f"inria_{part}") == sorted(read_list(f"inria_{part}"))
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
    go("inria", tmp_path / "src", tmp_path / "out")
    go("inria", tmp_path / "fctl", tmp_path / "other")
    for path in (tmp_path / "out").rglob("labels/*.png"):
        assert (tmp_path / "other" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes()
    with pytest.raises(DatasetError, match="only one of the two"):
        prepare("inria", [tmp_path / "src", tmp_path / "fctl"], tmp_path / "both", progress=False)


def test_the_layout_of_loveda_geoseg_is_written_with_loveda(tmp_path):
    OFFICIAL["LoveDA"](tmp_path / "src")
    summary = go("loveda_geoseg", tmp_path / "src", tmp_path / "out")
    assert summary.dataset == "LoveDA" and summary.images == 3
    with pytest.raises(DatasetError, match=r"LoveDA_geoseg_val_sem_seg: 1668 listed stems have no file"):
        stems(tmp_path / "out", "LoveDA_geoseg_val")


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
        go(name, tmp_path / "src", tmp_path / "out", **options)
    assert not list((tmp_path / "out").rglob("prepare.json"))


def test_images_of_a_list_that_are_absent_are_named_with_their_list_and_nothing_is_written(tmp_path):
    CLOSED_SET["deepglobe"](tmp_path / "src")
    with pytest.raises(DatasetError) as error:
        go("deepglobe", tmp_path / "src", tmp_path / "out", allow_missing=False)
    text = str(error.value)
    assert "list deepglobe_train.txt names 454 images; 452 of them are not in the download" in text
    assert text.count(",") == 9 and "and 442 more" in text and "--allow-missing" in text
    assert not (tmp_path / "out").exists()


def test_labelled_images_of_no_list_are_left_out_and_named(tmp_path):
    CLOSED_SET["deepglobe"](tmp_path / "src")
    photograph(tmp_path / "src/train/7_sat.jpg", (24, 24))
    colors(tmp_path / "src/train/7_mask.png", ISPRS, (24, 24))
    summary = go("deepglobe", tmp_path / "src", tmp_path / "out")
    assert summary.images == 6
    assert "left out: 1 labelled images that are in no list: 7" in summary.notes


def test_labels_of_other_kinds_are_found_by_the_check_of_a_prepared_set(tmp_path):
    CLOSED_SET["inria"](tmp_path / "src")
    go("inria", tmp_path / "src", tmp_path / "out")
    val = find_split("inria_val_sem_seg")
    for pair in pairs(val, tmp_path / "out"):
        raw = np.asarray(Image.open(tmp_path / f"src/AerialImageDataset/train/gt/{pair.image.stem}.tif"))
        Image.fromarray(raw).save(pair.label)
    (found,) = [f for f in check_split(val, tmp_path / "out", progress=False).findings if f.is_error]
    assert "all labels hold 0 and 255 and nothing else" in found.kind.what
    CLOSED_SET["deepglobe"](tmp_path / "src")
    go("deepglobe", tmp_path / "src", tmp_path / "out")
    for form in ("", "fctl_"):
        split = find_split(f"deepglobe_{form}test_sem_seg")
        pair = pairs(split, tmp_path / "out")[0]
        shutil.copy(tmp_path / f"src/train/{pair.image.stem}_mask.png", pair.label)
        report = check_split(split, tmp_path / "out", progress=False)
        (found,) = [f for f in report.findings if f.is_error]
        assert found.files[0][0] == str(pair.label) and "colour image" in found.kind.what


def test_a_manifest_tells_parts_and_pixels(tmp_path):
    CLOSED_SET["Potsdam_geoseg"](tmp_path / "src")
    go("Potsdam_geoseg", tmp_path / "src", tmp_path / "out")
    manifest = json.loads((tmp_path / "out/Potsdam_geoseg/prepare.json").read_text())
    assert manifest["parts"] == {"train": 1, "val": 1, "test": 1}
    assert manifest["windows"] == 5 and sum(manifest["pixels"].values()) == 5 * 1024**2


@pytest.mark.skipif(SAMPLES is None, reason="RSKT_SEG_SAMPLES names no folder of real samples")
def test_the_real_deepglobe_sample_has_its_published_counts_in_both_forms(tmp_path):
    (tmp_path / "src/train").mkdir(parents=True)
    for kind in ("sat.jpg", "mask.png"):
        shutil.copy(Path(SAMPLES) / f"deepglobe/6399_{kind}", tmp_path / f"src/train/6399_{kind}")
    summary = go("deepglobe", tmp_path / "src", tmp_path / "out")
    assert summary.unknown == {}
    assert summary.pixels == {2: 3013524, 1: 1491420, 4: 931980, 255: 432328, 3: 102792, 5: 20660}
    label = read_label(tmp_path / "out/deepglobe/train/labels_fctl/6399.png")
    assert np.bincount(label.ravel()).tolist() == [432328, 0, 1491420, 3013524, 102792, 931980, 20660]
