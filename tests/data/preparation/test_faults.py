"""One broken download for each known fault: the message, and that no set is completed."""

import fcntl
import os
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.commands.prepare import main as command
from rskt_seg.data.preparation import Options, prepare
from rskt_seg.data.preparation.windows import Tiling
from rskt_seg.errors import DatasetError, LabelError, RSKTSegError
from rskt_seg.windows import tile_stem
from tests.data.preparation.official import OFFICIAL, numbers, photograph, prepare_quietly, zipped

SAMPLES = os.environ.get("RSKT_SEG_SAMPLES")


def labels_below(root: Path) -> list[str]:
    return sorted(p.name for p in root.rglob("*.png"))


def gray_label(src: Path) -> None:
    numbers(src / "train/Semantic_masks/images/P0002_instance_color_RGB.png", 15, (300, 470))


def palette_lost(src: Path) -> None:
    numbers(src / "DLRSD/Images/airplane/airplane03.png", 17, (32, 32), shift=1)


def twins(src: Path) -> None:
    (src / "VDD/val/src/DJI_0001.JPG").rename(src / "VDD/val/src/DJI_0000.JPG")
    (src / "VDD/val/gt/DJI_0001.png").rename(src / "VDD/val/gt/DJI_0000.png")


def same_size_other_content(src: Path) -> None:
    original = src / "2_Ortho_RGB/top_potsdam_2_10_RGB.tif"
    content = bytearray(original.read_bytes())
    content[len(content) // 2] ^= 255
    (src / "again").mkdir()
    (src / "again/top_potsdam_2_10_RGB.tif").write_bytes(content)


def lowered_before(src: Path) -> None:
    label = src / "Train/Urban/masks_png/1366.png"
    Image.fromarray(np.full((40, 40), 255, np.uint8)).save(label)


def no_label(src: Path) -> None:
    (src / "uavid_train/seq1/Labels/000100.png").unlink()


def no_image(src: Path) -> None:
    (src / "2_Ortho_RGB/top_potsdam_7_7_RGB.tif").unlink()


def other_size(src: Path) -> None:
    photograph(src / "VDD/val/src/DJI_0001.JPG", (40, 30))


def cut_image(src: Path) -> None:
    path = src / "top/top_mosaic_09cm_area38.tif"
    path.write_bytes(path.read_bytes()[:20_000])


def cut_label(src: Path) -> None:
    path = src / "UDD/UDD5/val/gt/DJI_0002.png"
    path.write_bytes(path.read_bytes()[:60])


def foreign_colour(src: Path) -> None:
    path = src / "gts_eroded/top_mosaic_09cm_area1_noBoundary.tif"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, :7] = (6, 0, 0)
    Image.fromarray(pixels).save(path)


def id_too_high(src: Path) -> None:
    Image.fromarray(np.full((30, 40), 7, np.uint8)).save(src / "VDD/test/gt/DJI_0002.png")


def no_part(src: Path) -> None:
    (src / "uavid_val").rename(src / "somewhere")


def twice(src: Path) -> None:
    photograph(src / "again/2_Ortho_RGB/top_potsdam_2_10_RGB.tif", (600, 600))


def sixteen_bits(src: Path) -> None:
    pixels = np.full((512, 600), 9000, np.uint16)
    Image.fromarray(pixels).save(src / "top/top_mosaic_09cm_area38.tif")


