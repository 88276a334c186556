"""The models of a page: which are offered, and what their users may type."""

import pytest

from rskt_seg.app import models as module
from rskt_seg.app.models import Models
from rskt_seg.errors import ConfigError, DeviceError, VocabularyError
from rskt_seg.methods import TrainedModel
from tests.stub_models import Colours, FixedColours


@pytest.fixture
def models(monkeypatch):
    loaded = []

    def load(name):
        loaded.append(name)
        return TrainedModel(FixedColours() if name == "closed" else Colours())

    monkeypatch.setattr(module, "load", load)
    made = Models(["open", "closed", "open"], "cpu", classes=3)
    made.asked_for = loaded
    return made


def test_models_are_loaded_once_when_they_are_asked_for_and_no_others(models):
    assert models.names == ("open", "closed") and not models.asked_for
    first, second = models.segmenter("open", "red\ngreen"), models.segmenter("open", "blue #010203")
    assert first.model is second.model and models.asked_for == ["open"]
    assert second.legend.entries[0].color == (1, 2, 3) and first.vocabulary.names == ("red", "green")
    with pytest.raises(ConfigError, match="does not offer the model '/etc/passwd'; it has open, closed"):
        models.segmenter("/etc/passwd", "red")


def test_a_closed_set_model_knows_its_classes_and_an_open_one_needs_words(models):
    assert len(models.segmenter("closed", " \n").legend.entries) > 1
    with pytest.raises(VocabularyError, match="empty"):
        models.segmenter("open", " \n")


def test_a_request_has_so_many_classes(models):
    with pytest.raises(VocabularyError, match="at most 3 classes; found 4"):
        models.segmenter("open", "red, green, blue, lime")


def test_a_device_that_is_not_here_is_one_line(models):
    with pytest.raises(DeviceError, match="cannot use device abacus"):
        Models(["open"], "abacus").load("open")
