"""Class names become the published tokens, and cached embeddings never outlive what they depend on."""

import json
import sys

import pytest
import torch

from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.presets import CLIP_TINY, CLIP_VITB16, ClipPreset, TextPreset, VisionPreset
from rskt_seg.encoders.text import (
    TextBank,
    _byte_pairs,
    build_tokenizer,
    expand_templates,
    prompts,
    vocabulary_size,
)
from rskt_seg.errors import ConfigError, VocabularyError
from tests.parity.fill import FIXTURES

PUBLISHED = "A photo of a {} in the scene"
SMALL = ClipPreset(16, VisionPreset(16, 8, 64, 1, 1), TextPreset(64, 1, 1))


@pytest.fixture
def bank():
    torch.manual_seed(0)
    return CLIP(SMALL).eval(), TextBank(build_tokenizer(SMALL.text), [PUBLISHED])


def test_tokens_of_every_benchmark_class_equal_the_published_ones():
    expected = json.loads((FIXTURES / "tokens.json").read_text())
    names = list(expected["tokens"])
    table = build_tokenizer(CLIP_VITB16.text)(prompts(names, [expected["template"]]))
    assert table.shape == (len(names), 77)
    for row, name in zip(table, names, strict=True):
        ids = expected["tokens"][name]
        assert row[: len(ids)].tolist() == ids and not row[len(ids) :].any()


def test_to_read_names_no_model_of_open_clip_is_imported(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "open_clip"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "open_clip.factory", None)  # an import of the package would fail
    assert _byte_pairs.__wrapped__().encode("a tree") == [320, 2677]
    assert len(expand_templates(["imagenet"])) == 80
    with pytest.raises(ImportError):
        __import__("open_clip")


def test_a_prompt_over_the_context_length_is_refused_not_cut():
    tokenize = build_tokenizer(CLIP_VITB16.text)
    assert tokenize(["tree " * 75])[0, -1] == 49407
    with pytest.raises(VocabularyError, match=r"at most 77 tokens.*has 78"):
        tokenize(["tree " * 76])


def test_the_tiny_encoder_refuses_words_it_never_saw_and_keeps_the_end_token_largest():
    tokenize = build_tokenizer(CLIP_TINY.text)
    tokens = tokenize(["a photo of a tree in the scene", "water"])
    assert int(tokens.max()) == vocabulary_size(CLIP_TINY.text) - 1
    assert (tokens == tokens.max()).sum(dim=1).tolist() == [1, 1]
    with pytest.raises(VocabularyError, match=r"xylophone.*tiny_words\.txt"):
        tokenize(["a xylophone"])


def test_a_vocabulary_that_cannot_be_meant_is_refused(bank):
    clip, embed = bank
    for names in ([], "tree", ["tree", " "], ["Tree", "road", "tree "], ["plane, jet", "plane"], [", plane"]):
        with pytest.raises(VocabularyError):
            embed(clip, names)


def test_of_synonyms_the_first_is_used_as_published(bank):
    clip, embed = bank
    with torch.no_grad():
        assert torch.equal(embed(clip, ["plane, aircraft"]), embed(clip, ["plane"]))
        # Without a blank behind the comma the published rule does not split.
        assert not torch.equal(embed(clip, ["plane,aircraft"]), embed(clip, ["plane"]))


def test_embeddings_have_unit_length_whatever_the_length_of_the_other_prompts(bank):
    clip, embed = bank
    with torch.no_grad():
        alone = embed(clip, ["tree"])
        together = embed(clip, ["tree", "an extraordinarily long description of a river"])
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(2, 1))


def test_a_vocabulary_is_encoded_once_until_a_weight_changes(bank):
    clip, embed = bank
    calls = []
    encode, clip.encode_text = clip.encode_text, lambda tokens: (calls.append(1), encode(tokens))[1]
    with torch.no_grad():
        first = embed(clip, ["tree"])
        assert embed(clip, ["tree"]) is first and len(calls) == 1
        embed(clip, ["road"])
        assert embed(clip, ["tree"]) is first and len(calls) == 2
        clip.text_projection.mul_(-1)
        torch.testing.assert_close(embed(clip, ["tree"]), -first)
        clip.load_state_dict({k: v.clone() for k, v in clip.state_dict().items()})
        embed(clip, ["tree"])
    assert len(calls) == 4
    embed(clip, ["tree"])
    embed(clip, ["tree"])
    assert len(calls) == 6, "nothing may be kept while the text tower learns"
    clip.requires_grad_(False)
    embed(clip, ["tree"])
    assert len(calls) == 6, "a frozen text tower is not run again"


def test_names_of_template_sets_stand_for_open_clips_templates():
    every = expand_templates(["imagenet", PUBLISHED, "imagenet_select"])
    assert len(every) == 80 + 1 + 7 and every[80] == PUBLISHED
    assert all(template.count("{}") == 1 for template in every) and "itap of a {}." in every[81:]
    for templates, message in (
        (["a photo"], "exactly one"),
        (PUBLISHED, "non-empty list"),
        ([], "non-empty list"),
    ):
        with pytest.raises(ConfigError, match=message):
            expand_templates(templates)
