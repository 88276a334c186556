"""Scenes of the miniature iSAID tiles, drawn once a file."""

from pathlib import Path

import pytest

from rskt_seg.synthetic.miniature import WSSS_MINIATURES, write_miniature


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    write_miniature(WSSS_MINIATURES["iSAID_wsss"], root, 4, 1, 0, 48, 2)
    return root


@pytest.fixture
def data_root(scenes, monkeypatch) -> Path:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(scenes))
    return scenes
