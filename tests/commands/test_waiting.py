"""How the threads of a command wait for each other."""

import os
import subprocess
import sys

import pytest

from rskt_seg.commands.entry import run
from rskt_seg.commands.waiting import describe_waiting

SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in SETTINGS:
        monkeypatch.setenv(name, "")  # so that what the test sets is undone
        monkeypatch.delenv(name)


def settings() -> dict[str, str]:
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


def test_threads_of_a_command_wait_briefly():
    seen = []
    run(lambda: seen.append(settings()))
    assert seen == [{"GOMP_SPINCOUNT": "1000"}]
    assert "1000" in describe_waiting(2) and describe_waiting(1) == ""


@pytest.mark.parametrize("name", SETTINGS)
def test_what_the_user_has_chosen_stays(monkeypatch, name):
    monkeypatch.setenv(name, "7")
    run(lambda: None)
    assert settings() == {name: "7"}


def test_commands_do_not_load_openmp_before_they_say_how_it_waits():
    code = "import sys, rskt_seg.commands.cli, rskt_seg.commands.train; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
