"""Files that are written whole or not at all."""

import errno
import os
import resource
import shutil
import threading
from types import SimpleNamespace

import pytest
import torch

from rskt_seg.errors import DiskFullError
from rskt_seg.writing import naming_full_disk, replacing


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
