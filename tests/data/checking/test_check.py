"""Laws of checking a dataset: each fault is found, with its file and its cure, and no other."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data.catalog import SPLITS, ClassSet, Split, find_split, pairs
from rskt_seg.data.checking.quick import SAMPLE
from rskt_seg.data.fingerprint import compute_fingerprint
from tests.data.checking.checked import (
    CLASSES,
    FAULTS,
    NAMES,
    SHAPE,
    SPLIT,
    STEMS,
    check,
    cut,
    lay_out,
    one,
    quick,
    relabel,
    rotated,
    turned,
)


@pytest.mark.parametrize("split", SPLITS, ids=lambda s: s.name)
def test_a_clean_set_of_each_row_has_no_finding(split, tmp_path):
    split = replace(split, stems=())
    lay_out(tmp_path, split)
    report = check(tmp_path, split)
    assert report.findings == () and report.ok and report.count == len(STEMS)
    assert quick(tmp_path, split) == []
    assert report.fingerprint == compute_fingerprint(pairs(split, tmp_path), progress=False)


def test_the_histogram_counts_pixels_and_files_of_each_class_and_of_what_is_ignored(tmp_path):
    lay_out(tmp_path)
    relabel(tmp_path, lambda ids: np.where(ids == 3, 255, ids).astype(np.uint8), STEMS[:4])
    report = check(tmp_path)
    labels = [np.array(Image.open(pair.label)) for pair in pairs(SPLIT, tmp_path)]
    for k, place in ((0, 0), (1, 1), (2, 2), (3, 3), (255, 4)):
        assert report.histogram[place] == sum((ids == k).sum() for ids in labels)
        assert report.files_per_class[place] == sum((ids == k).any() for ids in labels)
    assert report.strays == 0 and sum(report.histogram) == 6 * SHAPE[0] * SHAPE[1]


@pytest.mark.parametrize(("damage", "what", "file", "cure"), FAULTS, ids=lambda v: getattr(v, "__name__", ""))
@pytest.mark.parametrize("found", [lambda root: check(root).findings, quick], ids=["full", "quick"])
def test_a_fault_is_an_error_that_names_the_file_and_the_cure(found, damage, what, file, cure, tmp_path):
    damage(lay_out(tmp_path))
    finding = one(found(tmp_path), what)
    assert finding.is_error and len(finding.files) == 1
    assert re.search(file, finding.line()), finding.line()
    assert cure in finding.kind.cure and cure in finding.line()


@pytest.mark.parametrize("name", ["x/s2.png", "y/s2.png"])
def test_a_truncated_file_is_found_by_reading_all_of_it(name, tmp_path):
    cut(lay_out(tmp_path) / name)
    report = check(tmp_path)
    finding = one(report.findings, "image cannot be read" if name[0] == "x" else "label cannot be read")
    ((path, reason),) = finding.files
    assert path == str(tmp_path / name) and re.search("truncated|it ends in the middle", reason)
    assert report.fingerprint is None and "none" in report.render().splitlines()[-1]


def test_a_truncated_jpeg_is_found(tmp_path):
    lay_out(tmp_path, find_split("UDD5_all_sem_seg"))
    cut(tmp_path / "UDD5/all/src/s2.JPG")
    report = check(tmp_path, find_split("UDD5_all_sem_seg"))
    assert one(report.findings, "image cannot be read").files[0][0].endswith("s2.JPG")


def test_an_orientation_behind_the_pixels_of_a_png_is_found_by_reading_all_of_it(tmp_path):
    rotated(lay_out(tmp_path))
    path = tmp_path / "x/s1.png"
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    path.write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])
    assert one(check(tmp_path).findings, "before the EXIF rotation").files
    assert quick(tmp_path) == []


def test_an_image_and_a_label_rotated_alike_are_fine(tmp_path):
    lay_out(tmp_path)
    rotated(tmp_path)
    relabel(tmp_path, lambda ids: np.rot90(ids, 3), ["s1"])
    assert check(tmp_path).findings == () and quick(tmp_path) == []


def test_a_tiff_with_an_orientation_is_never_taken_for_granted(tmp_path):
    lay_out(tmp_path)
    split = Split("t", "t", "all", "x", "y", ("tif", "png"), ("png",), CLASSES)
    image = Image.open(tmp_path / "x/s1.png")
    image.save(tmp_path / "x/s1.tif", **turned(image, 6))
    (tmp_path / "x/s1.png").unlink()
    relabel(tmp_path, lambda ids: np.rot90(ids, 3), ["s1"])
    for findings in (check(tmp_path, split).findings, quick(tmp_path, split)):
        assert one(findings, "sizes do not tell").files[0][0].endswith("s1.tif")


def test_unpaired_files_are_errors_and_the_rest_is_checked(tmp_path):
    lay_out(tmp_path)
    (tmp_path / "x/s0.png").unlink()
    (tmp_path / "y/s1.png").rename(tmp_path / "y/S1.png")
    stray_label = tmp_path / "y/s2.png"
    Image.fromarray(np.full(SHAPE, 9, np.uint8)).save(stray_label)
    report = check(tmp_path)
    found = {f.kind.what: [Path(path).name for path, _ in f.files] for f in report.findings if f.is_error}
    assert found["images without a label"] == ["s1.png"]
    assert found["labels without an image"] == ["S1.png", "s0.png"]
    assert "differ in case alone" in report.render()
    assert next(v for k, v in found.items() if "outside" in k) == ["s2.png"]
    assert report.count == 4


WHOLE = {
    "shifted by one": (lambda x: np.where(x == 255, 255, x + 1), "ids outside 0..3", "shifted by one (1..4"),
    "official": (lambda x: np.where(x == 255, 0, x + 1), "ids outside 0..3", "If 0 stands for unlabelled"),
    "lowered twice": (lambda x: np.where(x == 255, 254, x), "ids outside 0..3", "lowered by one twice"),
    "binary": (lambda x: np.where(x == 1, 255, 0), "0 and 255 and nothing else", "1 where the mask is 255"),
    "all ignored": (lambda x: np.full_like(x, 255), "every label is ignored", "convert the official"),
}


@pytest.mark.parametrize("fault", WHOLE)
@pytest.mark.parametrize("found", [lambda root: check(root).findings, quick], ids=["full", "quick"])
def test_what_a_whole_set_shows_is_an_error_with_its_cure(found, fault, tmp_path):
    change, what, cure = WHOLE[fault]
    relabel(lay_out(tmp_path), lambda ids: change(ids).astype(np.uint8))
    finding = one(found(tmp_path), what)
    assert finding.is_error and cure in finding.kind.cure


def test_ids_collapsed_to_0_and_1_are_an_error_of_the_full_check(tmp_path):
    relabel(lay_out(tmp_path), lambda ids: np.where(ids == 255, 255, ids % 2).astype(np.uint8))
    assert "palette mask" in one(check(tmp_path).findings, "0 and 1 and nothing else").kind.cure
    two = Split(
        "two", "two", "all", "x", "y", ("png",), ("png",), ClassSet("t", NAMES[:2], CLASSES.colors[:2])
    )
    assert check(tmp_path, two).findings == ()


def test_one_label_with_another_class_clears_a_set_of_0_and_255(tmp_path):
    stems = [f"s{k:03}" for k in range(3 * SAMPLE)]
    lay_out(tmp_path, stems=stems)
    relabel(tmp_path, lambda ids: np.where(ids == 255, 255, 0).astype(np.uint8), stems)
    assert one(quick(tmp_path), "0 and 255 and nothing else").is_error
    for stem in ("s002", "s094"):
        relabel(tmp_path, lambda ids: np.where(ids == 255, 255, 1).astype(np.uint8), [stem])
        assert quick(tmp_path) == []
        relabel(tmp_path, lambda ids: np.where(ids == 255, 255, 0).astype(np.uint8), [stem])


def test_0_and_255_are_fine_where_there_is_one_class(tmp_path):
    relabel(lay_out(tmp_path), lambda ids: np.where(ids == 255, 255, 0).astype(np.uint8))
    single = Split("one", "one", "all", "x", "y", ("png",), ("png",), ClassSet("o", ("roof",), ((1, 1, 1),)))
    assert check(tmp_path, single).findings == () and quick(tmp_path, single) == []


@pytest.mark.parametrize(("ignore", "values", "words"), [
    (0, (0, 1, 2, 4), "put one in front"),
    (254, (0, 1, 255, 254), "if 255 is what the labels ignore"),
])  # fmt: skip
def test_a_mistaken_ignore_label_is_explained(ignore, values, words, tmp_path):
    split = Split("own", "own", "all", "x", "y", ("png",), ("png",), CLASSES, ignore_label=ignore)
    lay_out(tmp_path)
    relabel(tmp_path, lambda ids: np.resize(np.array(values, np.uint8), SHAPE))
    assert words in one(check(tmp_path, split).findings, "label ids outside").kind.cure


@pytest.mark.parametrize("ignore", [0, 254])
def test_another_ignored_id_is_counted_as_ignored(ignore, tmp_path):
    split = Split("own", "own", "all", "x", "y", ("png",), ("png",), CLASSES, ignore_label=ignore)
    report = check(lay_out(tmp_path, split), split)
    assert report.findings == () and quick(tmp_path, split) == []
    assert report.histogram[-1] > 0 and sum(report.histogram) == 6 * SHAPE[0] * SHAPE[1]
    assert (report.histogram[0] == 0) == (ignore == 0)
    assert f"{ignore}  (ignored)" in report.render()


def test_a_class_whose_id_is_ignored_is_not_missed(tmp_path):
    split = Split("own", "own", "all", "x", "y", ("png",), ("png",), CLASSES, ignore_label=0)
    relabel(lay_out(tmp_path), lambda ids: np.where(ids % 4 == 0, 1, ids % 4).astype(np.uint8))
    report = check(tmp_path, split)
    assert report.histogram[0] == report.histogram[-1] == 0
    assert report.findings == ()


def test_classes_that_never_occur_are_a_note_that_names_them(tmp_path):
    relabel(lay_out(tmp_path), lambda ids: np.where(ids == 2, 255, ids).astype(np.uint8))
    finding = one(check(tmp_path).findings, "classes that occur in no label: 2 tree")
    assert not finding.is_error and "look like this too" not in finding.kind.cure
    relabel(tmp_path, lambda ids: np.where(ids == 0, 1, ids).astype(np.uint8))
    cure = one(check(tmp_path).findings, "in no label: 0 roof, 2 tree").kind.cure
    assert "start at 1 look like this too" in cure
    assert quick(tmp_path) == []
    relabel(lay_out(tmp_path), lambda ids: np.where(ids == 3, 255, ids).astype(np.uint8))
    cure = one(check(tmp_path).findings, "in no label: 3 water").kind.cure
    assert "lowered by one twice look like this too" in cure
