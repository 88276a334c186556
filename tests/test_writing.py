"""Files that are written whole or not at all."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from rskt_seg.errors import DiskFullError
from rskt_seg.writing import naming_full_disk, remove_unfinished, replacing, replacing_with_companions

COMPANIONS = ("a.tif.aux.xml", "a.tif.ovr")


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replacing(path) as partial:
        partial.write_text("first")
        assert not path.exists() and partial.parent == path.parent
    assert path.read_text() == "first"
    with replacing(path) as partial:
        partial.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("first")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("sec")
        raise KeyboardInterrupt
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "never"):
        pass
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, sys
from pathlib import Path
from rskt_seg.writing import replacing, replacing_with_companions
folder = Path(sys.argv[1])
with replacing(folder / "a.png") as a, replacing_with_companions(folder / "b.tif", ()) as b:
    a.write_text("hal")
    b.write_text("hal")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path):
    theirs = [tmp_path / name for name in (".a.part", "a.12.34.part", ".a.12.x.part", "a.png")]
    for path in theirs:
        path.write_text("theirs")
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        half = sorted(set(tmp_path.iterdir()) - set(theirs))
        with replacing(tmp_path / "mine.png") as mine:
            mine.write_text("hal")
            assert len(half) == 2 and remove_unfinished(tmp_path) == []
            process.kill()
            process.wait()
            assert remove_unfinished(tmp_path) == half
            assert sorted(tmp_path.iterdir()) == sorted([*theirs, mine])
    assert remove_unfinished(tmp_path / "nowhere") == []


def test_what_an_earlier_process_of_the_same_number_left_is_removed(tmp_path):
    left = tmp_path / f".a.png.{os.getpid()}.1.part"
    left.write_text("hal")
    assert remove_unfinished(tmp_path) == [left] and not left.exists()


def test_writers_at_the_same_time_do_not_mix(tmp_path):
    path, gate = tmp_path / "a.txt", threading.Barrier(4)

    def write(letter: str) -> None:
        with replacing(path) as partial:
            partial.write_text(letter * 100)
            gate.wait()
            partial.write_text(letter * 200)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in {letter * 200 for letter in "abcd"}
    assert list(tmp_path.iterdir()) == [path]


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def write_with_companion(path, text):
    with replacing_with_companions(path, COMPANIONS) as partial:
        assert partial.name == path.name
        partial.write_text(text)
        partial.with_name(f"{partial.name}.aux.xml").write_text(f"about {text}")


def test_files_that_belong_together_take_their_names_together(tmp_path):
    path = tmp_path / "new" / "a.tif"
    write_with_companion(path, "first")
    assert contents(path.parent) == {"a.tif": "first", "a.tif.aux.xml": "about first"}
    write_with_companion(path, "second")
    assert contents(path.parent) == {"a.tif": "second", "a.tif.aux.xml": "about second"}


def test_companions_of_the_former_file_go_and_other_files_stay(tmp_path):
    for name in ("a.tif", "a.tif.aux.xml", "a.tif.ovr", "a.tif.txt", "b.tif.ovr"):
        (tmp_path / name).write_text("former")
    with replacing_with_companions(tmp_path / "a.tif", COMPANIONS) as partial:
        partial.write_text("new")
    assert contents(tmp_path) == {"a.tif": "new", "a.tif.txt": "former", "b.tif.ovr": "former"}


@pytest.mark.parametrize("failing", range(5))
def test_a_group_that_fails_at_any_step_leaves_what_was_there_and_nothing_else(
    tmp_path, monkeypatch, failing
):
    for name in ("a.tif", "a.tif.ovr", "a.tif.aux.xml"):
        (tmp_path / name).write_text("former")
    steps, replace = iter(range(100)), os.replace

    def fail_once(source, target):
        if next(steps) == failing:
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_once)
    with (
        pytest.raises(OSError, match="disk full"),
        replacing_with_companions(tmp_path / "a.tif", COMPANIONS) as partial,
    ):
        partial.write_text("new")
        partial.with_name("a.tif.aux.xml").write_text("new")
        if failing == 4:  # after former and new of one companion, and former of the other, and the file
            raise OSError("disk full")
    assert contents(tmp_path) == dict.fromkeys(("a.tif", "a.tif.ovr", "a.tif.aux.xml"), "former")


def test_a_new_companion_goes_where_its_file_cannot_be_placed(tmp_path):
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(OSError):
        write_with_companion(tmp_path / "a.tif", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def full(number: int = errno.ENOSPC):
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the quota"), (errno.EFBIG, "ulimit -f")],
)
def test_a_full_disk_is_one_line_with_the_file_its_size_and_the_room_and_nothing_is_lost(
    tmp_path, monkeypatch, number, reason
):
    path = tmp_path / "a.bin"
    path.write_text("first")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_500_000))
    with pytest.raises(DiskFullError) as caught, replacing(path, size=2_000_000) as partial:
        partial.write_text("sec")
        full(number)
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be written: ") and "\n" not in message
    assert reason in message and f"it needs 2.0 MB, and 1.5 MB are free in {tmp_path}" in message
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_a_limit_of_file_sizes_is_the_same_line_whatever_a_library_makes_of_it(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with (
            pytest.raises(DiskFullError, match=r"a\.pth cannot be written: the file would be larger"),
            replacing(tmp_path / "a.pth") as partial,
            open(partial, "wb") as file,
        ):
            torch.save(torch.zeros(100_000), file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_clearing_up_after_a_full_disk_raises_does_not_hide_the_file(tmp_path):
    with pytest.raises(DiskFullError, match=r"a\.bin cannot be written"), naming_full_disk(tmp_path):
        try:
            with replacing(tmp_path / "a.bin"):
                full()
        finally:
            full()


def test_every_other_error_stays_as_it_is(tmp_path):
    with pytest.raises(PermissionError), replacing(tmp_path / "a.bin"):
        raise PermissionError(errno.EACCES, "no")
