"""The description files of the package: their form, their words, and the classes that they describe."""

import re
from collections import Counter
from importlib.resources import files

import pytest

from rskt_seg.data.class_sets import ISAID, ISPRS, LOVEDA
from rskt_seg.encoders.presets import CLIP_TINY, CLIP_VITB16
from rskt_seg.encoders.text import build_tokenizer
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.models.wsss.knowledge import PACKAGED, TINY, find_packaged, read_knowledge

HEDGES = re.compile(r"\b(may|might|often|usually|typically|sometimes|generally|perhaps|possibly)\b", re.I)


@pytest.fixture(scope="module", params=PACKAGED)
def packaged(request):
    return read_knowledge(request.param)


def told(knowledge):
    """(name, what a description says after its opening), of the whole file."""
    for each in knowledge.classes:
        opening = knowledge.opening.replace("{name}", each.name)
        for text in each.descriptions:
            yield each.name, text.removeprefix(opening).removesuffix(".")


def test_the_packaged_names_are_the_files_that_ship():
    shipped = {path.name for path in files("rskt_seg.models.wsss").joinpath("descriptions").iterdir()}
    assert shipped == {f"{name}.json" for name in PACKAGED}


def test_a_packaged_file_has_twenty_descriptions_a_class_and_nothing_odd(packaged):
    assert packaged.notices == ()
    assert {len(each.descriptions) for each in packaged.classes} == {20}


def test_a_packaged_description_is_one_sentence_of_12_to_40_words(packaged):
    for each in packaged.classes:
        for text in each.descriptions:
            assert 12 <= len(text.split()) <= 40, text
            assert text.endswith(".") == packaged.template.endswith("."), text
    for _, text in told(packaged):
        assert not re.search(r"[.!?;](\s|$)", text), text


def test_packaged_descriptions_do_not_hedge_or_measure(packaged):
    whole = " ".join(text for _, text in told(packaged))
    assert len(HEDGES.findall(whole)) <= 1
    assert len(re.findall(r"\d", whole)) <= 5


def test_no_packaged_file_says_the_same_twice(packaged):
    counts = Counter(" ".join(sorted(re.findall(r"\w+", text.lower()))) for _, text in told(packaged))
    assert [words for words, count in counts.items() if count > 1] == []


def test_at_most_a_third_of_the_sentences_name_other_classes_and_a_class_does_not_name_itself(packaged):
    names = [each.name for each in packaged.classes]
    for name in names:
        own = [text for other, text in told(packaged) if other == name]
        others = "|".join(re.escape(other) for other in names if other != name)
        assert sum(bool(re.search(rf"\b({others})(e?s)?\b", text, re.I)) for text in own) <= len(own) / 3, (
            name
        )


def test_packaged_descriptions_are_in_plain_ascii_and_single_blanks(packaged):
    for _, text in told(packaged):
        assert text.isascii() and text == " ".join(text.split()), text


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_descriptions_fit_the_text_tower_that_they_are_for(name):
    knowledge = read_knowledge(name)
    tokenize = build_tokenizer((CLIP_TINY if name in TINY else CLIP_VITB16).text)
    texts = [text for each in knowledge.classes for text in each.descriptions]
    rows = {tuple(row) for row in tokenize(texts).tolist()}
    assert len(rows) == len(texts)
    tokenize([knowledge.template.replace("{name}", each.name) for each in knowledge.classes])


def test_the_tiny_tower_knows_few_words():
    with pytest.raises(VocabularyError, match="never saw 'pontoons'"):
        build_tokenizer(CLIP_TINY.text)(["a photo of a ship in the scene with pontoons"])


@pytest.mark.parametrize("name", ["isaid", "tiny"])
def test_the_classes_of_isaid_are_described_under_the_official_ids(name):
    found = read_knowledge(name).for_classes(ISAID.names)
    assert [each.name for each in found] == list(ISAID.names)
    assert [each.id for each in found] == list(range(1, 16))


def test_the_classes_of_potsdam_are_found_by_the_names_of_the_data_set():
    found = read_knowledge("potsdam").for_classes(ISPRS.names)
    assert [each.dataset_name for each in found] == list(ISPRS.names)
    assert [each.id for each in found] == list(range(6))
    assert [each.name for each in found] == [
        "impervious surface",
        "building",
        "low vegetation",
        "tree",
        "car",
        "clutter",
    ]


def test_the_classes_of_loveda_are_described_under_their_ids_without_the_background():
    knowledge = read_knowledge("tiny_land")
    found = knowledge.for_classes(LOVEDA.names[1:])
    assert found == knowledge.classes
    assert [each.name for each in found] == [name.lower() for name in LOVEDA.names[1:]]
    assert [each.id for each in found] == list(range(1, 7))


def test_the_packaged_file_is_found_by_its_classes():
    assert find_packaged(["Car", "impervious surfaces", "tree"]).source == "potsdam"
    assert find_packaged(ISAID.names[3:]).source == "isaid"
    assert find_packaged(["ship", "tree"]) is None
    assert find_packaged([]) is None


@pytest.mark.parametrize("name", TINY)
def test_a_file_for_the_tiny_tower_is_only_taken_by_name(name):
    knowledge = read_knowledge(name)
    for names in ([each.name for each in knowledge.classes], *([each.name] for each in knowledge.classes)):
        found = find_packaged(names)
        assert found is None or found.source not in TINY


def test_a_packaged_name_means_the_packaged_file_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "potsdam").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert read_knowledge("potsdam").dataset == "potsdam"
    with pytest.raises(ConfigError, match=r"potsdam: the key 'template' is missing"):
        read_knowledge("./potsdam")
