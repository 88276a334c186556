"""From a miniature copy of the official iSAID download to the crops of the weakly supervised method."""

import csv
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.data.catalog import find_split, pairs
from rskt_seg.data.checking.check import check_split, select_splits
from rskt_seg.data.class_sets import ISAID_16
from rskt_seg.data.labels import read_label
from rskt_seg.data.preparation import RECIPES, Options, plan_only, prepare, run
from rskt_seg.data.preparation.sampling import sample_crops
from rskt_seg.data.preparation.scene import convert_scene
from rskt_seg.data.preparation.windows import RandomCrops
from rskt_seg.errors import DatasetError, LabelError
from tests.data.preparation.official import colors, photograph, zipped

SIDE, CROPS = 512, 8
LAYOUT = RECIPES["iSAID_wsss"].layouts[0]
SCENES = {
    ("train", "P0002"): (700, 530),
    ("train", "P0100"): (300, 600),
    ("train", "P0101"): (200, 250),
    ("val", "P0003"): (512, 900),
    ("val", "P0007"): (512, 512),
}
PARTS = ("train", "val", "test")


def download(root: Path, scenes=SCENES) -> dict[str, np.ndarray]:
    """Write images and colour masks of scenes into the official folders; return the ids of each."""
    ids = {}
    for (part, name), size in scenes.items():
        photograph(root / f"{part}/images/images/{name}.png", size)
        label = root / f"{part}/Semantic_masks/images/{name}_instance_color_RGB.png"
        ids[name] = colors(label, ISAID_16, size, ignored=False)
        photograph(root / f"{part}/Instance_masks/images/{name}_instance_id_RGB.png", size)
    photograph(root / "test/images/images/P0005.png", (64, 64))
    return ids


def go(source: Path, root: Path, workers: int = 2, **options):
    return prepare("iSAID_wsss", [source], root, Options(**options), workers=workers, progress=False)


def rows(root: Path) -> list[dict[str, str]]:
    with open(root / "iSAID_wsss/crops.csv", newline="") as file:
        return list(csv.DictReader(file))


def files_of(root: Path) -> dict[str, bytes]:
    found = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if "prepare" not in name}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("isaid")
    return folder / "src", download(folder / "src")


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    root = tmp_path_factory.mktemp("out")
    return go(source[0], root), root


def test_every_crop_shows_the_window_of_its_scene_that_the_list_states(source, prepared):
    (download_, ids), (_, root) = source, prepared
    listed = {row["name"]: row for row in rows(root)}
    written = {}
    for part in PARTS:
        for pair in pairs(find_split(f"iSAID_wsss_{part}_sem_seg"), root):
            written[pair.image.stem] = part
            row = listed[pair.image.stem]
            scene, top, left = row["scene"], int(row["top"]), int(row["left"])
            assert row["part"] == part and pair.image.stem.rpartition("_")[0] == scene
            official = "val" if part == "test" else "train"
            whole = np.asarray(Image.open(download_ / f"{official}/images/images/{scene}.png"))
            height, width = (min(side, SIDE) for side in whole.shape[:2])
            image, label = np.asarray(Image.open(pair.image)), read_label(pair.label)
            assert image.shape == (height, width, 3) and label.shape == (height, width)
            assert (image == whole[top : top + height, left : left + width]).all()
            assert (label == ids[scene][top : top + height, left : left + width]).all()
    assert listed.keys() == written.keys()


def test_background_is_class_0_and_the_official_classes_follow(prepared):
    _, root = prepared
    found = set()
    for pair in pairs(find_split("iSAID_wsss_train_sem_seg"), root):
        found |= set(np.unique(read_label(pair.label)).tolist())
    assert found == {*range(16)}


def test_names_are_scene_and_number_and_the_list_is_sorted(prepared):
    _, root = prepared
    found = rows(root)
    assert list(found[0]) == ["name", "scene", "top", "left", "part"]
    assert [row["name"] for row in found] == sorted(row["name"] for row in found)
    assert all(row["name"] in [f"{row['scene']}_{k}" for k in range(CROPS)] for row in found)


