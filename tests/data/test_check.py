"""Laws of checking a dataset: each fault is found, with its file and its cure, and nothing else is."""

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.cli import run
from rskt_seg.data.catalog import SPLITS, ClassSet, Pair, Split, find_split, pairs
from rskt_seg.data.check import check_split, select_splits, shared_images
from rskt_seg.data.findings import Finding, Report
from rskt_seg.data.fingerprint import fingerprint
from rskt_seg.data.probe import id_counts
from rskt_seg.data.quick import SAMPLE, quick_check
from rskt_seg.errors import DatasetError, DatasetNotFoundError
from rskt_seg.inference.palette import palette

CHECK = Path(__file__).parents[2] / "datasets" / "check.py"
README = CHECK.with_name("README.md")
NAMES = ("roof", "road", "tree", "water")
CLASSES = ClassSet("own", NAMES, ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3)))
SPLIT = Split("own_sem_seg", "own", "all", "x", "y", ("png", "jpg"), ("png", "tif"), CLASSES)
SHAPE = (20, 30)
STEMS = [f"s{k}" for k in range(6)]
ORIENTATION = 274


def lay_out(root: Path, split: Split = SPLIT, stems: list[str] = STEMS) -> Path:
    """A clean set: different images, labels with every class and a row of ignored pixels."""
    rng = np.random.default_rng(len(split.name))
    for folder in (split.images, split.labels):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem in stems:
        image = rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8)
        ids = (np.arange(SHAPE[0] * SHAPE[1]) % len(split.class_set)).astype(np.uint8).reshape(SHAPE)
        ids[0] = split.ignore
        Image.fromarray(image).save(root / split.images / f"{stem}.{split.image_extensions[0]}")
        Image.fromarray(ids).save(root / split.labels / f"{stem}.{split.label_extensions[0]}")
    return root


def relabel(root: Path, change: Callable[[np.ndarray], np.ndarray], stems: list[str] = STEMS) -> None:
    for stem in stems:
        path = root / f"y/{stem}.png"
        Image.fromarray(change(np.array(Image.open(path)))).save(path)


def check(root: Path, split: Split = SPLIT) -> Report:
    return check_split(split, root, progress=False)


def quick(root: Path, split: Split = SPLIT) -> list[Finding]:
    return quick_check(split.name, pairs(split, root), split.class_set.names, split.ignore)


def one(findings, what: str) -> Finding:
    """The only finding whose kind has these words; there is no other error beside it."""
    fitting = [finding for finding in findings if what in finding.kind.what]
    assert len(fitting) == 1, [finding.kind.what for finding in findings]
    others = [finding for finding in findings if finding is not fitting[0] and finding.is_error]
    assert others == []
    return fitting[0]


def turned(image: Image.Image, orientation: int) -> dict:
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    return {"exif": exif}


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


@pytest.mark.parametrize("split", SPLITS, ids=lambda s: s.name)
def test_a_clean_set_of_each_row_has_no_finding(split, tmp_path):
    split = replace(split, stems=())
    lay_out(tmp_path, split)
    report = check(tmp_path, split)
    assert report.findings == () and report.ok and report.count == len(STEMS)
    assert quick(tmp_path, split) == []
    assert report.fingerprint == fingerprint(pairs(split, tmp_path), progress=False)


def test_the_histogram_counts_pixels_and_files_of_each_class_and_of_what_is_ignored(tmp_path):
    lay_out(tmp_path)
    relabel(tmp_path, lambda ids: np.where(ids == 3, 255, ids).astype(np.uint8), STEMS[:4])
    report = check(tmp_path)
    labels = [np.array(Image.open(pair.label)) for pair in pairs(SPLIT, tmp_path)]
    for k, place in ((0, 0), (1, 1), (2, 2), (3, 3), (255, 4)):
        assert report.histogram[place] == sum((ids == k).sum() for ids in labels)
        assert report.files_per_class[place] == sum((ids == k).any() for ids in labels)
    assert report.strays == 0 and sum(report.histogram) == 6 * SHAPE[0] * SHAPE[1]


