"""Fixtures of the tests that download."""

import huggingface_hub
import huggingface_hub.constants
import pytest

from tests.checkpoints.file_server import FileServer


@pytest.fixture
def server(monkeypatch):
    """A local server, reached whatever this machine's settings of proxies and of the hub are."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    # The library keeps one client, which remembers the settings of its first use.
    huggingface_hub.close_session()
    with FileServer() as local:
        template = local.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield local
    huggingface_hub.close_session()
