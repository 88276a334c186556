"""How every command of the project ends."""

import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rskt_seg.commands.entry import echo, log_to_stderr, run
from rskt_seg.errors import ConfigError
from rskt_seg.stopping import Terminated, was_stopped


def test_a_mistake_of_the_user_is_one_line_and_status_2(capsys):
    def main():
        raise ConfigError("first\n  second")

    assert run(main) == 2
    assert capsys.readouterr().err.endswith(": error: first second\n")


def test_no_message_output_or_log_obeys_what_a_name_holds(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    name = "a\x1b]0;title\x07\x1b[2J\u202egpj.tif"

    def work():
        log_to_stderr()
        logging.getLogger("rskt_seg").warning("%s is odd", name)
        echo(f"found {name}\n\tand more")
        raise ConfigError(f"{name} is wrong")

    assert run(work) == 2
    out, err = capsys.readouterr()
    shown = r"a\x1b]0;title\x07\x1b[2J\u202egpj.tif"
    assert out == f"found {shown}\n\tand more\n"
    assert err.splitlines()[0] == f"WARNING {shown} is odd"
    assert err.splitlines()[1].endswith(f"error: {shown} is wrong")


def test_a_name_that_the_system_does_not_take_is_one_line(capsys, tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("a" * 300, tmp_path / "loop"):
        assert run(lambda name=name: len(Path(name).read_bytes())) == 2
        assert "is no name of a file" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        run((tmp_path / "absent").unlink)


def test_an_interrupt_is_130_and_a_defect_keeps_its_traceback(capsys):
    def interrupted():
        raise KeyboardInterrupt

    assert run(interrupted) == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
    assert run(lambda: None) == 0 and run(lambda: 1) == 1


def test_an_interrupt_that_a_library_makes_another_error_of_is_one(capsys):
    def library():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ConfigError("no value") from None

    assert run(lambda: run(library)) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("number", "status", "text"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")],
)
def test_a_signal_that_arrives_while_an_object_is_destroyed_is_not_lost(capsys, number, status, text):
    class Stopped:
        def __del__(self):
            signal.raise_signal(number)

    def work():
        Stopped()
        time.sleep(60)

    assert run(work) == status
    assert capsys.readouterr().err == text


def test_an_error_that_a_library_makes_of_a_signal_is_known_as_one():
    with pytest.raises(ValueError) as caught:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ValueError("unexpected position") from None
    assert was_stopped(caught.value) and was_stopped(Terminated()) and not was_stopped(ValueError())


def test_a_reader_that_has_gone_is_no_traceback():
    code = (
        "import sys; from rskt_seg.commands.entry import run;"
        "sys.exit(run(lambda: print('line\\n' * 100_000)))"
    )
    command = f'{sys.executable} -c "{code}"'
    script = f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (141, "line\n", "")


def test_sigterm_has_the_manners_of_an_interrupt(capsys):
    def terminated():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    assert run(terminated) == 143
    assert capsys.readouterr().err == "terminated\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_error_that_sigterm_causes_is_no_traceback(capsys):
    def terminated():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            raise RuntimeError("a process that this one needs has ended")

    assert run(terminated) == 143
    assert capsys.readouterr().err == "terminated\n"


def test_a_handler_of_the_caller_stays():
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append("own"))
    try:
        assert run(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == ["own"]


def test_a_command_runs_in_a_thread_too():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, lambda: 3).result() == 3
