"""One run in a folder at a time."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rskt_seg.commands.run_lock import NAME, run_lock
from rskt_seg.errors import ConfigError

HOLD = (
    "import sys; from pathlib import Path; from rskt_seg.commands.run_lock import run_lock\n"
    "with run_lock(Path(sys.argv[1]), 'training') as note:\n"
    "    print(note, flush=True); sys.stdin.read()"
)


def holder(folder: Path) -> subprocess.Popen:
    """Another process that takes the lock, says so, and keeps it until its input ends."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], **pipes)


def refusal(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught, run_lock(folder, "training"):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sign(folder: Path, **changes) -> None:
    """Write the lock of a process that is gone, or what `changes` say."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    facts = {"host": socket.gethostname(), "pid": gone.pid, "start": "", "since": "noon", "work": "training"}
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_text(json.dumps(facts | changes))


def test_a_second_run_is_refused_in_one_line_that_names_the_first_until_it_ends(tmp_path):
    folder = tmp_path / "a" / "out"
    with holder(folder) as first:
        assert first.stdout.readline() == "\n"
        before = (folder / NAME).read_bytes()
        found = refusal(folder)
        assert found.startswith(
            f"{folder} is in use by process {first.pid} on {socket.gethostname()} (training"
        )
        assert found.endswith("choose another OUTPUT_DIR")
        assert (folder / NAME).read_bytes() == before and len(list(folder.iterdir())) == 1
        first.stdin.close()
        assert first.wait() == 0
    assert list(tmp_path.iterdir()) == []
    with run_lock(folder, "training") as note:
        assert note == ""


def test_one_process_does_not_take_a_folder_twice(tmp_path):
    with run_lock(tmp_path, "training"):
        assert f"in use by process {os.getpid()}" in refusal(tmp_path)
        assert f"in use by process {os.getpid()}" in refusal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_run_is_taken_over_with_a_line(tmp_path):
    with holder(tmp_path) as first:
        first.stdout.readline()
        first.kill()
    with run_lock(tmp_path, "training") as note:
        assert f"taken over from process {first.pid} on" in note and note.endswith("which is gone")
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_later_process_with_the_same_id_is_not_taken_for_the_owner(tmp_path):
    sign(tmp_path, pid=os.getpid(), start="another boot 17")
    with run_lock(tmp_path, "training") as note:
        assert "which is gone" in note


def test_a_process_that_lives_is_believed_where_files_cannot_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.lockf", unsupported)
    sign(tmp_path, pid=os.getpid())
    assert "is in use by" in refusal(tmp_path)
    sign(tmp_path)
    with run_lock(tmp_path, "training") as note:
        assert "which is gone" in note


def unsupported(*_: object) -> None:
    raise OSError(38, "Function not implemented")


def test_the_lock_of_another_machine_is_refused_with_the_way_to_remove_it(tmp_path):
    sign(tmp_path, host="elsewhere")
    found = refusal(tmp_path)
    assert "on elsewhere (training since noon), another machine" in found
    assert f"if that run is gone, remove {tmp_path / NAME}" in found
    assert (tmp_path / NAME).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 3}', "[" * 4000, '{"host": 1, "pid": "x"}'])
def test_a_lock_that_names_nobody_is_refused_with_the_way_to_remove_it(tmp_path, content):
    (tmp_path / NAME).write_text(content)
    assert "if none has, remove that file" in refusal(tmp_path)


def test_the_lock_is_released_on_an_error_and_what_the_run_wrote_stays(tmp_path):
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path / "out", "training"):
        (tmp_path / "out" / "log.txt").touch()
        _ = 1 // 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["log.txt"]


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    assert "OUTPUT_DIR" in refusal(tmp_path / "file")
    assert "OUTPUT_DIR" in refusal(tmp_path / "file" / "out")


def test_of_many_that_find_a_lock_of_a_killed_run_one_gets_it(tmp_path):
    sign(tmp_path)
    runs = [holder(tmp_path) for _ in range(6)]
    first = [run.stdout.readline() for run in runs]
    assert [("which is gone" in line) for line in first].count(True) == 1
    assert first.count("") == 5
    for run in runs:
        run.stdin.close()
        run.wait()
        run.stdout.close()
        run.stderr.close()
    assert list(tmp_path.iterdir()) == []
