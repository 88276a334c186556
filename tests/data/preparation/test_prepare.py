"""From miniature copies of every official download to the layout of the data table."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data.catalog import SPLITS, find_split, pairs
from rskt_seg.data.labels import read_label
from rskt_seg.data.parallel import over_files
from rskt_seg.data.preparation import RECIPES, Options, plan_only, prepare, run
from rskt_seg.data.preparation.windows import untiled_stem
from rskt_seg.errors import DatasetError, LabelError
from tests.data.preparation.official import OFFICIAL, numbers, photograph, zipped

WINDOW = re.compile(r"_(\d+)_(\d+)_(\d+)_(\d+)$")


def files_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def go(name: str, source: Path, root: Path, **options):
    return prepare(name, [source], root, Options(**options), workers=2, progress=False)


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_official_download_becomes_the_layout_of_the_table_with_the_right_ids(name, tmp_path):
    ids = OFFICIAL[name](tmp_path / "src")
    summary = go(name, tmp_path / "src", tmp_path / "out")
    assert summary.images == len(ids) == summary.fresh
    rows = [split for split in SPLITS if split.dataset == name]
    assert {row.split for row in rows} == set(RECIPES[name].splits)
    for row in rows:
        found = pairs(row, tmp_path / "out")
        assert {untiled_stem(pair.image.stem) for pair in found} <= set(ids)
        for pair in found:
            with Image.open(pair.image) as image, Image.open(pair.label) as stored:
                assert image.mode == "RGB" and stored.mode == "L" and image.size == stored.size
            label, whole = read_label(pair.label), ids[untiled_stem(pair.label.stem)]
            window = WINDOW.search(pair.label.stem)
            if window and name in ("iSAID", "Potsdam", "Vaihingen"):
                top, bottom, left, right = map(int, window.groups())
                whole = whole[top:bottom, left:right]
            if row.split == "all_8c":
                whole = np.where(whole == 255, 0, whole + 1)
            assert (label == whole).all()
    held = {
        untiled_stem(p.image.stem) for p in pairs(next(r for r in rows if r.split == "all"), tmp_path / "out")
    }
    assert held == set(ids)


def test_pixels_of_images_arrive_as_they_were(tmp_path):
    OFFICIAL["Potsdam"](tmp_path / "src")
    go("Potsdam", tmp_path / "src", tmp_path / "out")
    whole = np.asarray(Image.open(tmp_path / "src/2_Ortho_RGB/top_potsdam_2_10_RGB.tif"))
    tile = np.asarray(Image.open(tmp_path / "out/Potsdam/imgs/top_potsdam_2_10_88_600_0_512.png"))
    assert (tile == whole[88:600, :512]).all()
    OFFICIAL["VDD"](tmp_path / "drone")
    go("VDD", tmp_path / "drone", tmp_path / "out")
    original = (tmp_path / "drone/VDD/train/src/DJI_0000.JPG").read_bytes()
    assert (tmp_path / "out/VDD/src/DJI_0000.JPG").read_bytes() == original


def test_isaid_patches_have_the_published_names_and_empty_ones_are_left_out_unless_asked_for(tmp_path):
    folder = tmp_path / "src/train"
    photograph(folder / "images/P0003.png", (256, 500))
    mask = np.zeros((256, 500, 3), np.uint8)
    mask[:, 480:] = (0, 0, 63)
    (folder / "Semantic_masks").mkdir()
    Image.fromarray(mask).save(folder / "Semantic_masks/P0003_instance_color_RGB.png")
    few = go("iSAID", tmp_path / "src", tmp_path / "few")
    all_ = go("iSAID", tmp_path / "src", tmp_path / "all", keep_empty=True)
    names = {p.stem for p in (tmp_path / "all/iSAID/imgs").iterdir()}
    assert names == {f"P0003_0_256_{x}_{x + 256}" for x in (0, 206, 244)}
    assert (few.windows, few.empty, all_.windows, all_.empty) == (1, 2, 3, 0)
    assert [p.stem for p in (tmp_path / "few/iSAID_split/train/D2masks").iterdir()] == ["P0003_0_256_244_500"]


def test_dlrsd_holds_out_a_fifth_of_each_scene_the_same_whatever_else_is_there(tmp_path):
    OFFICIAL["DLRSD"](tmp_path / "src")
    go("DLRSD", tmp_path / "src", tmp_path / "both")
    lists = {
        side: (tmp_path / f"both/DLRSD_split/{side}.txt").read_text().split() for side in ("train", "val")
    }
    assert len(lists["train"]) == 16 and len(lists["val"]) == 4
    assert sum(stem.startswith("Airplane") for stem in lists["val"]) == 2
    assert lists["val"] == sorted(p.stem for p in (tmp_path / "both/DLRSD_split/val/imgs").iterdir())
    for folder in (tmp_path / "src").rglob("mobilehomepark"):
        shutil.rmtree(folder)
    go("DLRSD", tmp_path / "src", tmp_path / "one")
    kept = [stem for stem in lists["val"] if stem.startswith("Airplane")]
    assert (tmp_path / "one/DLRSD_split/val.txt").read_text().split() == kept


def test_a_tile_and_a_label_that_differ_by_two_pixels_keep_what_both_have(tmp_path):
    ids = OFFICIAL["DLRSD"](tmp_path / "src")
    photograph(tmp_path / "src/UCMerced_LandUse/Images/airplane/airplane00.tif", (30, 33))
    go("DLRSD", tmp_path / "src", tmp_path / "out")
    label = read_label(tmp_path / "out/DLRSD/D2masks/Airplane00.png")
    assert (label == ids["Airplane00"][:30, :32]).all()
    with Image.open(tmp_path / "out/DLRSD/imgs/Airplane00.jpg") as image:
        assert image.size == (32, 30)


def test_zipped_nested_and_cut_downloads_give_the_same_files_as_unpacked_ones(tmp_path):
    source = tmp_path / "unpacked"
    OFFICIAL["LoveDA"](source)
    go("LoveDA", source, tmp_path / "a")
    for part in ("Train", "Val"):
        zipped(source / part, tmp_path / f"zips/LoveDA/{part}.zip", prefix=f"{part}/")
    go("LoveDA", tmp_path / "zips", tmp_path / "b")
    zipped(tmp_path / "zips", tmp_path / "nested/everything.zip")
    go("LoveDA", tmp_path / "nested/everything.zip", tmp_path / "c")
    whole = (tmp_path / "nested/everything.zip").read_bytes()
    (tmp_path / "cut").mkdir()
    for i in range(3):
        third = -(-len(whole) // 3)
        (tmp_path / f"cut/all.zip.00{i + 1}").write_bytes(whole[i * third : (i + 1) * third])
    go("LoveDA", tmp_path / "cut", tmp_path / "d")
    first = {k: v for k, v in files_of(tmp_path / "a").items() if k.endswith(".png")}
    assert len(first) == 9
    for other in "bcd":
        assert {k: v for k, v in files_of(tmp_path / other).items() if k.endswith(".png")} == first
    (tmp_path / "cut/all.zip.002").unlink()
    with pytest.raises(DatasetError, match=r"volumes 1\.\.3 are needed, found \[1, 3\]"):
        go("LoveDA", tmp_path / "cut", tmp_path / "e")


def test_the_published_package_is_taken_as_it_is_after_a_check(tmp_path):
    ids = {}
    for folder in ("DLRSD_split/train", "DLRSD"):
        photograph(tmp_path / f"src/pkg/{folder}/imgs/Airplane00.jpg", (32, 32))
        ids[folder] = numbers(tmp_path / f"src/pkg/{folder}/D2masks/Airplane00.png", 17, (32, 32))
        numbers(tmp_path / f"src/pkg/{folder}/OVS_label/Airplane00.png", 17, (32, 32), shift=1)
    go("DLRSD", tmp_path / "src", tmp_path / "out")
    for folder, label in ids.items():
        assert (read_label(tmp_path / f"out/{folder}/D2masks/Airplane00.png") == label).all()
        original = (tmp_path / f"src/pkg/{folder}/imgs/Airplane00.jpg").read_bytes()
        assert (tmp_path / f"out/{folder}/imgs/Airplane00.jpg").read_bytes() == original
    bad = tmp_path / "src/pkg/DLRSD/D2masks/Airplane00.png"
    Image.fromarray(np.full((32, 32), 17, np.uint8)).save(bad)
    with pytest.raises(LabelError, match=r"DLRSD/D2masks/Airplane00.png: found ids 17"):
        go("DLRSD", tmp_path / "src", tmp_path / "other")


@pytest.mark.parametrize("name", ["iSAID", "LoveDA"])
def test_a_second_run_touches_nothing(name, tmp_path):
    OFFICIAL[name](tmp_path / "src")
    go(name, tmp_path / "src", tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    again = go(name, tmp_path / "src", tmp_path / "out")
    assert again.fresh == 0 and "nothing was left to do" in str(again)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")} == before


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_interrupted_run_goes_on_to_the_same_files(done, tmp_path, monkeypatch):
    OFFICIAL["iSAID"](tmp_path / "src")
    go("iSAID", tmp_path / "src", tmp_path / "whole")

    def stopped(function, items, *_):
        for i, result in enumerate(over_files(function, items, "", 1, False)):
            if i == done:
                raise KeyboardInterrupt
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(run, "over_files", stopped)
        with pytest.raises(KeyboardInterrupt):
            go("iSAID", tmp_path / "src", tmp_path / "out")
    journal = tmp_path / "out/iSAID/prepare.jsonl"
    with open(journal, "a") as file:
        file.write('{"stem": "cut o')
    assert not (tmp_path / "out/iSAID/prepare.json").exists()
    resumed = go("iSAID", tmp_path / "src", tmp_path / "out")
    assert resumed.fresh == 3 - done
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_a_lost_file_is_made_again(tmp_path):
    OFFICIAL["UAVid"](tmp_path / "src")
    go("UAVid", tmp_path / "src", tmp_path / "out")
    before = files_of(tmp_path / "out/uavid/Labels")
    (tmp_path / "out/uavid/Labels/seq2_000100.png").unlink()
    assert go("UAVid", tmp_path / "src", tmp_path / "out").fresh == 1
    assert files_of(tmp_path / "out/uavid/Labels") == before


def test_one_worker_writes_what_several_write(tmp_path):
    OFFICIAL["Vaihingen"](tmp_path / "src")
    for workers in (1, 4):
        prepare("vaihingen", [tmp_path / "src"], tmp_path / str(workers), workers=workers, progress=False)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "4")


def test_a_set_prepared_otherwise_is_kept_unless_it_may_be_overwritten(tmp_path):
    OFFICIAL["LoveDA"](tmp_path / "src")
    go("LoveDA", tmp_path / "src", tmp_path / "out")
    shutil.rmtree(tmp_path / "src/Val")
    before = files_of(tmp_path / "out")
    with pytest.raises(DatasetError, match="prepared with another source; use --overwrite"):
        go("LoveDA", tmp_path / "src", tmp_path / "out")
    assert files_of(tmp_path / "out") == before
    summary = go("LoveDA", tmp_path / "src", tmp_path / "out", overwrite=True)
    assert summary.images == 2 and "part Val: nothing of it was found" in str(summary)
    assert len(pairs(find_split("LoveDA_all_sem_seg"), tmp_path / "out")) == 2


def test_files_of_somebody_else_are_never_touched_and_never_join_the_set(tmp_path):
    OFFICIAL["VDD"](tmp_path / "src")
    theirs = tmp_path / "out/VDD/gt/DJI_0000.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"precious")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(DatasetError, match=r"has not written, DJI_0000\.png the first"):
            go("VDD", tmp_path / "src", tmp_path / "out", **options)
    assert theirs.read_bytes() == b"precious"
    theirs.unlink()
    go("VDD", tmp_path / "src", tmp_path / "out")
    photograph(tmp_path / "out/VDD/src/holiday.JPG", (30, 40))
    with pytest.raises(DatasetError, match=r"not of this set, VDD/src/holiday\.JPG"):
        go("VDD", tmp_path / "src", tmp_path / "out")


def test_a_dry_run_tells_what_would_be_done_and_writes_nothing(tmp_path):
    OFFICIAL["iSAID"](tmp_path / "src")
    before = files_of(tmp_path)
    lines = plan_only("isaid", [tmp_path / "src"])
    assert "iSAID: 3 images" in lines and "would write iSAID_split/train/imgs" in lines
    assert any("part train: 2 labelled images of 1411 official ones" in line for line in lines)
    assert files_of(tmp_path) == before
