"""What a model makes of class names: near and cut ones are told, and texts are encoded once."""

import numpy as np
import pytest
import torch

import rskt_seg
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.methods.words import cut_words, keep_texts, nearly_equal, templates_of, word_notices
from rskt_seg.segmenter import Segmenter
from tests.stub_models import FixedColours

NAMES = ("tree", "water", "trees", "building")
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 70, 3), dtype=np.uint8)


def tiny(preset):
    torch.manual_seed(0)
    model = rskt_seg.create_model(preset)
    rskt_seg.load_encoder(model, "clip", "tiny")
    return model


@pytest.fixture(scope="module")
def model():
    return tiny("clip_zeroshot_tiny")


def test_names_that_are_nearly_the_same_to_the_model_are_found(model):
    (pair,) = nearly_equal(model, NAMES)
    assert (pair.first, pair.second) == ("tree", "trees") and 0.95 <= pair.cosine <= 1
    every = nearly_equal(model, NAMES, limit=-1)
    assert len(every) == 6 and every[0] == pair
    assert [each.cosine for each in every] == sorted((each.cosine for each in every), reverse=True)
    assert not nearly_equal(model, ("tree",), limit=-1)


def test_pairs_are_found_across_the_parts_in_which_names_are_compared(model, monkeypatch):
    whole = nearly_equal(model, NAMES, limit=-1)
    monkeypatch.setattr("rskt_seg.methods.words._ROWS", 3)
    for one, other in zip(nearly_equal(model, NAMES, limit=-1), whole, strict=True):
        assert one[:2] == other[:2] and one.cosine == pytest.approx(other.cosine, abs=1e-6)


def test_words_that_the_small_encoder_never_saw_and_names_too_long_are_refused(model):
    found = cut_words(model, ["tree", "xylophone", "tree " * 80])
    assert [each.name for each in found] == ["xylophone", ("tree " * 80).strip()]
    assert all(each.is_refused for each in found)
    assert "never saw 'xylophone'" in found[0].reason and "at most" in found[1].reason
    with pytest.raises(VocabularyError, match="xylophone"):
        nearly_equal(model, ["tree", "xylophone"])


def test_a_name_that_fits_in_some_templates_alone_is_too_long():
    with torch.device("meta"):
        model = rskt_seg.create_model(
            "clip_zeroshot_vitb16", templates=("{}", "a photo of a {} in it", "a {}")
        )
    assert [each.is_refused for each in cut_words(model, ["tree " * 69, "tree " * 70])] == [True]


def test_words_that_the_tokenizer_cuts_are_told_by_their_pieces():
    with torch.device("meta"):
        full = rskt_seg.create_model("clip_zeroshot_vitb16")
    found = {each.name: each for each in cut_words(full, ["solar panel 12", "photovoltaics field", "建筑"])}
    assert list(found) == ["photovoltaics field", "建筑"]
    assert found["photovoltaics field"].reason == "is read in pieces: photo|volta|ics"
    assert "建筑 (6 pieces)" in found["建筑"].reason
    assert not any(each.is_refused for each in found.values())


def test_notices_are_few_and_one_line_each(model):
    (line,) = word_notices(model, NAMES)
    assert "'tree' and 'trees' are nearly the same to the model (cosine 0.99" in line
    lines = word_notices(model, ("tree", "trees", "water", "road", "building", "car"), limit=-1)
    assert len(lines) == 11 and lines[-1] == "and 5 more such pairs of names"
    assert word_notices(FixedColours(), ("red", "green", "blue")) == ()


def test_a_closed_set_model_is_not_asked_by_words(tmp_path):
    closed = FixedColours()
    for ask in (nearly_equal, cut_words):
        with pytest.raises(ConfigError, match="BiCoR-Seg models are not asked by words"):
            ask(closed, ("red", "green", "blue"))
    assert templates_of(closed) == ()
    Segmenter(closed, text_cache=tmp_path).predict(IMAGE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", [None, "fp32", "bf16"])
@pytest.mark.parametrize("preset", ["rskt_tiny", "clip_zeroshot_tiny"])
def test_scores_are_the_same_to_the_last_bit_with_and_without_files(preset, precision, tmp_path):
    def scores(text_cache):
        segmenter = Segmenter(tiny(preset), NAMES, precision=precision, text_cache=text_cache)
        return segmenter.predict(IMAGE).score_map

    plain, written = scores(None), scores(tmp_path)
    (path,) = tmp_path.iterdir()
    before = path.read_bytes()
    assert torch.equal(plain, written) and torch.equal(plain, scores(tmp_path))
    assert [path] == list(tmp_path.iterdir()) and path.read_bytes() == before


def test_forms_of_one_model_do_not_share_embeddings():
    model = tiny("clip_zeroshot_tiny")
    alone = Segmenter(tiny("clip_zeroshot_tiny"), NAMES, precision="bf16").predict(IMAGE).score_map
    Segmenter(model, NAMES, precision="fp32").predict(IMAGE)
    assert torch.equal(Segmenter(model, NAMES, precision="bf16").predict(IMAGE).score_map, alone)


def test_a_user_without_a_home_is_warned(model, monkeypatch, caplog):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "nowhere")
    keep_texts(model, True)
    assert model.text_bank.files is None and "set XDG_CACHE_HOME" in caplog.text


def test_the_folder_is_that_of_the_user_if_asked_and_nothing_else_is_taken(model, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_texts(model, True)
    assert model.text_bank.files.folder == tmp_path / "rskt_seg" / "text"
    for nothing in (None, False):
        keep_texts(model, nothing)
    assert model.text_bank.files is not None
    model.text_bank.files = None
    with pytest.raises(ConfigError, match="text_cache must be a folder, True or None; found 3"):
        keep_texts(model, 3)


def test_hundreds_of_names_are_encoded_compared_and_segmented(tmp_path):
    words = ("tree", "water", "road", "building", "car", "grass", "ship", "field", "river", "sand")
    names = [f"{one} {two} {three}" for one in words for two in words for three in words[:3]]
    segmenter = Segmenter(tiny("clip_zeroshot_tiny"), names, text_cache=tmp_path)
    result = segmenter.predict(IMAGE[:16, :16])
    assert result.labels.dtype == np.uint16 and result.score_map.shape[0] == 300
    assert len(word_notices(segmenter.model, names)) <= 11
    assert len(list(tmp_path.iterdir())) == 1


def test_templates_are_those_of_the_model(model):
    assert templates_of(model) == ("A photo of a {} in the scene",)
    other = rskt_seg.create_model("clip_zeroshot_tiny", templates=("a {}", "imagenet_select"))
    assert len(templates_of(other)) == 8 and templates_of(other)[0] == "a {}"
