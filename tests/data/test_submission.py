"""The zip file for LoveDA's test server: whole, scorable, resumed, and never over another file."""

import os
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data import submission
from rskt_seg.data.class_sets import LOVEDA
from rskt_seg.data.submission import TEST_IDS, check_classes, find_test_images, write_submission
from rskt_seg.errors import ConfigError, DatasetError, DatasetNotFoundError, ImageReadError, LabelError

ABOUT = {"weights": "ab", "tta": "none"}
IDS = (4191, 4200, 5986)


@pytest.fixture
def images(tmp_path) -> dict[int, Path]:
    """A few test images in the official folders."""
    for number, area in zip(IDS, ("Rural", "Urban", "Urban"), strict=True):
        path = tmp_path / "Test" / area / "images_png" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1024, 1024), (number % 256, 0, 0)).save(path)
    return find_test_images(tmp_path / "Test", allow_missing=True)


def labels_of(path: Path) -> np.ndarray:
    """A stand-in for a model: ids that tell the image."""
    labels = np.zeros((1024, 1024), np.uint8)
    labels[: int(path.stem) - 4190, :7] = np.arange(7)
    return labels


def contents(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: np.asarray(Image.open(BytesIO(archive.read(name)))) for name in archive.namelist()}


def test_the_file_has_a_plain_png_of_ids_for_every_image_and_no_folder(images, tmp_path):
    work = write_submission(images, labels_of, tmp_path / "s.zip", ABOUT)
    found = contents(tmp_path / "s.zip")
    assert list(found) == [f"{number}.png" for number in IDS]
    for number, path in images.items():
        array = found[f"{number}.png"]
        assert array.dtype == np.uint8 and array.shape == (1024, 1024)
        assert (array == labels_of(path)).all()
    assert work == tmp_path / "s_parts"
    assert not list(tmp_path.rglob("*.part"))


def test_the_same_predictions_make_the_same_bytes_whenever_they_were_made(images, tmp_path):
    work = write_submission(images, labels_of, tmp_path / "a.zip", ABOUT)
    os.utime(work / "4200.png", (10**9, 10**9))
    write_submission(images, labels_of, tmp_path / "b.zip", ABOUT, work)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_complete_test_part_is_1796_images_and_a_part_must_be_asked_for(tmp_path):
    for number in TEST_IDS:
        (tmp_path / f"{number}.png").touch()
    assert len(find_test_images(tmp_path)) == len(TEST_IDS) == 1796
    (tmp_path / "4300.png").unlink()
    (tmp_path / "5000.png").unlink()
    with pytest.raises(DatasetError, match=r"2 of 1796 test images are missing: 4300, 5000; .*--part"):
        find_test_images(tmp_path)
    assert len(find_test_images(tmp_path, allow_missing=True)) == 1794


def test_images_are_found_in_the_official_folders_and_in_the_order_of_their_ids(images):
    assert tuple(images) == IDS
    assert images[4200].parent.parent.name == "Urban"


def test_names_that_are_no_test_ids_and_repeated_ids_are_told(images, tmp_path):
    folder = tmp_path / "Test"
    for wrong in ("4190.png", "04191.png", "picture.png"):
        path = folder / "Rural" / "images_png" / wrong
        path.touch()
        with pytest.raises(DatasetError, match=f"named 4191.png to 5986.png; found {wrong}"):
            find_test_images(folder, allow_missing=True)
        path.unlink()
    (folder / "Urban" / "images_png" / "4191.png").touch()
    with pytest.raises(DatasetError, match="several images have one id: 4191"):
        find_test_images(folder, allow_missing=True)


def test_a_folder_without_images_is_told_with_the_layout(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DatasetNotFoundError, match=r"Urban/images_png.*unpacked LoveDA/Test"):
            find_test_images(folder)


def test_an_interrupted_run_goes_on_and_predicts_only_what_is_left(images, tmp_path):
    calls = []

    def stops(path: Path) -> np.ndarray:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(path.stem)
        return labels_of(path)

    with pytest.raises(KeyboardInterrupt):
        write_submission(images, stops, tmp_path / "s.zip", ABOUT)
    assert not (tmp_path / "s.zip").exists()
    calls.clear()
    write_submission(images, stops, tmp_path / "s.zip", ABOUT)
    assert calls == ["5986"]
    write_submission(images, labels_of, tmp_path / "whole.zip", ABOUT)
    assert (tmp_path / "s.zip").read_bytes() == (tmp_path / "whole.zip").read_bytes()