def rgb_label(root: Path) -> None:
    Image.open(root / "y/s1.png").convert("RGB").save(root / "y/s1.png")


def small_label(root: Path) -> None:
    Image.fromarray(np.zeros((30, 20), np.uint8)).save(root / "y/s1.png")


def stray(root: Path) -> None:
    relabel(root, lambda ids: np.where(ids == 3, 77, ids).astype(np.uint8), ["s1"])


def jpeg_label(root: Path) -> None:
    Image.open(root / "y/s1.png").save(root / "y/s1.png", format="JPEG")


def bits(root: Path) -> None:
    Image.new("1", SHAPE[::-1]).save(root / "y/s1.png")


def no_label_image(root: Path) -> None:
    (root / "y/s1.png").write_text("no image")


def empty_image(root: Path) -> None:
    (root / "x/s1.png").write_bytes(b"")


def rotated(root: Path) -> None:
    image = Image.open(root / "x/s1.png")
    image.save(root / "x/s1.png", **turned(image, 6))


def rotated_half(root: Path) -> None:
    image = Image.open(root / "x/s1.png")
    image.save(root / "x/s1.png", **turned(image, 3))


def rotated_square(root: Path) -> None:
    image = Image.new("RGB", (25, 25))
    (root / "x/s1.png").unlink()
    image.save(root / "x/s1.jpg", **turned(image, 8))
    Image.new("L", (25, 25)).save(root / "y/s1.png")


FAULTS = [
    (rgb_label, "found a colour image (RGB)", "y/s1.png", "one class id a pixel"),
    (small_label, "differ in size", r"y/s1.png \(label 30x20, image 20x30", "nothing is resized"),
    (stray, "label ids outside 0..3", r"y/s1.png \(found ids 77 \(\d+ px\)\)", "is the class list complete"),
    (jpeg_label, "a lossless label", "y/s1.png", "8-bit gray PNG"),
    (bits, "1 bit a pixel", "y/s1.png", "8-bit gray PNG"),
    (no_label_image, "label cannot be read", r"y/s1.png \(", "copy or unpack"),
    (empty_image, "image cannot be read", r"x/s1.png \(no image of a known format\)", "copy or unpack"),
    (rotated, "before the EXIF rotation", r"y/s1.png \(label 20x30, image 30x20", "remove the EXIF"),
    (rotated_half, "sizes do not tell", r"x/s1.png \(EXIF orientation 3\)", "look at both"),
    (rotated_square, "sizes do not tell", r"x/s1.jpg \(EXIF orientation 8\)", "look at both"),
]  # fmt: skip


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
    assert finding.files == ((str(tmp_path / name), "image file is truncated"),)
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


def test_an_image_turned_as_its_label_is_turned_is_fine(tmp_path):
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


def test_files_left_alone_are_errors_and_the_rest_is_checked(tmp_path):
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


def test_one_label_with_another_class_takes_the_suspicion_from_a_set_of_0_and_255(tmp_path):
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
def test_a_mistaken_ignored_id_is_told(ignore, values, words, tmp_path):
    split = Split("own", "own", "all", "x", "y", ("png",), ("png",), CLASSES, ignore=ignore)
    lay_out(tmp_path)
    relabel(tmp_path, lambda ids: np.resize(np.array(values, np.uint8), SHAPE))
    assert words in one(check(tmp_path, split).findings, "label ids outside").kind.cure


@pytest.mark.parametrize("ignore", [0, 254])
def test_another_ignored_id_is_counted_as_ignored(ignore, tmp_path):
    split = Split("own", "own", "all", "x", "y", ("png",), ("png",), CLASSES, ignore=ignore)
    report = check(lay_out(tmp_path, split), split)
    assert report.findings == () and quick(tmp_path, split) == []
    assert report.histogram[-1] > 0 and sum(report.histogram) == 6 * SHAPE[0] * SHAPE[1]
    assert (report.histogram[0] == 0) == (ignore == 0)
    assert f"{ignore}  (ignored)" in report.render()


