"""From an upload to a result: what one user may ask of a model that all share."""

import threading

import numpy as np
import pytest
from PIL import Image

from rskt_seg.app.segmenting import Watch, segment_upload
from rskt_seg.app.uploads import take_upload
from rskt_seg.errors import ConfigError
from rskt_seg.segmenter import Segmenter
from tests.stub_models import Colours


def test_a_window_that_would_keep_the_model_for_hours_is_refused_before_it_is_planned(tmp_path):
    Image.fromarray(np.zeros((150, 200, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "kept").mkdir()
    upload = take_upload(tmp_path / "a.png", "a.png", tmp_path / "kept", 30_000)
    segmenter, shares = Segmenter(Colours(), ["red", "green"]), []

    def segment(window, most):
        watch = Watch(shares.append, threading.Event())
        return segment_upload(segmenter, upload, window, tmp_path / "out", watch, most)

    with pytest.raises(
        ConfigError, match=r"window of 2 makes 30,000 windows of 200 x 150 px; .* most 25,000"
    ):
        segment("2", 25_000)
    assert not shares and not (tmp_path / "out").exists()
    assert segment("", 1).ids.shape == (150, 200)  # what suits the model
    assert segment("120", 6).ids.shape == (150, 200)