FAULTS = {
    "a gray mask where colours belong": (
        "iSAID",
        gray_label,
        LabelError,
        r"P0002_instance.*converted to ids",
    ),
    "a label that lost its palette": (
        "DLRSD",
        palette_lost,
        LabelError,
        r"airplane03\.png: expected a palette file",
    ),
    "a label lowered before": (
        "LoveDA",
        lowered_before,
        LabelError,
        r"1366\.png: .*official ids 0\.\.7.*255",
    ),
    "an image without label": (
        "UAVid",
        no_label,
        DatasetError,
        "1 images without a label: train/seq1_000100",
    ),
    "a label without image": (
        "Potsdam",
        no_image,
        DatasetError,
        "labels without an image: train/top_potsdam_7_7",
    ),
    "another size": ("VDD", other_size, DatasetError, r"DJI_0001\.JPG is 40x30 but its label .* is 30x40"),
    "a cut image": ("Vaihingen", cut_image, DatasetError, r"area38\.tif cannot be read as an image"),
    "a cut label": ("UDD5", cut_label, LabelError, r"DJI_0002\.png: the label cannot be read"),
    "an unknown colour": ("Vaihingen", foreign_colour, LabelError, r"area1_noB.*7 of .*\(6, 0, 0\) \(7 px\)"),
    "an id of no class": ("VDD", id_too_high, LabelError, r"DJI_0002\.png: found ids 7 \(1200 px\)"),
    "a part that no folder tells": ("UAVid", no_part, DatasetError, r"somewhere.*\(train, val, test\)"),
    "two files for one image": (
        "Potsdam",
        twice,
        DatasetError,
        "would both become top_potsdam_2_10, and differ",
    ),
    "one name in two parts": ("VDD", twins, DatasetError, "would both become DJI_0000 of all"),
    "two versions of one size": (
        "Potsdam",
        same_size_other_content,
        DatasetError,
        "would both become top_potsdam_2_10, and differ",
    ),
    "16 bits": (
        "Vaihingen",
        sixteen_bits,
        DatasetError,
        r"area38\.tif: an 8-bit image was expected, found I;16",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_download_is_refused_with_its_file_and_the_reason(fault, tmp_path):
    name, spoil, kind, message = FAULTS[fault]
    OFFICIAL[name](tmp_path / "src")
    spoil(tmp_path / "src")
    with pytest.raises(kind, match=message):
        prepare_quietly(name, tmp_path / "src", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("prepare.json"))


def test_unknown_colours_within_the_tolerance_are_ignored_and_counted(tmp_path):
    OFFICIAL["Vaihingen"](tmp_path / "src")
    foreign_colour(tmp_path / "src")
    share = 7 / (530 * 520)
    with pytest.raises(LabelError, match="at most"):
        prepare_quietly("Vaihingen", tmp_path / "src", tmp_path / "out", tolerance=share * 0.99)
    summary = prepare_quietly("Vaihingen", tmp_path / "src", tmp_path / "other", tolerance=share)
    assert summary.unknown == {(6, 0, 0): 7}
    assert "(6, 0, 0) (7 px)" in str(summary)
    with pytest.raises(DatasetError, match=r"a share of 0\.\.1; found 5"):
        Options(tolerance=5)


def test_unpaired_files_are_left_out_only_on_request(tmp_path):
    OFFICIAL["UAVid"](tmp_path / "src")
    no_label(tmp_path / "src")
    summary = prepare_quietly("UAVid", tmp_path / "src", tmp_path / "out", allow_missing=True)
    assert summary.images == 5
    assert any("left out: 1 images without a label: train/seq1_000100" in note for note in summary.notes)


def test_a_set_of_lowered_ids_is_distinguished_from_official_ids(tmp_path):
    for number in range(24):
        folder = tmp_path / "src/Train/Rural"
        photograph(folder / f"images_png/{number}.png", (20, 20))
        numbers(folder / f"masks_png/{number}.png", 7, (20, 20))
    with pytest.raises(
        DatasetError, match=r"the official id 7 \(Agriculture\) was expected.*converted already"
    ):
        prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out")
    assert labels_below(tmp_path) == labels_below(tmp_path / "src")


def test_a_prepared_set_is_not_taken_for_a_download(tmp_path):
    OFFICIAL["VDD"](tmp_path / "src")
    prepare_quietly("VDD", tmp_path / "src", tmp_path / "out")
    with pytest.raises(DatasetError, match="in place already"):
        prepare_quietly("VDD", tmp_path / "out", tmp_path / "out")


def test_a_source_without_the_dataset_says_what_to_download(tmp_path):
    photograph(tmp_path / "src/cat.png", (8, 8))
    with pytest.raises(DatasetError, match=r"none of the 1 files .*Download Train\.zip and Val\.zip"):
        prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out")
    with pytest.raises(DatasetError, match="did you mean Potsdam"):
        prepare_quietly("Postdam", tmp_path / "src", tmp_path / "out")
    with pytest.raises(DatasetError, match="does not exist"):
        prepare_quietly("LoveDA", tmp_path / "nowhere", tmp_path / "out")


def archive_with(path: Path, name: str, mode: int = 0, flag: int = 0) -> Path:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(info, b"evil")
    if flag:
        content = bytearray(path.read_bytes())
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            at = content.index(signature) + offset
            content[at : at + 2] = struct.pack("<H", flag)
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "flag", "message"),
    [
        ("../../Train/Urban/masks_png/1.png", 0, 0, "a path that leads outside"),
        ("/etc/masks_png/1.png", 0, 0, "a path that leads outside"),
        ("C:/Train/Urban/masks_png/1.png", 0, 0, "a path that leads outside"),
        ("Train/Urban/masks_png/1.png", 0o120777, 0, "a link"),
        ("Train/Urban/masks_png/1.png", 0, 1, "is encrypted"),
    ],
)
def test_an_archive_that_reaches_out_of_itself_is_refused(name, mode, flag, message, tmp_path):
    archive = archive_with(tmp_path / "Train.zip", name, mode, flag)
    with pytest.raises(DatasetError, match=message):
        prepare_quietly("LoveDA", archive, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["Train.zip"]


def test_archives_that_cannot_be_read_are_named(tmp_path):
    OFFICIAL["LoveDA"](tmp_path / "src")
    archive = zipped(tmp_path / "src", tmp_path / "zips/Train.zip")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"Train\.zip is not a complete zip archive"):
        prepare_quietly("LoveDA", tmp_path / "zips", tmp_path / "out")
    archive.write_bytes(whole)
    (tmp_path / "zips/Val.rar").write_bytes(b"Rar!")
    summary = prepare_quietly("LoveDA", tmp_path / "zips", tmp_path / "out")
    assert any(re.search(r"not read.*Val\.rar", note) for note in summary.notes)
    (tmp_path / "zips/Val.rar").rename(tmp_path / "zips/Train.z01")
    with pytest.raises(DatasetError, match=r"several volumes .*zip -s 0 Train\.zip"):
        prepare_quietly("LoveDA", tmp_path / "zips", tmp_path / "out")
    (tmp_path / "zips/Train.z01").rename(tmp_path / "zips/Other.zip.002")
    with pytest.raises(DatasetError, match="its first volume is not beside it"):
        prepare_quietly("LoveDA", tmp_path / "zips", tmp_path / "out")


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([(256, 206), (512, 512), (40, 7)]))
def test_windows_cover_everything_and_stay_inside(height, width, sizes):
    size, stride = sizes
    windows = Tiling(size, stride).windows(height, width)
    seen = np.zeros((height, width), bool)
    for window in windows:
        assert 0 <= window.top < window.bottom <= height and 0 <= window.left < window.right <= width
        assert window.bottom - window.top == min(size, height)
        assert window.right - window.left == min(size, width)
        seen[window.slices] = True
    assert seen.all() and len(set(windows)) == len(windows)