def test_a_class_whose_id_is_ignored_is_not_missed(tmp_path):
    split = Split("own", "own", "all", "x", "y", ("png",), ("png",), CLASSES, ignore=0)
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


def palette_label(root: Path) -> None:
    image = Image.open(root / "y/s1.png").convert("L")
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.save(root / "y/s1.png")


def alpha(root: Path) -> None:
    Image.open(root / "x/s1.png").convert("RGBA").save(root / "x/s1.png")


def copied(root: Path) -> None:
    shutil.copy(root / "x/s1.png", root / "x/s4.png")


def other_file(root: Path) -> None:
    (root / "x/Thumbs.db").touch()


@pytest.mark.parametrize(
    ("damage", "what", "line", "in_headers"),
    [
        (palette_label, "palette labels", "y/s1.png", True),
        (alpha, "neither RGB nor gray", r"x/s1.png \(RGBA\)", True),
        (copied, "copies of another", r"x/s4.png \(= s1.png\)", False),
        (other_file, "other files", r"x \(1 \.db\)", False),
    ],
)
def test_what_is_remarkable_and_not_wrong_is_a_note(damage, what, line, in_headers, tmp_path):
    damage(lay_out(tmp_path))
    report = check(tmp_path)
    finding = one(report.findings, what)
    assert report.ok and not finding.is_error and report.fingerprint is not None
    assert re.search(line, finding.line()), finding.line()
    assert [f.kind.what for f in quick(tmp_path)] == ([finding.kind.what] if in_headers else [])


def raster(path: Path, array: np.ndarray, **options) -> None:
    """A GeoTIFF, or what the name ends in, of an array (bands, H, W)."""
    rasterio = pytest.importorskip("rasterio")
    count, height, width = array.shape
    shape = {"count": count, "height": height, "width": width, "dtype": array.dtype}
    driver = "PNG" if path.suffix == ".png" else "GTiff"
    with rasterio.open(path, "w", driver=driver, **shape, **options) as file:
        file.write(array)


RGB16 = {"photometric": "rgb"}


@pytest.mark.parametrize(
    ("name", "bands", "dtype", "options", "bits"),
    [
        ("s1.png", 1, "uint16", {}, 16),
        ("s1.png", 2, "uint16", {}, 16),
        ("s1.png", 3, "uint16", {}, 16),
        ("s1.png", 4, "uint16", {}, 16),
        ("s1.tif", 1, "uint16", {}, 16),
        ("s1.tif", 1, "int16", {}, 16),
        ("s1.tif", 1, "int32", {}, 32),
        ("s1.tif", 1, "float32", {}, 32),
        ("s1.tif", 3, "uint16", RGB16, 16),
        ("s1.tif", 3, "uint16", RGB16 | {"interleave": "band"}, 16),
        ("s1.tif", 3, "uint16", RGB16 | {"compress": "lzw"}, 16),
        ("s1.tif", 3, "uint16", RGB16 | {"compress": "deflate", "interleave": "band"}, 16),
        ("s1.tif", 4, "uint16", RGB16, 16),
    ],
)
@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_an_image_of_more_than_8_bits_is_an_error_with_the_way_out(
    name, bands, dtype, options, bits, tmp_path
):
    split = replace(SPLIT, image_extensions=("png", "tif"))
    lay_out(tmp_path)
    (tmp_path / "x/s1.png").unlink()
    values = np.random.default_rng(0).integers(0, 4000, (bands, *SHAPE)).astype(dtype)
    raster(tmp_path / "x" / name, values, **options)
    for findings in (check(tmp_path, split).findings, quick(tmp_path, split)):
        finding = one(findings, "more than 8 bits")
        assert finding.is_error and finding.files == ((str(tmp_path / "x" / name), f"{bits} bits"),)
        assert "gdal_translate -ot Byte -scale LOW HIGH 0 255" in finding.kind.cure
        assert "demo stretches by itself" in finding.kind.cure


