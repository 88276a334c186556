"""Checking a dataset: notes, rasters of other kinds, and reports."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.data.catalog import find_split
from rskt_seg.data.checking.check import check_split
from rskt_seg.data.labels import id_counts
from tests.data.checking.checked import (
    FAULTS,
    SHAPE,
    SPLIT,
    check,
    lay_out,
    one,
    quick,
    relabel,
)


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
def test_what_is_unusual_but_not_wrong_is_a_note(damage, what, line, in_headers, tmp_path):
    damage(lay_out(tmp_path))
    report = check(tmp_path)
    finding = one(report.findings, what)
    assert report.ok and not finding.is_error and report.fingerprint is not None
    assert re.search(line, finding.line()), finding.line()
    assert [f.kind.what for f in quick(tmp_path)] == ([finding.kind.what] if in_headers else [])


def raster(path: Path, array: np.ndarray, **options) -> None:
    """Write an array (bands, H, W) as GeoTIFF, or PNG by the extension."""
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
def test_an_image_of_more_than_8_bits_is_an_error_with_its_cure(name, bands, dtype, options, bits, tmp_path):
    split = replace(SPLIT, image_extensions=("png", "tif"))
    lay_out(tmp_path)
    (tmp_path / "x/s1.png").unlink()
    values = np.random.default_rng(0).integers(0, 4000, (bands, *SHAPE)).astype(dtype)
    raster(tmp_path / "x" / name, values, **options)
    for findings in (check(tmp_path, split).findings, quick(tmp_path, split)):
        finding = one(findings, "not unsigned 8-bit")
        assert finding.is_error and finding.files == ((str(tmp_path / "x" / name), f"{bits} bits"),)
        assert "gdal_translate -ot Byte -scale LOW HIGH 0 255" in finding.kind.cure
        assert "rskt-seg segment stretches by itself" in finding.kind.cure


def test_a_raster_that_pillow_cannot_read_has_the_same_cure(tmp_path):
    split = replace(SPLIT, image_extensions=("png", "tif"))
    lay_out(tmp_path)
    (tmp_path / "x/s1.png").unlink()
    raster(tmp_path / "x/s1.tif", np.zeros((7, *SHAPE), np.uint16))
    for findings in (check(tmp_path, split).findings, quick(tmp_path, split)):
        assert "gdal_translate -ot Byte -scale" in one(findings, "not unsigned 8-bit integers").kind.cure


@pytest.mark.parametrize("compress", ["none", "lzw"])
@pytest.mark.parametrize(
    ("bands", "photometric", "found"), [(2, "minisblack", "L of 2 bands"), (4, "rgb", "RGB of 4 bands")]
)
def test_bands_that_are_not_read_are_a_note(bands, photometric, found, compress, tmp_path):
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
def test_plain_8_bit_rasters_have_no_finding(bands, options, tmp_path):
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


@settings(max_examples=10)
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
def test_ids_are_counted_exactly_also_in_chunks(values, wide, monkeypatch):
    ids = np.array(values, np.uint16) if wide else (np.array(values) % 256).astype(np.uint8)
    monkeypatch.setattr("rskt_seg.data.labels._CHUNK", 7)
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