def test_windows_are_those_of_the_published_isaid_names():
    tiling = Tiling(256, 206)
    large = tiling.windows(2086, 2557)
    assert {(2266, 2522), (2301, 2557)} <= {(w.left, w.right) for w in large}
    small = tiling.windows(1023, 1147)
    assert sorted({w.top for w in small}) == [0, 206, 412, 618, 767]
    assert sorted({w.left for w in small}) == [0, 206, 412, 618, 824, 891]
    names = [tile_stem("P0003", window) for window in small]
    assert "P0003_767_1023_618_874" in names


def test_folders_of_other_datasets_do_not_hide_a_dataset(tmp_path):
    OFFICIAL["VDD"](tmp_path / "UDD_and_VDD")
    OFFICIAL["UDD5"](tmp_path / "UDD_and_VDD")
    for name, count in (("VDD", 3), ("UDD5", 3)):
        assert prepare_quietly(name, tmp_path / "UDD_and_VDD", tmp_path / "out").images == count
    archive = zipped(tmp_path / "UDD_and_VDD/UDD", tmp_path / "UDD5_UDD6.zip", prefix="UDD/")
    assert prepare_quietly("UDD5", archive, tmp_path / "other").images == 3


def test_a_set_is_prepared_by_one_process_at_a_time_into_a_folder(tmp_path):
    OFFICIAL["VDD"](tmp_path / "src")
    prepare_quietly("VDD", tmp_path / "src", tmp_path / "out")
    with open(tmp_path / "out/VDD/prepare.jsonl", "a") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        with pytest.raises(DatasetError, match="is in use"):
            prepare_quietly("VDD", tmp_path / "src", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="is not a folder"):
        prepare_quietly("VDD", tmp_path / "src", tmp_path / "file")
    with pytest.raises(DatasetError, match="at least one worker"):
        prepare("VDD", [tmp_path / "src"], tmp_path / "out", workers=0)
    (tmp_path / "src/VDD/train/src/link.JPG").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="broken link"):
        prepare_quietly("VDD", tmp_path / "src", tmp_path / "out")