def test_a_raster_that_the_reader_does_not_know_has_the_same_way_out(tmp_path):
    split = replace(SPLIT, image_extensions=("png", "tif"))
    lay_out(tmp_path)
    (tmp_path / "x/s1.png").unlink()
    raster(tmp_path / "x/s1.tif", np.zeros((7, *SHAPE), np.uint16))
    for findings in (check(tmp_path, split).findings, quick(tmp_path, split)):
        assert "gdal_translate -ot Byte -scale" in one(findings, "image cannot be read").kind.cure


@pytest.mark.parametrize("compress", ["none", "lzw"])
@pytest.mark.parametrize(
    ("bands", "photometric", "found"), [(2, "minisblack", "L of 2 bands"), (4, "rgb", "RGB of 4 bands")]
)
def test_bands_that_the_reader_passes_over_are_a_note(bands, photometric, found, compress, tmp_path):
    split = replace(SPLIT, image_extensions=("png", "tif"))
    lay_out(tmp_path)
    (tmp_path / "x/s1.png").unlink()
    values = np.random.default_rng(0).integers(0, 256, (bands, *SHAPE), np.uint8)
    raster(tmp_path / "x/s1.tif", values, photometric=photometric, compress=compress)
    for findings in (check(tmp_path, split).findings, quick(tmp_path, split)):
        finding = one(findings, "neither RGB nor gray")
        assert not finding.is_error and finding.files == ((str(tmp_path / "x/s1.tif"), found),)
        assert "the first one or three are taken" in finding.kind.cure


@pytest.mark.parametrize("options", [{}, {"interleave": "band"}, {"compress": "jpeg"}, {"compress": "lzw"}])
@pytest.mark.parametrize("bands", [1, 3])
def test_plain_8_bit_rasters_are_not_remarked_on(bands, options, tmp_path):
    split = replace(SPLIT, image_extensions=("png", "tif"))
    lay_out(tmp_path)
    (tmp_path / "x/s1.png").unlink()
    photometric = "rgb" if bands == 3 else "minisblack"
    raster(tmp_path / "x/s1.tif", np.full((bands, *SHAPE), 9, np.uint8), photometric=photometric, **options)
    assert check(tmp_path, split).findings == () and quick(tmp_path, split) == []


def test_extensions_in_another_case_are_a_note_for_published_sets(tmp_path):
    split = find_split("UDD5_all_sem_seg")
    lay_out(tmp_path, split)
    assert check(tmp_path, split).findings == ()
    (tmp_path / split.images / "s1.JPG").rename(tmp_path / split.images / "s1.jpg")
    finding = one(check(tmp_path, split).findings, "extensions in another case")
    assert finding.files[0][0].endswith("s1.jpg") and not finding.is_error


def test_a_copy_with_another_label_is_pointed_out(tmp_path):
    copied(lay_out(tmp_path))
    relabel(tmp_path, lambda ids: np.where(ids == 1, 2, ids).astype(np.uint8), ["s4"])
    assert one(check(tmp_path).findings, "copies").files[0][1] == "= s1.png, with another label"


def test_a_missing_folder_an_empty_one_and_two_files_of_a_stem_end_the_check_with_an_error(tmp_path):
    assert "Expected layout" in one(check(tmp_path).findings, "folder").kind.cure
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    assert one(check(tmp_path).findings, "no file *.png").is_error
    lay_out(tmp_path)
    shutil.copy(tmp_path / "x/s1.png", tmp_path / "x/s1.jpg")
    assert "s1.jpg, s1.png" in one(check(tmp_path).findings, "several files of one stem").kind.what


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), workers=st.integers(2, 5))
def test_any_number_of_workers_gives_the_same_report(seed, workers, tmp_path_factory):
    root = lay_out(tmp_path_factory.mktemp("set"))
    rng = np.random.default_rng(seed)
    damages = [damage for damage, *_ in FAULTS] + [palette_label, copied, other_file]
    for place in rng.choice(len(damages), 2):
        try:
            damages[place](root)
        except OSError:
            continue  # the file is damaged already
    serial = check_split(SPLIT, root, workers=1, progress=False)
    parallel = check_split(SPLIT, root, workers=workers, progress=False)
    assert serial == parallel and serial.render() == parallel.render()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.integers(0, 65535), min_size=1, max_size=50), wide=st.booleans())
