"""The check of splits that have image-level labels: alone, or beside masks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data.catalog import ClassSet, Split
from rskt_seg.data.checking.check import check_split, shared_images
from rskt_seg.data.checking.findings import NOTE, Report
from rskt_seg.data.checking.quick import quick_image_check

CLASSES = ClassSet("own", ("road", "tree", "field"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
WEAK = Split("own_train_sem_seg", "own", "train", "x", "", ("png",), ("png",), CLASSES, image_labels="l.csv")


@pytest.fixture
def root(tmp_path) -> Path:
    """`x` with images a, b, c of noise, `y` with masks of all classes, and `l.csv`."""
    rng = np.random.default_rng(0)
    for folder in "xy":
        (tmp_path / folder).mkdir()
    for stem in "abc":
        Image.fromarray(rng.integers(0, 256, (8, 9, 3), np.uint8)).save(tmp_path / f"x/{stem}.png")
        Image.fromarray(rng.integers(0, 3, (8, 9), np.uint8)).save(tmp_path / f"y/{stem}.png")
    (tmp_path / "l.csv").write_text("a,road,tree\nb,tree,field\nc,tree\n")
    return tmp_path


def check(root: Path, split: Split = WEAK, **more) -> Report:
    return check_split(split, root, progress=False, **more)


def names_by_fault(report: Report) -> dict[str, list[str]]:
    """Return what was found -> names of the files."""
    return {f.kind.what: [Path(path).name for path, _ in f.files] for f in report.findings}


def test_a_clean_split_has_no_finding_and_a_table_of_images(root):
    report = check(root)
    assert report.ok and report.findings == () and report.count == 3
    assert report.files_per_class == (1, 3, 1) and report.histogram == ()
    text = report.render()
    assert text.startswith("own_train_sem_seg: 3 images, 3 classes, no error, no note")
    assert text.splitlines()[-4].split() == ["1", "tree", "100.0%", "3"]
    assert text.endswith(f"fingerprint  {report.fingerprint}")
    tree = json.loads(json.dumps(report.to_json()))
    assert tree["images_per_class"] == {"road": 1, "tree": 3, "field": 1} and tree["histogram"] == []


def test_the_fingerprint_follows_images_and_classes_and_not_how_the_file_is_written(root):
    first = check(root).fingerprint
    (root / "l.csv").write_text("image,classes\nx/c.png,tree\na,tree,road\nb.png,field,tree,\n")
    assert check(root, workers=3).fingerprint == first
    (root / "l.csv").write_text("a,road\nb,tree,field\nc,tree\n")
    other = check(root).fingerprint
    assert other.images == first.images and other.labels != first.labels


def test_faults_of_images_are_found_and_the_rest_is_still_reported(root):
    (root / "x/b.png").write_bytes((root / "x/b.png").read_bytes()[:60])
    (root / "x/c.png").write_bytes((root / "x/a.png").read_bytes())
    Image.fromarray(np.zeros((8, 9, 4), np.uint8)).save(root / "x/d.png")
    (root / "x/notes.txt").touch()
    (root / "l.csv").write_text("a,road,tree\nb\nc,tree\nd\n")
    report = check(root)
    assert not report.ok and report.fingerprint is None and report.files_per_class == (1, 2, 0)
    found = names_by_fault(report)
    assert found["image cannot be read"] == ["b.png"]
    assert found["images that are copies of another one"] == ["c.png"]
    assert "with another label" in report.render()
    assert found["images that are neither RGB nor gray"] == ["d.png"]
    assert "classes that no image shows: field" in found
    assert "other files lie in the folders" in found


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "the file of image-level labels does not exist"),
        ("a,road\nb\n", "1 images have no line: c"),
        ("a,raod\nb\nc\n", "unknown class 'raod'"),
        ("a\nb\nc\n", "no image shows any class"),
    ],
)
def test_a_faulty_label_file_is_an_error_and_images_are_checked_anyway(root, text, what):
    (root / "l.csv").unlink() if text is None else (root / "l.csv").write_text(text)
    (root / "x/a.png").write_bytes(b"no image")
    report = check(root)
    assert not report.ok and any(what in found for found in names_by_fault(report)), names_by_fault(report)
    assert names_by_fault(report)["image cannot be read"] == ["a.png"]
    assert report.render().count("ERROR") == 2


def test_masks_and_a_file_of_image_level_labels_are_both_checked(root):
    both = replace(WEAK, labels="y")
    report = check(root, both)
    assert report.ok and len(report.histogram) == 4 and "3 pairs" in report.render()
    (root / "l.csv").write_text("a\n")
    report = check(root, both)
    assert not report.ok and len(report.histogram) == 4
    assert any("2 images have no line: b, c" in what for what in names_by_fault(report))
    (root / "y/a.png").unlink()
    assert "images without a label" in names_by_fault(check(root, both))


DEEP = "images whose samples are not unsigned 8-bit integers"


def test_images_of_more_than_8_bits_are_an_error_also_without_masks(root):
    Image.fromarray(np.full((8, 9), 9000, np.uint16)).save(root / "x/a.png")
    Image.fromarray(np.full((8, 9), 0.5, np.float32)).save(root / "x/b.tif")
    (root / "x/b.png").unlink()
    split = replace(WEAK, image_extensions=("png", "tif"))
    report = check(root, split)
    assert not report.ok and names_by_fault(report) == {DEEP: ["a.png", "b.tif"]}
    (finding,) = quick_image_check("own", sorted((root / "x").iterdir()))
    assert finding.is_error and finding.kind == report.findings[0].kind
    assert "gdal_translate -ot Byte -scale" in finding.line() and "rskt-seg segment" in finding.line()


def test_images_that_two_weak_parts_share_are_noted(root):
    other = replace(WEAK, name="own_val_sem_seg", split="val")
    (note,) = shared_images({split: check(root, split) for split in (WEAK, other)})
    assert note.kind.level == NOTE and len(note.files) == 3


def test_a_missing_folder_is_the_one_finding(root):
    report = check(root, replace(WEAK, images="gone"))
    assert len(report.findings) == 1 and "gone does not exist" in report.findings[0].kind.what
    assert "class id a pixel" not in report.render()


def test_the_quick_check_reads_the_headers_of_all_images(root):
    images = sorted((root / "x").iterdir())
    assert quick_image_check("own", images) == []
    images[1].write_bytes(b"no image")
    (finding,) = quick_image_check("own", images)
    assert finding.is_error and finding.files[0][0] == str(images[1])


def test_the_fingerprint_tells_one_class_from_another(root):
    first = check(root).fingerprint
    (root / "l.csv").write_text("a,road,tree\nb,tree,field\nc,field\n")
    other = check(root).fingerprint
    assert other.images == first.images and other.labels != first.labels
