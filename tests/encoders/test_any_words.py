"""Words that the small text encoder never saw: refused with the nearest known ones, or read as noise."""

import pytest
import torch

from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.presets import CLIP_TINY, CLIP_VITB16
from rskt_seg.encoders.text import build_tokenizer, cut_padding, read_any_words, vocabulary_size
from rskt_seg.errors import VocabularyError


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return CLIP(CLIP_TINY, vocabulary_size(CLIP_TINY.text)).eval()


def reading(tower: CLIP, any_words: bool):
    """A function from texts to their embeddings."""
    tokenizer = build_tokenizer(CLIP_TINY.text)
    tower.reads_unknown = False
    if any_words:
        read_any_words(tower, tokenizer)

    def read(*texts: str) -> torch.Tensor:
        with torch.no_grad():
            return tower.encode_text(tokenizer(texts))

    return read


def test_an_unknown_word_is_refused_with_the_known_ones_that_are_spelled_most_like_it():
    tokenizer = build_tokenizer(CLIP_TINY.text)
    assert tokenizer.unknown_words("a photo of a forrest silo") == ("forrest", "silo")
    assert "forest" in tokenizer.near_words("Forrest") and tokenizer.near_words("qqqq") == ()
    with pytest.raises(VocabularyError, match=r"saw 'forrest' of .* \(near in spelling: forest.*full model$"):
        tokenizer(["a photo of a forrest"])
    for long in ("forrest " * 9, "q" * 999, "tree " * 999):
        with pytest.raises(VocabularyError) as caught:
            tokenizer([long])
        assert len(str(caught.value)) < 500  # one line that is read
    assert build_tokenizer(CLIP_VITB16.text).unknown_words("zyzzyva") == ()


def test_texts_of_known_words_read_as_ever_to_the_last_bit(tower):
    texts = ("a photo of a road", "water")
    assert torch.equal(reading(tower, False)(*texts), reading(tower, True)(*texts))


def test_every_unknown_word_is_noise_of_its_own_and_always_the_same(tower):
    read = reading(tower, True)
    before = torch.get_rng_state()
    first = read("silo", "zyzzyva", "a photo of a silo", "a photo of a zyzzyva", "road")
    assert torch.equal(before, torch.get_rng_state()), "it draws from the numbers of the run"
    assert torch.cdist(first, first).fill_diagonal_(9).min() > 1e-3
    torch.manual_seed(1)
    assert torch.equal(first, read("silo", "zyzzyva", "a photo of a silo", "a photo of a zyzzyva", "road"))
    torch.testing.assert_close(read("silo"), first[:1])  # whatever else is asked for


def test_the_end_of_a_text_is_found_behind_unknown_words(tower):
    tokenizer = build_tokenizer(CLIP_TINY.text)
    read_any_words(tower, tokenizer)
    tokens = tokenizer(["road silo", "zyzzyva"])
    assert (tokens < 0).any() and cut_padding(tokens).shape[1] < tokens.shape[1]
    with torch.no_grad():
        torch.testing.assert_close(tower.encode_text(cut_padding(tokens)), tower.encode_text(tokens))


def test_a_full_text_tower_stays_as_it_is():
    class Tower:
        reads_unknown = False

    tower, tokenizer = Tower(), build_tokenizer(CLIP_VITB16.text)
    read_any_words(tower, tokenizer)
    assert not tower.reads_unknown and not tokenizer.reads_unknown
