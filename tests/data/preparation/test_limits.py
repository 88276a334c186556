"""A download asks for what the machine has, or it is refused in one line before anything is written."""

import io
import os
import shutil
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from rskt_seg.commands.prepare import main as command
from rskt_seg.data.preparation import Download, Limits
from rskt_seg.data.preparation.zips import count_entries
from rskt_seg.errors import DatasetError
from tests.data.preparation.official import OFFICIAL, prepare_quietly, zipped

MASK = "Train/Urban/masks_png/1.png"


def packed(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    """Return a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as out:
        out.comment = comment
        for name, content in members:
            out.writestr(name, content)
    return buffer.getvalue()


def claiming(archive: bytes, size: int) -> bytes:
    """Forge the size that the directory of an archive states for its first member."""
    at = archive.index(b"PK\x01\x02") + 24
    return archive[:at] + struct.pack("<I", size) + archive[at + 4 :]


def nested(levels: int) -> bytes:
    """Return an archive in an archive in an archive ..."""
    content = packed((MASK, b"x"))
    for _ in range(levels - 1):
        content = packed(("inner.zip", content), method=zipfile.ZIP_STORED)
    return content


def files_below(root: Path) -> list[str]:
    return sorted(p.name for p in root.rglob("*") if p.is_file())


def stored(size: int) -> bytes:
    return packed((MASK, bytes(size)), method=zipfile.ZIP_STORED)


OVER = {
    "unpacked_gb": (
        packed(("a.txt", bytes(600)), (MASK, bytes(500))),
        1e-6,
        r"GB of the download.*0\.000001",
    ),
    "ratio": (packed((MASK, bytes(10_000))), 200, r"'Train/Urban/masks_png/1\.png' expands by a factor of"),
    "files": (packed(*((f"{i}.txt", b"") for i in range(12))), 11, r"files and folders .* 1[23], limit 11"),
    "archive_depth": (nested(4), 3, r"/inner\.zip/inner\.zip/inner\.zip lies in archives: 4"),
    "folder_depth": (packed(("a/" * 9 + "1.png", b"x")), 8, r"a/1\.png' lies in folders: 9"),
}


@pytest.mark.parametrize("name", OVER)
def test_an_archive_over_a_limit_is_refused_with_the_option_and_read_where_the_option_allows_it(
    name, tmp_path
):
    content, limit, message = OVER[name]
    (tmp_path / "Train.zip").write_bytes(content)
    download = Download([tmp_path / "Train.zip"], limits=Limits(**{name: limit}))
    with pytest.raises(DatasetError, match=rf"Train\.zip.*{message}.*--limit {name}=NUMBER"), download:
        pass
    with Download([tmp_path / "Train.zip"], limits=Limits(**{name: limit * 2})) as download:
        assert download.members


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (claiming(stored(9), 4_000_000_000), "1.png' expands by a factor of 444,444,444"),
        (packed((MASK, bytes(10_000_000)), method=zipfile.ZIP_LZMA), "expands by a factor of"),
        (packed((MASK, bytes(50_000_000)), method=zipfile.ZIP_BZIP2), "expands by a factor of"),
        (nested(1200), "lies in archives: 6, limit 5"),
        (packed(("a/" * 3000 + "1.png", b"x")), "lies in folders: 3,000, limit 64"),
    ],
)
def test_a_bomb_is_refused_in_one_line_and_leaves_nothing(content, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src/Train.zip").write_bytes(content)
    assert command(["LoveDA", str(tmp_path / "src"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and "--limit" in error and error.count("\n") == 1
    assert files_below(tmp_path) == ["Train.zip"]


def test_a_damaged_archive_of_a_level_is_found_before_the_next_level_is_unpacked(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(packed(("inner.zip", packed((MASK, b"x")))))
    (tmp_path / "b.zip").write_bytes(packed((MASK, bytes(10_000_000)), method=zipfile.ZIP_LZMA))
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: pytest.fail("a folder was made"))
    with pytest.raises(DatasetError, match=r"b\.zip.*expands"), Download([tmp_path]):
        pass


def test_archives_in_archives_are_unpacked_only_where_there_is_room_for_all(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(packed(("inner.zip", nested(1))))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with (
        pytest.raises(DatasetError, match=r"a\.zip/inner\.zip.*GB are free; set TMPDIR"),
        Download([tmp_path]),
    ):
        pass
    monkeypatch.undo()
    with Download([tmp_path]) as download:
        assert [member.path.split("/", 2)[2] for member in download.members] == [f"inner.zip/{MASK}"]


@pytest.mark.parametrize("packing", ["folder", "zip"])
def test_an_image_too_large_for_memory_is_refused_before_anything_is_written(packing, tmp_path, capsys):
    OFFICIAL["VDD"](tmp_path / "src")
    with open(tmp_path / "src/VDD/train/src/DJI_0000.JPG", "r+b") as file:
        file.truncate(3_000_000)
    source = tmp_path / "src" if packing == "folder" else zipped(tmp_path / "src", tmp_path / "VDD.zip")
    line = [str(source), str(tmp_path / "out"), "--limit", "file_gb=0.002"]
    assert command(["VDD", *line]) == command(["VDD", *line, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert r"DJI_0000.JPG: GB of this file, which is read as a whole: 0.003, limit 0.002" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_files_of_every_method_arrive_whole(method, tmp_path):
    content = os.urandom(100_000) * 10
    (tmp_path / "a.zip").write_bytes(packed((MASK, content), method=method))
    with Download([tmp_path]) as download:
        assert download.read(download.members[0]) == content


@pytest.mark.parametrize("comment", [b"", b"a comment", b"PK\x05\x06", b"\0" * 65535])
@pytest.mark.parametrize("large", [False, True])
def test_entries_are_counted_as_zipfile_lists_them(comment, large, tmp_path, monkeypatch):
    if large:
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 10)  # from here on zipfile writes zip64 records
    archive = tmp_path / "a.zip"
    archive.write_bytes(packed(*((f"{i}.txt", b"x") for i in range(30)), comment=comment))
    try:
        with zipfile.ZipFile(archive) as opened:
            expected = len(opened.infolist())
    except zipfile.BadZipFile:
        expected = 0  # the comment is taken for the last record
    assert count_entries(archive, 1000) == expected
    assert count_entries(archive, 5) == min(expected, 6)


def test_folders_that_contain_themselves_through_links_are_named(tmp_path):
    inner = tmp_path / "src/a/b"
    inner.mkdir(parents=True)
    (inner / "loop").symlink_to(tmp_path / "src/a", target_is_directory=True)
    with pytest.raises(DatasetError, match=r"a/b/loop is a link to a folder that contains it"):
        prepare_quietly("LoveDA", tmp_path / "src", tmp_path / "out")
    (inner / "loop").unlink()
    (tmp_path / "src/again").symlink_to(tmp_path / "src/a", target_is_directory=True)
    (inner / "1.png").write_bytes(b"x")
    with Download([tmp_path / "src"]) as download:  # links that lead nowhere twice are followed
        assert [member.path for member in download.members] == ["src/a/b/1.png", "src/again/b/1.png"]


def test_links_that_multiply_folders_end_at_a_limit(tmp_path):
    (tmp_path / "src/30").mkdir(parents=True)
    for level in range(30):
        (tmp_path / f"src/{level}").mkdir()
        for name in "ab":
            (tmp_path / f"src/{level}/{name}").symlink_to(tmp_path / f"src/{level + 1}")
    download = Download([tmp_path / "src/0"], limits=Limits(files=2000))
    with pytest.raises(DatasetError, match=r"files and folders.*limit 2,000.*--limit files="), download:
        pass


@pytest.mark.parametrize(("kind", "what"), [(0o120777, "a link"), (0o020666, "a device"), (0o010666, "pipe")])
def test_links_and_devices_in_archives_are_refused(kind, what, tmp_path):
    info = zipfile.ZipInfo(MASK)
    info.external_attr = kind << 16
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as out:
        out.writestr(info, b"/etc/passwd")
    with pytest.raises(DatasetError, match=rf"Train\.zip contains .*{what}.*1\.png"), Download([tmp_path]):
        pass


def test_a_member_without_a_name_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as out:
        out.writestr(zipfile.ZipInfo(""), b"what is this")
    with pytest.raises(DatasetError, match=r"Train\.zip has a member without a name"), Download([tmp_path]):
        pass


@pytest.mark.parametrize(
    "text", ["unpacked_gb", "unpacked_gb=", "gb=3", "files=many", "files=0", "ratio=nan"]
)
def test_a_limit_that_is_none_is_refused_with_those_that_are(text):
    with pytest.raises(DatasetError, match=r"NAME=NUMBER with unpacked_gb, file_gb|must be above 0"):
        Limits.parse([text])
    assert Limits.parse(["files=7", "ratio=2.5"]) == Limits(files=7, ratio=2.5)


def test_a_member_that_expands_to_more_than_it_states_takes_little_memory(tmp_path):
    content = packed((MASK, bytes(120_000_000)), method=zipfile.ZIP_LZMA)
    (tmp_path / "a.zip").write_bytes(claiming(content, 9))
    tracemalloc.start()
    try:
        with Download([tmp_path]) as download, pytest.raises(DatasetError, match=r"1\.png cannot be read"):
            download.read(download.members[0])
        assert tracemalloc.get_traced_memory()[1] < 100_000_000  # zipfile hands lzma 4 kB at a time
    finally:
        tracemalloc.stop()