def test_a_journal_never_reaches_out_of_the_folders_of_its_set(tmp_path):
    OFFICIAL["VDD"](tmp_path / "src")
    prepare_quietly("VDD", tmp_path / "src", tmp_path / "out")
    theirs = tmp_path / "precious"
    theirs.write_text("mine")
    with open(tmp_path / "out/VDD/prepare.jsonl", "a") as journal:
        journal.write('{"part": "train", "stem": "x", "begun": ["VDD/src/../../../precious"]}\n')
    with pytest.raises(DatasetError, match="which is outside the folders of this set"):
        prepare_quietly("VDD", tmp_path / "src", tmp_path / "out", overwrite=True)
    assert theirs.read_text() == "mine"


def test_the_command_prepares_below_the_root_of_the_environment(tmp_path, monkeypatch, capsys):
    OFFICIAL["UDD5"](tmp_path / "src")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "root"))
    assert command(["udd5", str(tmp_path / "src"), "--dry-run"]) == 0
    assert "would write UDD5/all/src" in capsys.readouterr().out
    assert not (tmp_path / "root").exists()
    assert command(["udd5", str(tmp_path / "src")]) == 0
    assert "UDD5: 3 images" in capsys.readouterr().out
    assert len(list((tmp_path / "root/UDD5/all/gt").iterdir())) == 3
    assert command(["udd5", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "does not exist" in error


@pytest.mark.skipif(SAMPLES is None, reason="RSKT_SEG_SAMPLES names no folder of real samples")
def test_real_samples_in_their_official_places_are_prepared(tmp_path):
    samples = Path(SAMPLES)
    folder = tmp_path / "isaid/val"
    for kind, name in (("images", "P0005.png"), ("Semantic_masks", "P0005_instance_color_RGB.png")):
        (folder / kind).mkdir(parents=True)
        (folder / kind / name).write_bytes((samples / "isaid" / name).read_bytes())
    summary = prepare_quietly("iSAID", tmp_path / "isaid", tmp_path / "out", keep_empty=True)
    assert (summary.windows, summary.unknown) == (5 * 5, {})
    land = tmp_path / "loveda/Train/Rural"
    for kind, name in (("images_png", "0.png"), ("masks_png", "0_label.png")):
        (land / kind).mkdir(parents=True)
        (land / kind / "0.png").write_bytes((samples / "loveda" / name).read_bytes())
    summary = prepare_quietly("LoveDA", tmp_path / "loveda", tmp_path / "out")
    assert summary.pixels == {0: 142441, 1: 14427, 2: 19208, 3: 3888, 6: 868612}
    drone = tmp_path / "udd/UDD5/train"
    (drone / "gt").mkdir(parents=True)
    mask = samples / "udd/DJI_0627_mask_udd6_colours.png"
    (drone / "gt/DJI_0627.png").write_bytes(mask.read_bytes())
    photograph(drone / "src/DJI_0627.JPG", (750, 1000))
    with pytest.raises(RSKTSegError, match=r"colours of no class: .*\(70, 70, 70\)"):
        prepare_quietly("UDD5", tmp_path / "udd", tmp_path / "out")