def test_predictions_of_other_weights_are_not_mixed_in(images, tmp_path):
    work = write_submission(images, labels_of, tmp_path / "a.zip", ABOUT)
    with pytest.raises(ConfigError, match="holds predictions of other weights or settings"):
        write_submission(images, labels_of, tmp_path / "b.zip", ABOUT | {"weights": "cd"}, work)
    full = tmp_path / "full"
    full.mkdir()
    (full / "4191.png").touch()
    with pytest.raises(ConfigError, match="or something else"):
        write_submission(images, labels_of, tmp_path / "b.zip", ABOUT, full)
    assert not (tmp_path / "b.zip").exists()


def test_nothing_is_overwritten_and_nothing_is_predicted_for_nothing(images, tmp_path):
    output = tmp_path / "s.zip"
    output.write_bytes(b"mine")
    with pytest.raises(ConfigError, match="exists and is not overwritten"):
        write_submission(images, pytest.fail, output, ABOUT)
    assert output.read_bytes() == b"mine"
    with pytest.raises(ConfigError, match=r"must end in \.zip"):
        write_submission(images, pytest.fail, tmp_path / "s.tar", ABOUT)

    def meanwhile(path: Path) -> np.ndarray:
        (tmp_path / "t.zip").write_bytes(b"mine")
        return labels_of(path)

    with pytest.raises(ConfigError, match="exists"):
        write_submission(images, meanwhile, tmp_path / "t.zip", ABOUT)
    assert (tmp_path / "t.zip").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((1024, 1024), 7, np.uint8), r"4191\.png: the server takes ids 0\.\.6; predicted 7"),
        (np.full((1024, 1024), 255, np.uint8), "255 is where an image has no data"),
        (np.zeros((512, 512), np.uint8), r"\(1024, 1024\) from the model, found \(512, 512\)"),
        (np.zeros((1024, 1024), np.float32), "float32"),
    ],
)
def test_what_the_server_cannot_score_is_an_error_and_leaves_no_file(images, tmp_path, labels, message):
    with pytest.raises(LabelError, match=message):
        write_submission(images, lambda _: labels, tmp_path / "s.zip", ABOUT)
    assert not (tmp_path / "s.zip").exists()


def test_an_image_of_another_size_or_none_is_told(images, tmp_path):
    Image.new("RGB", (512, 1024)).save(images[4200])
    with pytest.raises(ImageReadError, match=r"4200\.png: test images have 1024 x 1024 px; found 512 x 1024"):
        write_submission(images, labels_of, tmp_path / "s.zip", ABOUT)
    images[4200].write_bytes(b"no image")
    with pytest.raises(ImageReadError, match=r"4200\.png cannot be read as an image"):
        write_submission(images, labels_of, tmp_path / "s.zip", ABOUT)
    images[4200].write_bytes(endless())
    with pytest.raises(ImageReadError, match=r"4200\.png cannot be read as an image: .*exceeds limit"):
        write_submission(images, labels_of, tmp_path / "s.zip", ABOUT)


def endless() -> bytes:
    """A PNG of a few bytes that declares more pixels than Pillow opens."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("mode", ["RGB", "P", "damaged", "endless"])
def test_a_png_that_was_changed_in_the_work_folder_is_not_packed(images, tmp_path, mode):
    work = write_submission(images, labels_of, tmp_path / "a.zip", ABOUT)
    if mode == "damaged":
        (work / "4200.png").write_bytes((work / "4200.png").read_bytes()[:60])
    elif mode == "endless":
        (work / "4200.png").write_bytes(endless())
    else:
        Image.new(mode, (1024, 1024)).save(work / "4200.png")
    with pytest.raises(LabelError, match=r"4200\.png is not a single-channel PNG"):
        write_submission(images, labels_of, tmp_path / "b.zip", ABOUT, work)
    assert not (tmp_path / "b.zip").exists() and not list(tmp_path.rglob("*.part"))


def test_a_model_of_other_classes_or_another_order_is_refused():
    check_classes(LOVEDA.names)
    for names in (LOVEDA.names[::-1], LOVEDA.names[:6], ("no-data", *LOVEDA.names)):
        with pytest.raises(ConfigError, match=r"Background, .*, Agriculture, in this order"):
            check_classes(names)


def test_the_ids_are_those_after_the_labelled_parts():
    assert (TEST_IDS[0], TEST_IDS[-1], submission.SIDE) == (4191, 5986, 1024)
