"""`rskt-seg serve` before it serves: what it says, and what it refuses in one line."""

import socket
import sys

import pytest

from rskt_seg.app import server
from rskt_seg.app.models import Models
from rskt_seg.commands.cli import main


@pytest.fixture(autouse=True)
def no_folder_of_gradio(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/nowhere")  # which the command sets, and this undoes


@pytest.fixture
def started(monkeypatch):
    """The command as if it served; what it would serve, as (sockets, (root, uploads, models, limits))."""
    calls = []
    monkeypatch.setattr(Models, "load", lambda models, name: None)
    monkeypatch.setattr(server, "make_application", lambda *given: given)
    monkeypatch.setattr(server, "serve", lambda *given: calls.append(given))
    return calls


def test_it_is_for_this_machine_alone_unless_it_says_otherwise_aloud(started, capsys):
    assert main(["serve", "--port", "0"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("http://127.0.0.1:")
    assert main(["serve", "--port", "0", "--host", "0.0.0.0"]) == 0
    _, loud = capsys.readouterr().out.splitlines()
    assert loud.startswith("everybody who can reach port") and loud.endswith("without a password")


def test_models_and_limits_are_those_of_the_command_line(started):
    flags = ["--max-upload-mb", "3", "--max-scene-pixels", "5", "--max-users", "7", "--max-waiting", "9"]
    assert main(["serve", "--port", "0", "--model", "b.pth", "--model", "tiny", *flags]) == 0
    (_, (root, uploads, models, limits, _)) = started[0]
    assert models.names == ("b.pth", "tiny") and not root.exists() and uploads.parent == root
    assert (limits.upload_bytes, limits.pixels, limits.sessions, limits.waiting) == (3 * 2**20, 5, 7, 9)
    assert main(["serve", "--port", "0"]) == 0
    assert started[1][1][2].names[0] == "tiny"


def test_what_cannot_be_is_one_line(started, capsys, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": Address already in use; choose others by --host and --port")
    assert main(["serve", "--host", "nowhere.invalid"]) == 2
    assert "cannot listen at nowhere.invalid port 7860" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "rskt_seg.app.server")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["serve"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rskt-seg serve: error: it needs the extra app: pip install 'rskt_seg[app]'")
    assert not started
