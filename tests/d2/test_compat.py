"""What the two supported Detectron2 releases do differently, as far as behaviour shows it."""

import atexit
from pathlib import Path

import pytest
from detectron2.utils import comm

from rskt_seg.d2 import compat

TASKS = Path("/proc/self/task")


def note_threads_at_exit(folder: Path) -> None:
    def note() -> None:
        names = [(task / "comm").read_text().strip() for task in TASKS.iterdir()]
        (folder / f"{rank}.txt").write_text("\n".join(names))

    rank = comm.get_rank()
    comm.gather([rank], dst=0)
    assert comm.get_local_size() == 2
    atexit.register(note)


@pytest.mark.skipif(not TASKS.exists(), reason="names of threads are read from Linux' /proc")
def test_no_thread_of_the_process_group_outlives_it(tmp_path):
    compat.launch(note_threads_at_exit, 2, 1, 0, "auto", (tmp_path,), on_cpu=True)
    for rank in range(2):
        names = (tmp_path / f"{rank}.txt").read_text().split("\n")
        assert names and not [name for name in names if "gloo" in name or "store" in name]
