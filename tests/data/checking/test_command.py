"""Checking a dataset: the quick check before a run, the command, and real masks."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.commands.check import main
from rskt_seg.data.catalog import SPLITS, ClassSet, Split, find_split, pairs
from rskt_seg.data.checking.check import select_splits, shared_images
from rskt_seg.data.checking.quick import SAMPLE, quick_check, quick_image_check
from rskt_seg.data.fingerprint import compute_fingerprint
from rskt_seg.data.pairing import Pair
from rskt_seg.errors import DatasetError, DatasetNotFoundError
from tests.data.checking.checked import (
    CLASSES,
    NAMES,
    README,
    SPLIT,
    STEMS,
    check,
    cut,
    jpeg_label,
    lay_out,
    one,
    quick,
    relabel,
    rgb_label,
)
from tests.full_disk import file_limit


def test_the_quick_check_reads_headers_and_a_sample_of_images_and_labels(tmp_path):
    stems = [f"s{k:03}" for k in range(2 * SAMPLE)]
    lay_out(tmp_path, stems=stems)
    assert quick(tmp_path) == []
    relabel(tmp_path, lambda ids: np.full_like(ids, 9), stems)
    for stem in stems:
        cut(tmp_path / f"x/{stem}.png")
    for what in ("training and evaluation would refuse", "label ids outside"):
        found = [finding for finding in quick(tmp_path) if what in finding.kind.what]
        assert len(one(found, what).files) == SAMPLE
    everything = [f for f in check(tmp_path).findings if "outside" in f.kind.what]
    assert len(one(everything, "outside").files) == 2 * SAMPLE


def test_the_quick_check_tells_what_the_reader_decided(tmp_path):
    lay_out(tmp_path, stems=["a", "b"])
    with Image.open(tmp_path / "x/a.png") as image:
        image.putalpha(Image.new("L", image.size, 255))
        image.putpixel((0, 0), (1, 2, 3, 0))
        image.save(tmp_path / "x/a.png")
    decided = [one(quick(tmp_path), "without data")]
    decided += [one(quick_image_check("own", [tmp_path / "x/a.png"]), "without data")]
    assert [finding.files[0][0] for finding in decided] == [str(tmp_path / "x/a.png")] * 2


@pytest.mark.parametrize(("damage", "what"), [(rgb_label, "colour image"), (jpeg_label, "a lossless label")])
def test_a_single_label_of_another_kind_is_found_by_its_header(damage, what, tmp_path):
    # The second of so many is not among those whose ids are read.
    lay_out(tmp_path, stems=["a", "s1", *(f"t{k:03}" for k in range(3 * SAMPLE))])
    relabel(tmp_path, lambda ids: np.full_like(ids, 9), ["s1"])
    assert quick(tmp_path) == []
    damage(tmp_path)
    assert one(quick(tmp_path), what).files == ((str(tmp_path / "y/s1.png"), ""),)


def test_a_missing_file_of_a_pair_is_named_by_the_quick_check(tmp_path):
    lay_out(tmp_path)
    found = quick_check("own", [Pair(tmp_path / "x/s0.png", tmp_path / "gone.png")], NAMES, 255)
    assert one(found, "label cannot be read").files == ((str(tmp_path / "gone.png"), "does not exist"),)


def test_a_name_stands_for_a_split_a_dataset_all_present_splits_or_a_file(tmp_path):
    for name in ("DLRSD_val_sem_seg", "UDD5_all_sem_seg"):
        lay_out(tmp_path, find_split(name))

    def names(name: str) -> list[str]:
        return [split.name for split in select_splits(name, tmp_path)]

    assert names("DLRSD_train_sem_seg") == ["DLRSD_train_sem_seg"]
    assert names("dlrsd") == ["DLRSD_val_sem_seg"]
    assert names("all") == ["DLRSD_val_sem_seg", "UDD5_all_sem_seg"]
    (tmp_path / "own.yaml").write_text(
        "{name: o, classes: [a], splits: {v: {images: UDD5/all/src, labels: .}}}"
    )
    assert names(str(tmp_path / "own.yaml")) == ["o_v_sem_seg"]
    with pytest.raises(DatasetNotFoundError, match=r"no split of Potsdam lies under [\s\S]*Potsdam/imgs"):
        names("Potsdam")
    with pytest.raises(DatasetNotFoundError, match="no dataset of the table lies under"):
        select_splits("all", tmp_path / "UDD5")
    with pytest.raises(DatasetError, match="did you mean Potsdam"):
        names("Postdam")
    with pytest.raises(DatasetError, match="known: all, DLRSD"):
        names("qqqq")


def test_images_of_train_that_are_in_val_too_are_a_note_and_those_of_all_are_not(tmp_path):
    splits = [find_split(f"DLRSD_{part}_sem_seg") for part in ("train", "val", "all")]
    for split in splits:
        lay_out(tmp_path, split)
    for folder in (splits[1].images, splits[2].images):
        shutil.copy(tmp_path / splits[0].images / "s1.jpg", tmp_path / folder / "s3.jpg")
    (found,) = shared_images({split: check(tmp_path, split) for split in splits})
    assert found.kind.what == "images of DLRSD_val_sem_seg that are in DLRSD_train_sem_seg too"
    assert found.files == ((str(tmp_path / splits[1].images / "s3.jpg"), "= s1.jpg"),)


def test_a_split_is_compared_once_whatever_its_labels_and_never_with_a_union(tmp_path):
    loveda = [find_split(f"LoveDA_geoseg_{part}_sem_seg") for part in ("train", "val", "train_val")]
    loveda = [
        replace(s, stems=stems)
        for s, stems in zip(loveda, map(tuple, (STEMS[:3], STEMS[3:], STEMS)), strict=True)
    ]
    lay_out(tmp_path, loveda[2])
    fctl = [find_split(f"deepglobe_{part}_sem_seg") for part in ("train", "fctl_train", "val", "fctl_val")]
    for split in fctl:
        lay_out(tmp_path, split)
    shutil.copy(tmp_path / fctl[0].images / "s1.jpg", tmp_path / fctl[2].images / "s3.jpg")
    (found,) = shared_images({split: check(tmp_path, split) for split in (*loveda, *fctl)})
    assert found.kind.what == "images of deepglobe_val_sem_seg that are in deepglobe_train_sem_seg too"
    shutil.copy(tmp_path / loveda[0].images / "s0.png", tmp_path / loveda[0].images / "s5.png")
    (found,) = shared_images({split: check(tmp_path, split) for split in loveda})
    own = [replace(SPLIT, name=f"own_{part}_sem_seg", split=part) for part in ("train", "val")]
    lay_out(tmp_path)
    assert len(shared_images({split: check(tmp_path, split) for split in own})[0].files) == len(STEMS)
    assert (
        found.kind.what == "images of LoveDA_geoseg_val_sem_seg that are in LoveDA_geoseg_train_sem_seg too"
    )


def test_a_list_of_the_table_is_present_if_its_first_and_last_image_are(tmp_path):
    def there(name: str) -> list[str]:
        return [split.split for split in select_splits(name, tmp_path)]

    train, val, _ = (find_split(f"LoveDA_geoseg_{part}_sem_seg") for part in ("train", "val", "train_val"))
    lay_out(tmp_path, val, [val.stems[0], val.stems[-1]])
    assert there("all") == ["all", "all_8c", "val"]
    lay_out(tmp_path, train, [train.stems[0]])
    assert there("all") == ["all", "all_8c", "val", "train_val"]
    # Asked for by name, every list is looked into, and what it lacks is named.
    assert there("LoveDA_geoseg") == ["train", "val", "train_val"]
    shutil.rmtree((tmp_path / val.images).parent)
    with pytest.raises(DatasetNotFoundError, match=r"no split of loveda_geoseg lies under"):
        there("loveda_geoseg")


@pytest.fixture
def command(capsys):
    """Runs `rskt-seg check` with some arguments: exit status, output, errors."""

    def call(*arguments) -> tuple[int, str, str]:
        try:
            status = main([*map(str, arguments)])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call


def test_the_command_exits_with_0_1_or_2_and_prints_what_it_found(command, tmp_path, monkeypatch):
    lay_out(tmp_path, find_split("UDD5_all_sem_seg"))
    status, out, _ = command("UDD5", "--root", tmp_path)
    assert status == 0 and "6 pairs, 5 classes, no error" in out and re.search(r"4 +Other +19\.", out)
    mark = compute_fingerprint(pairs(find_split("UDD5_all_sem_seg"), tmp_path), progress=False)
    assert out.rstrip().endswith(f"fingerprint  {mark}")

    (tmp_path / "UDD5/all/gt/s3.png").unlink()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    status, out, _ = command("UDD5_all_sem_seg", "DLRSD_val_sem_seg", "--json", tmp_path / "out.json")
    assert (
        status == 1 and "src/s3.JPG" in out and "DLRSD_split/val/imgs does not exist" in " ".join(out.split())
    )
    tree = json.loads((tmp_path / "out.json").read_text())
    assert [(r["name"], r["ok"]) for r in tree["reports"]] == [
        ("UDD5_all_sem_seg", False), ("DLRSD_val_sem_seg", False)
    ]  # fmt: skip

    for arguments in (["UDD"], ["VDD"], ["gone.yaml"], [], ["UDD5", "--workers", "0"],
                      ["UDD5", "--json", tmp_path / "no/out.json"]):  # fmt: skip
        status, out, err = command(*arguments)
        assert status == 2 and "error: " in err and out == ""


CHECKED = ("Potsdam", "Vaihingen_geoseg", "deepglobe", "inria", "iSAID_wsss")


def test_every_command_that_the_readme_shows_is_understood(command, tmp_path, monkeypatch):
    shown = README.read_text(encoding="utf-8")
    lines = re.findall(r"^(?:python datasets/check\.py|rskt-seg check) (.*?)(?: +#.*)?$", shown, re.M)
    assert len(lines) >= 4
    for split in SPLITS:
        if split.dataset in CHECKED or "DLRSD_tr" in split.name:
            lay_out(tmp_path, split)
    lay_out(tmp_path / "farm/train", SPLIT)
    text = "{name: farm, classes: [a, b, c, d], splits: {train: {images: train/x, labels: train/y}}}"
    (tmp_path / "farm/farm.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for line in lines:
        assert command(*line.split())[0] == 0, line


samples = pytest.mark.skipif(not os.environ.get("RSKT_SEG_SAMPLES"), reason="RSKT_SEG_SAMPLES is not set")


def sample_pair(root: Path, label: str) -> Path:
    """A set of one pair: a real label and a blank image of its size."""
    source = Path(os.environ["RSKT_SEG_SAMPLES"], label)
    for name in "xy":
        (root / name).mkdir()
    with Image.open(source) as image:
        Image.new("RGB", image.size).save(root / "x/s.png")
    shutil.copy(source, root / "y" / f"s{source.suffix}")
    return root


@samples
@pytest.mark.parametrize(
    ("label", "what", "level"),
    [
        ("masks/palette_multiclass_gt.png", "label ids outside 0..3", "error"),
        ("masks/binary_0_255_gt.bmp", "0 and 255 and nothing else", "error"),
        ("isaid/P0005_instance_color_RGB.png", "found a colour image", "error"),
        ("isaid/P0005_instance_id_RGB.png", "found a colour image", "error"),
        ("deepglobe/6399_mask.png", "found a colour image", "error"),
        ("loveda/0_label.png", "label ids outside 0..3", "error"),
    ],
)
def test_real_masks_are_judged_as_what_they_are(label, what, level, tmp_path):
    split = Split("own", "own", "all", "x", "y", ("png",), ("png", "bmp"), CLASSES)
    assert one(check(sample_pair(tmp_path, label), split).findings, what).kind.level == level


@samples
def test_the_real_palette_mask_is_read_by_its_indices(tmp_path):
    five = ClassSet("five", tuple("abcde"), tuple((k, 0, 0) for k in range(5)))
    split = Split("own", "own", "all", "x", "y", ("png",), ("png",), five)
    report = check(sample_pair(tmp_path, "masks/palette_multiclass_gt.png"), split)
    assert report.ok and [k for k, pixels in enumerate(report.histogram) if pixels] == [0, 1, 4]
    assert {f.kind.what.split(":")[0] for f in report.findings} == {
        "palette labels", "classes that occur in no label"
    }  # fmt: skip


@samples
def test_the_real_loveda_mask_has_the_published_counts(tmp_path):
    split = find_split("LoveDA_all_8c_sem_seg")
    for folder, name in ((split.images, "loveda/0.png"), (split.labels, "loveda/0_label.png")):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(Path(os.environ["RSKT_SEG_SAMPLES"], name), tmp_path / folder / "0.png")
    report = check(tmp_path, split)
    counts = {k: pixels for k, pixels in enumerate(report.histogram) if pixels}
    assert report.ok and counts == {1: 142441, 2: 14427, 3: 19208, 4: 3888, 7: 868612}


def test_a_report_that_cannot_be_written_leaves_the_older_one_and_is_one_line(command, tmp_path):
    lay_out(tmp_path, find_split("UDD5_all_sem_seg"))
    line = ("UDD5", "--root", tmp_path, "--json")
    report = tmp_path / "report.json"
    report.write_text("older")
    with file_limit(20):
        status, _, err = command(*line, report)
    assert status == 2 and err.count("\n") == 1 and "report.json cannot be written" in err
    assert report.read_text() == "older" and not list(tmp_path.glob(".report*"))
    status, _, err = command(*line, tmp_path)
    assert status == 2 and f"--json {tmp_path} cannot be written" in err
    assert command(*line, report)[0] == 0 and json.loads(report.read_text())["reports"]


def test_a_report_goes_into_a_pipe_without_replacing_it(command, tmp_path):
    lay_out(tmp_path, find_split("UDD5_all_sem_seg"))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status, _, _ = command("UDD5", "--root", tmp_path, "--json", pipe)
        assert status == 0 and json.loads(os.read(reader, 1 << 20))["reports"]
    finally:
        os.close(reader)
    assert pipe.is_fifo()
