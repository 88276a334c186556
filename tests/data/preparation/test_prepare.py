"""From miniature copies of every official download to the layout of the data table."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data.catalog import SPLITS, find_split, pairs
from rskt_seg.data.labels import read_label
from rskt_seg.data.preparation import RECIPES, plan_only, prepare, run
from rskt_seg.data.preparation.scene import convert_scene
from rskt_seg.errors import DatasetError, LabelError
from tests.data.preparation.official import OFFICIAL, numbers, photograph, prepare_quietly, zipped

WINDOW = re.compile(r"_(\d+)_(\d+)_(\d+)_(\d+)$")
scene = partial(WINDOW.sub, "")
"""The name of a tile without its window."""


def files_of(root: Path, kind: str = "*") -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob(kind) if p.is_file()}


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_official_download_becomes_the_layout_of_the_table_with_the_right_ids(name, tmp_path):
    ids = OFFICIAL[name](tmp_path / "src")
    summary = prepare_quietly(name, tmp_path / "src", tmp_path / "out")
    assert summary.images == len(ids) == summary.fresh
    rows = [split for split in SPLITS if split.dataset == name]
    assert {row.split for row in rows} == set(RECIPES[name].splits)
    for row in rows:
        found = pairs(row, tmp_path / "out")
        assert {scene(pair.image.stem) for pair in found} <= set(ids)
        for pair in found:
            with Image.open(pair.image) as image, Image.open(pair.label) as stored:
                assert image.mode == "RGB" and stored.mode == "L" and image.size == stored.size
            label, whole = read_label(pair.label), ids[scene(pair.label.stem)]
            window = WINDOW.search(pair.label.stem)
            if window and name in ("iSAID", "Potsdam", "Vaihingen"):
                top, bottom, left, right = map(int, window.groups())
                whole = whole[top:bottom, left:right]
            if row.split == "all_8c":
                whole = np.where(whole == 255, 0, whole + 1)
            assert (label == whole).all()
    held = {scene(p.image.stem) for p in pairs(next(r for r in rows if r.split == "all"), tmp_path / "out")}
    assert held == set(ids)


def test_pixels_of_images_arrive_as_they_were(tmp_path):
    OFFICIAL["Potsdam"](tmp_path / "src")
    prepare_quietly("Potsdam", tmp_path / "src", tmp_path / "out")
    whole = np.asarray(Image.open(tmp_path / "src/2_Ortho_RGB/top_potsdam_2_10_RGB.tif"))
    tile = np.asarray(Image.open(tmp_path / "out/Potsdam/imgs/top_potsdam_2_10_88_600_0_512.png"))
    assert (tile == whole[88:600, :512]).all()
    OFFICIAL["VDD"](tmp_path / "drone")
    prepare_quietly("VDD", tmp_path / "drone", tmp_path / "out")
    original = (tmp_path / "drone/VDD/train/src/DJI_0000.JPG").read_bytes()
    assert (tmp_path / "out/VDD/src/DJI_0000.JPG").read_bytes() == original


def test_isaid_patches_have_the_published_names_and_empty_ones_are_left_out_unless_asked_for(tmp_path):
    folder = tmp_path / "src/train"
    photograph(folder / "images/P0003.png", (256, 500))
    mask = np.zeros((256, 500, 3), np.uint8)
    mask[:, 480:] = (0, 0, 63)
    (folder / "Semantic_masks").mkdir()
    Image.fromarray(mask).save(folder / "Semantic_masks/P0003_instance_color_RGB.png")
    few = prepare_quietly("iSAID", tmp_path / "src", tmp_path / "few")
    all_ = prepare_quietly("iSAID", tmp_path / "src", tmp_path / "all", keep_empty=True)
    names = {p.stem for p in (tmp_path / "all/iSAID/imgs").iterdir()}
    assert names == {f"P0003_0_256_{x}_{x + 256}" for x in (0, 206, 244)}
    assert (few.windows, few.empty, all_.windows, all_.empty) == (1, 2, 3, 0)
    assert [p.stem for p in (tmp_path / "few/iSAID_split/train/D2masks").iterdir()] == ["P0003_0_256_244_500"]


def test_dlrsd_holds_out_a_fifth_of_each_scene_the_same_whatever_else_is_there(tmp_path):
    OFFICIAL["DLRSD"](tmp_path / "src")
    prepare_quietly("DLRSD", tmp_path / "src", tmp_path / "both")
    lists = {
        side: (tmp_path / f"both/DLRSD_split/{side}.txt").read_text().split() for side in ("train", "val")
    }
    assert len(lists["train"]) == 16 and len(lists["val"]) == 4
    assert sum(stem.startswith("Airplane") for stem in lists["val"]) == 2
    assert lists["val"] == sorted(p.stem for p in (tmp_path / "both/DLRSD_split/val/imgs").iterdir())
    for folder in (tmp_path / "src").rglob("mobilehomepark"):
        shutil.rmtree(folder)
    prepare_quietly("DLRSD", tmp_path / "src", tmp_path / "one")
    kept = [stem for stem in lists["val"] if stem.startswith("Airplane")]
    assert (tmp_path / "one/DLRSD_split/val.txt").read_text().split() == kept


def test_a_tile_and_a_label_that_differ_by_two_pixels_keep_what_both_have(tmp_path):
    ids = OFFICIAL["DLRSD"](tmp_path / "src")
    photograph(tmp_path / "src/UCMerced_LandUse/Images/airplane/airplane00.tif", (30, 33))
    prepare_quietly("DLRSD", tmp_path / "src", tmp_path / "out")
    label = read_label(tmp_path / "out/DLRSD/D2masks/Airplane00.png")
    assert (label == ids["Airplane00"][:30, :32]).all()
    with Image.open(tmp_path / "out/DLRSD/imgs/Airplane00.jpg") as image:
        assert image.size == (32, 30)


def test_zipped_nested_and_split_archives_give_the_same_files_as_unpacked_ones(tmp_path):
    source = tmp_path / "unpacked"
    OFFICIAL["LoveDA"](source)
    prepare_quietly("LoveDA", source, tmp_path / "a")
    for part in ("Train", "Val"):
        zipped(source / part, tmp_path / f"zips/LoveDA/{part}.zip", prefix=f"{part}/")
    prepare_quietly("LoveDA", tmp_path / "zips", tmp_path / "b")
    zipped(tmp_path / "zips", tmp_path / "nested/everything.zip")
    prepare_quietly("LoveDA", tmp_path / "nested/everything.zip", tmp_path / "c")
    whole = (tmp_path / "nested/everything.zip").read_bytes()
    (tmp_path / "cut").mkdir()
    for i in range(3):
        third = -(-len(whole) // 3)
        (tmp_path / f"cut/all.zip.00{i + 1}").write_bytes(whole[i * third : (i + 1) * third])
    prepare_quietly("LoveDA", tmp_path / "cut", tmp_path / "d")
    first = files_of(tmp_path / "a", "*.png")
    assert len(first) == 9
    for other in "bcd":
        assert files_of(tmp_path / other, "*.png") == first
    (tmp_path / "cut/all.zip.002").unlink()
    with pytest.raises(DatasetError, match=r"volumes 1\.\.3 are needed, found \[1, 3\]"):
        prepare_quietly("LoveDA", tmp_path / "cut", tmp_path / "e")


def test_the_published_package_is_taken_as_it_is_after_a_check(tmp_path):
    ids = {}
    for folder in ("DLRSD_split/train", "DLRSD"):
        photograph(tmp_path / f"src/pkg/{folder}/imgs/Airplane00.jpg", (32, 32))
        ids[folder] = numbers(tmp_path / f"src/pkg/{folder}/D2masks/Airplane00.png", 17, (32, 32))
        numbers(tmp_path / f"src/pkg/{folder}/OVS_label/Airplane00.png", 17, (32, 32), shift=1)
    prepare_quietly("DLRSD", tmp_path / "src", tmp_path / "out")
    for folder, label in ids.items():
        assert (read_label(tmp_path / f"out/{folder}/D2masks/Airplane00.png") == label).all()
        original = (tmp_path / f"src/pkg/{folder}/imgs/Airplane00.jpg").read_bytes()
        assert (tmp_path / f"out/{folder}/imgs/Airplane00.jpg").read_bytes() == original
    bad = tmp_path / "src/pkg/DLRSD/D2masks/Airplane00.png"
    Image.fromarray(np.full((32, 32), 17, np.uint8)).save(bad)
    with pytest.raises(LabelError, match=r"DLRSD/D2masks/Airplane00.png: found ids 17"):
        prepare_quietly("DLRSD", tmp_path / "src", tmp_path / "other")


@pytest.mark.parametrize("name", ["iSAID", "LoveDA"])
def test_a_second_run_touches_nothing(name, tmp_path):
    OFFICIAL[name](tmp_path / "src")
    prepare_quietly(name, tmp_path / "src", tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    again = prepare_quietly(name, tmp_path / "src", tmp_path / "out")
    assert again.fresh == 0 and "nothing was left to do" in str(again)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")} == before


@pytest.mark.parametrize("done", [0, 1, 2])
@pytest.mark.parametrize("workers", [1, 4])
def test_an_interrupted_run_resumes_to_the_same_files(done, workers, tmp_path, monkeypatch):
    OFFICIAL["iSAID"](tmp_path / "src")
    prepare_quietly("iSAID", tmp_path / "src", tmp_path / "whole")
    count = []

    def stopped(job, **rest):
        count.append(job)
        if len(count) > done:
            raise KeyboardInterrupt
        convert_scene(job, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(run, "convert_scene", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare("iSAID", [tmp_path / "src"], tmp_path / "out", workers=workers, progress=False)
    journal = tmp_path / "out/iSAID/prepare.jsonl"
    with open(journal, "a") as file:
        file.write('{"stem": "cut o')
    assert not (tmp_path / "out/iSAID/prepare.json").exists()
    resumed = prepare_quietly("iSAID", tmp_path / "src", tmp_path / "out")
    assert resumed.fresh == 3 - done
    pictures = [
        {k: v for k, v in files_of(tmp_path / root).items() if k.endswith(".png")}
        for root in ("out", "whole")
    ]
    assert pictures[0] == pictures[1]


def test_a_repaired_download_is_resumed_and_half_written_files_are_written_again(tmp_path):
    OFFICIAL["VDD"](tmp_path / "src")
    label = tmp_path / "src/VDD/val/gt/DJI_0001.png"
    good = label.read_bytes()
    Image.fromarray(np.full((30, 40), 9, np.uint8)).save(label)
    with pytest.raises(LabelError, match="found ids 9"):
        prepare("VDD", [tmp_path / "src"], tmp_path / "out", workers=1, progress=False)
    label.write_bytes(good)
    half = tmp_path / "out/VDD/gt/DJI_0000.png"
    assert half.exists()
    half.write_bytes(b"half")
    journal = tmp_path / "out/VDD/prepare.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    begun = [row for row in rows if row.get("stem") != "DJI_0000" or "begun" in row]
    journal.write_text("".join(json.dumps(row) + "\n" for row in begun))
    prepare_quietly("VDD", tmp_path / "src", tmp_path / "out")
    prepare_quietly("VDD", tmp_path / "src", tmp_path / "fresh")
    for kind in ("src", "gt"):
        assert files_of(tmp_path / f"out/VDD/{kind}") == files_of(tmp_path / f"fresh/VDD/{kind}")


def test_changed_sources_are_converted_again_and_a_part_may_come_later(tmp_path):
    OFFICIAL["LoveDA"](tmp_path / "src")
    (tmp_path / "src/Val").rename(tmp_path / "later")
    prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out")
    (tmp_path / "later").rename(tmp_path / "src/Val")
    assert prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out").fresh == 1
    numbers(tmp_path / "src/Train/Rural/masks_png/0.png", 3, (40, 40), shift=1)
    assert prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out").fresh == 1
    assert read_label(tmp_path / "out/LoveDA/masks_png/0.png").max() == 3


def test_a_file_of_other_origin_is_not_overwritten_by_a_part_that_comes_later(tmp_path):
    OFFICIAL["LoveDA"](tmp_path / "src")
    (tmp_path / "src/Val").rename(tmp_path / "later")
    prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out")
    (tmp_path / "later").rename(tmp_path / "src/Val")
    theirs = tmp_path / "out/LoveDA/D2masks/3514.png"
    theirs.write_bytes(b"precious")
    with pytest.raises(DatasetError, match=r"3514\.png exists and was not written by an earlier run"):
        prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out")
    assert theirs.read_bytes() == b"precious"


def test_windows_that_are_no_longer_wanted_are_deleted(tmp_path):
    OFFICIAL["iSAID"](tmp_path / "src")
    mask = tmp_path / "src/val/Semantic_masks/images/P0003_instance_color_RGB.png"
    pixels = np.asarray(Image.open(mask)).copy()
    pixels[:, 40:] = 0
    Image.fromarray(pixels).save(mask)
    all_ = prepare_quietly("iSAID", tmp_path / "src", tmp_path / "out", keep_empty=True)
    few = prepare_quietly("iSAID", tmp_path / "src", tmp_path / "out")
    assert (all_.windows, few.windows, few.empty, few.fresh) == (9, 8, 1, 3)
    assert len(pairs(find_split("iSAID_val_sem_seg"), tmp_path / "out")) == 1


def test_downloads_may_lie_where_the_set_goes(tmp_path):
    OFFICIAL["LoveDA"](tmp_path / "root/LoveDA")
    prepare_quietly("LoveDA", tmp_path / "root/LoveDA", tmp_path / "root")
    again = prepare_quietly("LoveDA", tmp_path / "root/LoveDA", tmp_path / "root")
    assert again.fresh == 0 and any("in place already" in note for note in again.notes)


def test_a_lost_file_is_written_again(tmp_path):
    OFFICIAL["UAVid"](tmp_path / "src")
    prepare_quietly("UAVid", tmp_path / "src", tmp_path / "out")
    before = files_of(tmp_path / "out/uavid/Labels")
    (tmp_path / "out/uavid/Labels/seq2_000100.png").unlink()
    assert prepare_quietly("UAVid", tmp_path / "src", tmp_path / "out").fresh == 1
    assert files_of(tmp_path / "out/uavid/Labels") == before


@pytest.mark.parametrize("name", ["DLRSD", "LoveDA"])
def test_what_a_killed_run_left_half_written_is_removed_and_reported(name, tmp_path, caplog):
    OFFICIAL[name](tmp_path / "src")
    prepare_quietly(name, tmp_path / "src", tmp_path / "out")
    before = files_of(tmp_path / "out")
    folders = {(tmp_path / "out" / path).parent for path in before}
    for folder in folders:
        (folder / ".x.png.4194305.140.part").write_bytes(b"half")  # no system has a process of this number
    assert prepare_quietly(name, tmp_path / "src", tmp_path / "out").fresh == 0
    assert files_of(tmp_path / "out") == before
    (line,) = [record.message for record in caplog.records]
    assert f"{name}: removed {len(folders)} unfinished files of a run that was killed, such as" in line


def test_one_worker_writes_what_several_write(tmp_path):
    OFFICIAL["Vaihingen"](tmp_path / "src")
    for workers in (1, 4):
        prepare("vaihingen", [tmp_path / "src"], tmp_path / str(workers), workers=workers, progress=False)
    assert files_of(tmp_path / "1", "*.png") == files_of(tmp_path / "4", "*.png")


def test_images_that_left_the_source_are_kept_unless_they_may_be_overwritten(tmp_path):
    OFFICIAL["LoveDA"](tmp_path / "src")
    prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out")
    shutil.rmtree(tmp_path / "src/Val")
    before = files_of(tmp_path / "out")
    with pytest.raises(DatasetError, match=r"1 images that are not in the source, first of them Val/3514"):
        prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out")
    assert files_of(tmp_path / "out") == before
    summary = prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out", overwrite=True)
    assert summary.images == 2 and "part Val: nothing of it was found" in str(summary)
    assert len(pairs(find_split("LoveDA_all_sem_seg"), tmp_path / "out")) == 2


def test_files_of_other_origin_are_never_touched_and_never_join_the_set(tmp_path):
    OFFICIAL["VDD"](tmp_path / "src")
    theirs = tmp_path / "out/VDD/gt/DJI_0000.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"precious")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(DatasetError, match=r"no earlier run has written, first of them DJI_0000\.png"):
            prepare_quietly("VDD", tmp_path / "src", tmp_path / "out", **options)
    assert theirs.read_bytes() == b"precious"
    theirs.unlink()
    prepare_quietly("VDD", tmp_path / "src", tmp_path / "out")
    photograph(tmp_path / "out/VDD/src/holiday.JPG", (30, 40))
    with pytest.raises(DatasetError, match=r"do not belong to this set, first of them VDD/src/holiday\.JPG"):
        prepare_quietly("VDD", tmp_path / "src", tmp_path / "out")


def test_a_dry_run_reports_what_would_be_done_and_writes_nothing(tmp_path):
    OFFICIAL["iSAID"](tmp_path / "src")
    before = files_of(tmp_path)
    lines = plan_only("isaid", [tmp_path / "src"])
    assert "iSAID: 3 images" in lines and "would write iSAID_split/train/imgs" in lines
    assert any("part train: 2 labelled images of 1411 official ones" in line for line in lines)
    assert files_of(tmp_path) == before