def test_few_scenes_give_splits_in_proportion_and_a_note_says_so(prepared):
    summary, root = prepared
    number = Counter(row["part"] for row in rows(root))
    assert number == {"train": 7500 * 3 // 1411, "val": 1653 * 3 // 1411, "test": 1315 * 2 // 458}
    assert summary.windows == sum(number.values()) and summary.empty == 0
    text = str(summary)
    assert (
        "split train: 15 of 24 random crops of part train, in proportion to the official 7500 of 11288"
        in text
    )
    assert "split test: 5 of 16 random crops of part val, in proportion to the official 1315 of 3664" in text
    assert "published ones are not known; crops.csv lists them" in text


def test_one_scene_of_each_part_is_enough_for_all_three_splits(tmp_path):
    some = {key: SCENES[key] for key in (("train", "P0101"), ("val", "P0007"))}
    download(tmp_path / "src", some)
    go(tmp_path / "src", tmp_path / "out")
    assert Counter(row["part"] for row in rows(tmp_path / "out")) == {"train": 5, "val": 1, "test": 2}


def official_keys() -> list[tuple[str, str]]:
    train = [("train", f"P{k:04d}") for k in range(1411)]
    return train + [("val", f"P{k:04d}") for k in range(1411, 1411 + 458)]


def test_the_official_scenes_give_the_published_numbers_and_parts_never_meet():
    drawn, notes = sample_crops(LAYOUT, official_keys())
    pieces = [(key, name, target.split) for key, those in drawn.items() for name, target in those]
    assert Counter(split for *_, split in pieces) == {"train": 7500, "val": 1653, "test": 1315}
    assert len({name for _, name, _ in pieces}) == 7500 + 1653 + 1315
    assert all((key[0] == "val") == (split == "test") for key, _, split in pieces)
    scenes = {split: len({key for key, _, other in pieces if other == split}) for split in PARTS}
    assert scenes["train"] > 1350 and scenes["val"] > 950 and scenes["test"] > 430
    assert not any("in proportion" in note for note in notes)


def test_the_sample_depends_on_the_names_alone_and_not_on_their_order():
    keys = official_keys()
    shuffled = [keys[k] for k in np.random.default_rng(0).permutation(len(keys))]
    assert sample_crops(LAYOUT, keys)[0] == sample_crops(LAYOUT, shuffled)[0]
    # Every crop number is sampled about equally often: the alphabetical order of names plays no role.
    numbers = Counter(name[-1] for those in sample_crops(LAYOUT, keys)[0].values() for name, _ in those)
    assert set(numbers) == set("01234567") and max(numbers.values()) < 1.2 * min(numbers.values())


@settings(max_examples=60)
@given(st.integers(1, 1200), st.integers(1, 1200), st.text("P0123456789", min_size=1, max_size=6))
def test_a_crop_lies_inside_its_scene_and_is_as_large_as_it_can_be(height, width, stem):
    crops = RandomCrops(SIDE, CROPS).cut(stem, np.zeros((height, width), np.uint8))
    assert [patch.stem for patch in crops] == [f"{stem}_{k}" for k in range(CROPS)]
    for patch in crops:
        assert (patch.window.height, patch.window.width) == (min(SIDE, height), min(SIDE, width))
        assert 0 <= patch.window.top < patch.window.bottom <= height
        assert 0 <= patch.window.left < patch.window.right <= width


def test_crops_are_spread_over_the_whole_scene_and_rows_are_independent_of_columns():
    blank = np.zeros((SIDE + 255, SIDE + 255), np.uint8)
    crops = [patch for k in range(500) for patch in RandomCrops(SIDE, CROPS).cut(f"P{k:04d}", blank)]
    places = np.array([(patch.window.top, patch.window.left) for patch in crops])
    assert places.min() == 0 and places.max() == 255
    for side in places.T:
        counts = np.bincount(side // 16, minlength=16)
        assert counts.min() > 190 and counts.max() < 310 and len(counts) == 16
    assert abs(np.corrcoef(places.T)[0, 1]) < 0.06
    # Whether a crop is sampled is independent of its place, too.
    drawn, _ = sample_crops(LAYOUT, [("val", f"P{k:04d}") for k in range(458)])
    taken = {name for those in drawn.values() for name, _ in those}
    tops = [patch.window.top for patch in crops if patch.stem in taken]
    assert len(tops) == 1315 and abs(np.mean(tops) - 127.5) < 8


def test_a_second_run_touches_nothing_and_a_lost_file_is_written_again(source, tmp_path):
    go(source[0], tmp_path)
    before = files_of(tmp_path)
    assert go(source[0], tmp_path).fresh == 0
    (tmp_path / next(name for name in before if "labels" in name)).unlink()
    (tmp_path / "iSAID_wsss/crops.csv").unlink()
    assert go(source[0], tmp_path).fresh == 1
    assert files_of(tmp_path) == before


def test_one_worker_and_a_zip_give_the_same_and_so_does_a_prepared_neighbour(source, prepared, tmp_path):
    archive = zipped(source[0], tmp_path / "all.zip")
    prepare("iSAID", [source[0]], tmp_path / "one", workers=1, progress=False)
    go(archive, tmp_path / "one", workers=1)
    ours = {name: data for name, data in files_of(tmp_path / "one").items() if name.startswith("iSAID_wsss/")}
    assert ours == files_of(prepared[1])


def test_an_interrupted_run_resumes_to_the_same_files(source, prepared, tmp_path, monkeypatch):
    count = []

    def stopped(job, **rest):
        count.append(job)
        if len(count) > 2:
            raise KeyboardInterrupt
        convert_scene(job, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(run, "convert_scene", stopped)
        with pytest.raises(KeyboardInterrupt):
            go(source[0], tmp_path, workers=1)
    assert not (tmp_path / "iSAID_wsss/crops.csv").exists()
    assert go(source[0], tmp_path).fresh == 3
    assert files_of(tmp_path) == files_of(prepared[1])


def test_scenes_that_come_later_are_sampled_with_the_others_and_crops_no_longer_sampled_are_deleted(
    source, tmp_path
):
    shutil.copytree(source[0], tmp_path / "src")
    hidden = []
    for path in [p for p in (tmp_path / "src").rglob("*") if p.is_file() and "P0100" in p.name]:
        hidden.append((path, path.read_bytes()))
        path.unlink()
    go(tmp_path / "src", tmp_path / "out")
    first = {row["name"]: row["part"] for row in rows(tmp_path / "out")}
    for path, content in hidden:
        path.write_bytes(content)
    go(tmp_path / "src", tmp_path / "out")
    go(tmp_path / "src", tmp_path / "fresh")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "fresh")
    second = {row["name"]: row["part"] for row in rows(tmp_path / "out")}
    assert any(second.get(name) != part for name, part in first.items() if part != "test")
    assert {n for n, part in first.items() if part == "test"} == {n for n in second if second[n] == "test"}


def test_files_of_other_origin_are_never_touched(source, tmp_path):
    theirs = tmp_path / "iSAID_wsss/val/labels/P0002_1.png"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"precious")
    with pytest.raises(DatasetError, match=r"no earlier run has written, first of them P0002_1\.png"):
        go(source[0], tmp_path)
    assert theirs.read_bytes() == b"precious"


def test_a_colour_of_no_class_stops_it_or_becomes_ignored_within_the_tolerance(tmp_path):
    ids = download(tmp_path / "src", {("train", "P0101"): (40, 50)})
    mask = tmp_path / "src/train/Semantic_masks/images/P0101_instance_color_RGB.png"
    pixels = np.array(Image.open(mask))
    pixels[0, 0] = (9, 9, 9)
    Image.fromarray(pixels).save(mask)
    with pytest.raises(LabelError, match=r"P0101_instance_color_RGB\.png: 1 of 2000 pixels"):
        go(tmp_path / "src", tmp_path / "out")
    go(tmp_path / "src", tmp_path / "out", tolerance=0.001)
    label = read_label(pairs(find_split("iSAID_wsss_val_sem_seg"), tmp_path / "out")[0].label)
    assert label[0, 0] == 255 and (label[:40, 1:50] == ids["P0101"][:, 1:]).all()


def test_the_check_finds_no_error_in_what_was_prepared(prepared):
    _, root = prepared
    splits = select_splits("iSAID_wsss", root)
    assert [split.split for split in splits] == ["train", "val", "test"]
    for split in splits:
        assert check_split(split, root, progress=False).ok


def test_a_dry_run_counts_the_crops_and_potsdam_is_prepared_under_its_own_name(source, tmp_path):
    lines = plan_only("isaid_wsss", [source[0]])
    assert "iSAID_wsss: 5 images" in lines and "would write iSAID_wsss/test/labels" in lines
    assert any(line.startswith("split val: 3 of 24 random crops of part train") for line in lines)
    assert run.find_recipe("potsdam_wsss") is RECIPES["Potsdam"]


def test_another_seed_samples_other_crops():
    other = replace(LAYOUT, sampling=replace(LAYOUT.sampling, seed=LAYOUT.sampling.seed + 1))
    first, second = (sample_crops(layout, official_keys())[0] for layout in (LAYOUT, other))
    assert first.keys() == second.keys() and first != second
