"""Processes of a run that are killed or asked to end: one line, and none is left."""

import argparse
import io
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from rskt_seg.commands.train import main
from rskt_seg.d2.checkpointer import last_checkpoint
from rskt_seg.d2.launch import Run, launch
from rskt_seg.d2.loaders import PlainErrors
from rskt_seg.errors import ProcessDiedError
from tests.d2.test_train_net import command, one_line, start
from tests.full_disk import file_limit


def descendants(pid: int) -> set[int]:
    """The ids of the processes that `pid` has started, and those have."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                children = {int(child) for child in task.read_text().split()}
            except OSError:
                continue
            found |= children
            waiting += children
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of `pids` that run: a process that nobody has waited for yet is gone."""
    running = set()
    for pid in pids:
        try:
            state = facts(pid)[0]
        except OSError:
            continue
        if state != "Z":
            running.add(pid)
    return running


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def ranks(pid: int) -> list[int]:
    """The processes of a run that compute, in the order of their start."""
    found = (
        child
        for child in alive(descendants(pid))
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text() and parent(child) == pid
    )
    return sorted(found, key=start_time)


def parent(pid: int) -> int:
    return int(facts(pid)[1])


def start_time(pid: int) -> tuple[int, int]:
    """When a process began, in ticks; ids alone begin anew where they end."""
    return int(facts(pid)[19]), pid


def facts(pid: int) -> list[str]:
    """What the system says of a process after its name, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def training(out: Path, processes: int) -> subprocess.Popen:
    """A training without an end, with two loader workers, that has written a checkpoint."""
    opts = ("SOLVER.MAX_ITER", "100000", "DATALOADER.NUM_WORKERS", "2")
    arguments = command(out, "--num-gpus", str(processes), opts=opts)
    process = start(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert wait_for(lambda: (out / "last_checkpoint").exists() or process.poll() is not None, 120)
    assert process.poll() is None, process.stderr and process.stderr.read()
    return process


def test_a_run_that_loses_a_process_ends_with_one_line_that_says_which_and_how(data_root, tmp_path):
    with training(tmp_path / "out", 2) as process:
        started = descendants(process.pid)
        pid = ranks(process.pid)[1]
        os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert re.search(rf"process 1 of 2 \(pid {pid}\) was killed by SIGKILL.*--resume", one_line(err))
    assert wait_for(lambda: not alive(started), 7), alive(started)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_that_is_asked_to_end_says_so_and_leaves_no_process(data_root, tmp_path, processes):
    with training(tmp_path / "out", processes) as process:
        started = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert err.endswith("terminated\n") and "Traceback" not in err
    assert wait_for(lambda: not alive(started), 1), alive(started)


def test_sigterm_to_every_process_of_a_run_is_no_traceback_either(data_root, tmp_path):
    with training(tmp_path / "out", 1) as process:
        started = descendants(process.pid)
        for pid in (*started, process.pid):
            os.kill(pid, signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert err.endswith("terminated\n") and "Traceback" not in err
    assert wait_for(lambda: not alive(started), 1), alive(started)


def test_a_loader_worker_that_is_killed_ends_the_run_with_one_line(data_root, tmp_path):
    with training(tmp_path / "out", 1) as process:
        worker = max(descendants(process.pid), key=start_time)
        os.kill(worker, signal.SIGKILL)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2, err
    assert re.search(rf"DataLoader worker \(pid\S* {worker}\).*--resume", one_line(err))


def run_alone(work: Callable[[], object]) -> None:
    """Run `work` as the only process of a run, with a loader that has one worker process and a second."""
    loader = iter(DataLoader(range(1000), num_workers=1, timeout=1))
    next(loader)
    args = argparse.Namespace(num_gpus=1, num_machines=1, machine_rank=0, dist_url="auto")
    launch(lambda _: (work(), list(loader)), Run(args), "cpu")


def kill_worker() -> None:
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(5)  # the signal interrupts it


class File(io.BytesIO):
    """A file in the middle of which the worker dies."""

    def write(self, content) -> int:
        if self.tell() > 100:
            kill_worker()
        return super().write(content)


class Destroyed:
    """An object whose destructor kills the worker."""

    def __del__(self):
        kill_worker()


class LostConnection:
    """A loader whose connection to a worker ends before the system tells of the worker's death."""

    def __iter__(self):
        (worker,) = multiprocessing.active_children()
        threading.Timer(0.2, os.kill, (worker.pid, signal.SIGKILL)).start()
        raise ConnectionResetError


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(kill_worker, id="anywhere"),
        pytest.param(lambda: list(PlainErrors(LostConnection())), id="before it is known"),
        pytest.param(lambda: torch.save(torch.zeros(1000), File()), id="in an archive"),
        pytest.param(lambda: Destroyed() and None, id="in a destructor"),
    ],
)
def test_a_dead_loader_worker_is_the_error_of_the_run_whatever_is_made_of_it(work, monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)
    with pytest.raises(ProcessDiedError, match=r"^DataLoader worker \(pid.*--resume"):
        run_alone(work)
    assert dropped == []


def test_a_second_training_or_evaluation_in_a_folder_is_refused_before_it_writes(data_root, tmp_path, capsys):
    out = tmp_path / "out"
    with training(out, 1) as process:
        for flags in ([], ["--resume"], ["--eval-only", "--resume"]):
            assert main(command(out, *flags)) == 2
            line = one_line(capsys.readouterr().err)
            assert re.search(rf"out is in use by process {process.pid} on .*choose another OUTPUT_DIR", line)
        process.kill()
    opts = ("SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()")
    assert main(command(out, opts=opts)) == 0
    assert "run.lock: taken over from process" in (out / "log.txt").read_text()
    assert not (out / "run.lock").exists()


def test_a_log_without_room_is_no_traceback_and_the_first_result_without_room_is_one_line(
    data_root, tmp_path, capfd
):
    out, opts = tmp_path / "out", ("DATASETS.TEST", "()", "SOLVER.MAX_ITER", "1")
    with file_limit(20_000):  # the log of a run has some 50,000 bytes
        assert main(command(out, opts=opts)) == 2
    err = capfd.readouterr().err
    assert "Logging error" not in err and "model_0000000.pth cannot be written" in one_line(err)
    assert (out / "log.txt").stat().st_size <= 20_000


def test_a_full_disk_ends_a_training_with_one_line_and_its_last_checkpoint_stays(data_root, tmp_path, capsys):
    out, opts = tmp_path / "out", ("DATASETS.TEST", "()")
    assert main(command(out, opts=(*opts, "SOLVER.MAX_ITER", "1"))) == 0
    before = last_checkpoint(out).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        assert main(command(out, "--resume", opts=(*opts, "SOLVER.MAX_ITER", "3"))) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    text = one_line(capsys.readouterr().err)
    assert re.search(r"model_0000001\.pth cannot be written.*it needs \d+\.\d MB, and \S+ MB are free", text)
    assert last_checkpoint(out).read_bytes() == before
    assert "Traceback" not in (out / "log.txt").read_text()
    assert [path for path in out.iterdir() if path.suffix in (".part", ".lock")] == []
