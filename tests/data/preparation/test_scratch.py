"""The temporary folder of a run."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rskt_seg.data.preparation.scratch import scratch_folder

RUN = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from rskt_seg.data.preparation.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "0.zip").write_text("half")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_folder_is_there_in_the_block_alone(tmp_path):
    with pytest.raises(KeyboardInterrupt), scratch_folder() as folder:
        (folder / "0.zip").write_text("half")
        assert folder.parent == tmp_path
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_uses_stays(tmp_path, caplog):
    (tmp_path / "rskt_seg_prepare.txt").write_text("theirs")
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        folder = Path(process.stdout.readline().strip())
        with scratch_folder() as mine, scratch_folder():
            assert mine.is_dir() and (folder / "0.zip").is_file()
        process.kill()
        process.wait()
        assert (folder / "0.zip").is_file() and not caplog.records
        with scratch_folder():
            assert not folder.exists()
    (record,) = caplog.records
    assert record.getMessage() == f"{folder}: removed, a killed run had left it"
    assert [file.name for file in tmp_path.iterdir()] == ["rskt_seg_prepare.txt"]