def test_ids_are_counted_exactly_also_in_parts(values, wide, monkeypatch):
    ids = np.array(values, np.uint16) if wide else (np.array(values) % 256).astype(np.uint8)
    monkeypatch.setattr("rskt_seg.data.probe._CHUNK", 7)
    found = id_counts(ids.reshape(1, -1))
    assert found == {int(k): int((ids == k).sum()) for k in np.unique(ids)}


def test_ten_files_are_named_and_the_rest_is_counted_and_json_names_all(tmp_path):
    stems = [f"s{k:02}" for k in range(13)]
    lay_out(tmp_path, stems=stems)
    for stem in stems[:12]:
        Image.new("L", (7, 8)).save(tmp_path / f"y/{stem}.png")
    report = check(tmp_path)
    text = report.render()
    assert text.count("label 8x7, image 20x30") == 10 and "and 2 more" in text and "s10" not in text
    assert "and 2 more" in one(report.findings, "differ in size").line()
    (found,) = report.to_json()["findings"]
    assert [Path(f["path"]).stem for f in found["files"]] == stems[:12]
    assert json.loads(json.dumps(report.to_json())) == report.to_json()


def test_errors_stand_before_notes(tmp_path):
    palette_label(lay_out(tmp_path))
    relabel(tmp_path, lambda ids: np.full_like(ids, 9), ["s5"])
    lines = [line[:5] for line in check(tmp_path).render().splitlines() if line[:5] in ("ERROR", "note ")]
    assert lines == ["ERROR", "note "]


def test_the_quick_check_reads_headers_and_some_labels_only(tmp_path):
    stems = [f"s{k:03}" for k in range(2 * SAMPLE)]
    lay_out(tmp_path, stems=stems)
    for stem in stems:
        cut(tmp_path / f"x/{stem}.png")
    assert quick(tmp_path) == []
    relabel(tmp_path, lambda ids: np.full_like(ids, 9), stems)
    assert len(one(quick(tmp_path), "label ids outside").files) == SAMPLE
    assert (
        len(one([f for f in check(tmp_path).findings if "outside" in f.kind.what], "outside").files)
        == 2 * SAMPLE
    )


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


def test_names_stand_for_a_split_a_dataset_all_that_is_there_or_a_file(tmp_path):
    for name in ("DLRSD_val_sem_seg", "UDD5_all_sem_seg"):
        lay_out(tmp_path, find_split(name))

    def names(name: str) -> list[str]:
        return [split.name for split in select_splits(name, tmp_path, palette)]

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
        select_splits("all", tmp_path / "UDD5", palette)
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


def test_a_part_is_compared_with_others_once_whatever_its_labels_and_never_with_what_holds_it(tmp_path):
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


def test_a_list_of_the_table_is_there_where_its_first_and_last_image_are(tmp_path):
    def there(name: str) -> list[str]:
        return [split.split for split in select_splits(name, tmp_path, palette)]

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
def command(monkeypatch, capsys):
    """Runs datasets/check.py with some arguments: exit status, output, errors."""
    specification = importlib.util.spec_from_file_location("check_command", CHECK)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["check.py", *map(str, arguments)])
        try:
            status = run(module.main)
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return call


def test_the_command_exits_with_0_1_or_2_and_prints_what_it_found(command, tmp_path, monkeypatch):
    lay_out(tmp_path, find_split("UDD5_all_sem_seg"))
    status, out, _ = command("UDD5", "--root", tmp_path)
    assert status == 0 and "6 pairs, 5 classes, no error" in out and re.search(r"4 +Other +19\.", out)
    mark = fingerprint(pairs(find_split("UDD5_all_sem_seg"), tmp_path), progress=False)
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
    lines = re.findall(
        r"^python datasets/check\.py (.*?)(?: +#.*)?$", README.read_text(encoding="utf-8"), re.M
    )
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
