"""Description files: what is read, what is refused and with which words, and the files that come with the
package."""

import hashlib
import json
import re
from collections import Counter
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.data.class_sets import ISAID, ISPRS, LOVEDA
from rskt_seg.encoders.presets import CLIP_TINY, CLIP_VITB16
from rskt_seg.encoders.text import build_tokenizer
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.models.wsss.knowledge import PACKAGED, TINY, packaged_for, read_knowledge

TEMPLATE = "an aerial view of {name}."
HEDGES = re.compile(r"\b(may|might|often|usually|typically|sometimes|generally|perhaps|possibly)\b", re.I)


def sentences(name, count=10, opening=TEMPLATE + " It exhibits "):
    return [f"{opening.replace('{name}', name)}pattern number {k}." for k in range(count)]


def document(**changes):
    classes = [
        {"name": "ship", "id": 1, "descriptions": sentences("ship")},
        {"name": "car", "id": 4, "class": "Moving car", "descriptions": sentences("car")},
    ]
    good = {"dataset": "mine", "version": 1, "template": TEMPLATE, "generator": "me", "classes": classes}
    return {key: value for key, value in (good | changes).items() if value is not None}


def line_of(path, text):
    """The line of the last occurrence of a piece of the file."""
    content = path.read_text(encoding="utf-8")
    return content[: content.rindex(text)].count("\n") + 1


@pytest.fixture
def write(tmp_path):
    def to_file(content):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(content, indent=2), encoding="utf-8")
        return path

    return to_file


def refusal(path):
    with pytest.raises(ConfigError) as refused:
        read_knowledge(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_a_file_is_read_in_its_own_order(write):
    path = write(document())
    knowledge = read_knowledge(path)
    assert [each.name for each in knowledge.classes] == ["ship", "car"]
    assert [each.id for each in knowledge.classes] == [1, 4]
    assert [each.dataset_name for each in knowledge.classes] == [None, "Moving car"]
    assert knowledge.classes[1].descriptions == tuple(sentences("car"))
    assert (knowledge.dataset, knowledge.template) == ("mine", TEMPLATE)
    assert knowledge.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert knowledge.notices == ()


def test_a_path_may_be_text_and_a_byte_order_mark_may_be_there(write):
    path = write(document())
    plain = read_knowledge(str(path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    marked = read_knowledge(path)
    assert marked.classes == plain.classes and marked.digest != plain.digest


def test_blanks_around_names_and_descriptions_do_not_count(write):
    classes = [{"name": " ship ", "id": 1, "descriptions": [f"  {text}\n" for text in sentences("ship")]}]
    (ship,) = read_knowledge(write(document(classes=classes))).classes
    assert ship.name == "ship" and ship.descriptions == tuple(sentences("ship"))


def test_a_file_may_have_its_own_opening(write):
    own = "a photo of {name} in "
    classes = [{"name": "ship", "id": 1, "descriptions": sentences("ship", opening=own)}]
    knowledge = read_knowledge(write(document(classes=classes, opening=own)))
    assert knowledge.opening == own
    assert "must begin with 'an aerial view of ship. It exhibits '" in refusal(
        write(document(classes=classes))
    )


@settings(max_examples=30, deadline=None)
@given(st.permutations(["ship", "car", "BUS"]), st.integers(1, 3))
def test_classes_come_in_the_order_in_which_they_are_asked_for(tmp_path_factory, names, count):
    classes = [
        {"name": name, "id": k, "class": f"data set's {name}", "descriptions": sentences(name)}
        for k, name in enumerate(["ship", "car", "bus"])
    ]
    path = tmp_path_factory.mktemp("asked") / "mine.json"
    path.write_text(json.dumps(document(classes=classes)), encoding="utf-8")
    asked = names[:count]
    for spelling in (asked, [f"Data Set's {name}" for name in asked]):
        found = read_knowledge(path).for_classes(spelling)
        assert [each.name for each in found] == [name.lower() for name in asked]
        assert all(each.descriptions == tuple(sentences(each.name)) for each in found)


def test_a_class_without_descriptions_is_named_with_what_is_near(write):
    path = write(document())
    knowledge = read_knowledge(path)
    with pytest.raises(ConfigError, match=r"no descriptions of 'shp', 'tree'; near are 'ship'") as refused:
        knowledge.for_classes(["car", "shp", "tree"])
    assert str(path) in str(refused.value)
    with pytest.raises(ConfigError, match="it describes ship, car"):
        knowledge.for_classes(["zzz"])


def test_one_class_under_two_names_is_refused(write):
    with pytest.raises(ConfigError, match="'car' and 'moving CAR' are the same class"):
        read_knowledge(write(document())).for_classes(["car", "moving CAR"])


def with_description(position, text):
    """The good file with one description of the class car exchanged."""
    content = document()
    content["classes"][1]["descriptions"][position] = text
    return content


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 9), st.sampled_from(['\u2713 "quoted" \\ ', "{}[],: ", "\U0001f6a2", ""]), st.booleans()
)
def test_the_line_of_a_bad_description_is_told_whatever_stands_before_it(
    tmp_path_factory, position, odd, escaped
):
    content = with_description(position, "no opening")
    ship = content["classes"][0]["descriptions"]
    ship[:] = [text.replace("pattern", f"{odd}pattern") for text in ship]
    path = tmp_path_factory.mktemp("lines") / "mine.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=escaped), encoding="utf-8")
    assert f"class 'car', line {line_of(path, 'no opening')}: must begin with" in refusal(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \t", "an empty description"),
        ("It exhibits nothing.", "must begin with 'an aerial view of car. It exhibits '"),
        ("An aerial view of car. It exhibits x.", "must begin with"),
        ("an aerial view of ship. It exhibits x.", "must begin with"),
        ("an aerial view of car. It exhibits .", "nothing follows the opening"),
        ("an aerial view of car. It exhibits", "must begin with"),
        ("an aerial view of car. It exhibits  PATTERN number 0 ", "repeats the description of line"),
    ],
)
def test_a_bad_description_is_refused_with_file_class_and_line(write, text, message):
    path = write(with_description(7, text))
    line = line_of(path, json.dumps(text))
    said = refusal(path)
    assert f"mine.json, class 'car', line {line}: {message}" in said
    if "repeats" in message:
        assert said.endswith(f"line {line - 7}")


def test_a_description_that_is_no_string_is_refused(write):
    assert "class 'car', line" in refusal(write(with_description(3, 17)))


@pytest.mark.parametrize(
    ("count", "message"), [(9, "10..40 descriptions expected, found 9"), (41, "found 41")]
)
def test_too_few_and_too_many_descriptions_are_refused(write, count, message):
    classes = [{"name": "ship", "id": 1, "descriptions": sentences("ship", count)}]
    path = write(document(classes=classes))
    line = line_of(path, json.dumps("ship"))
    assert f"class 'ship', line {line}: 10..40" in refusal(path)
    assert message in refusal(path)


def test_every_class_needs_as_many_descriptions(write):
    content = document()
    content["classes"][1]["descriptions"].append(sentences("car", 11)[-1])
    path = write(content)
    line = line_of(path, json.dumps("car"))
    assert f"class 'car', line {line}: 11 descriptions, but class 'ship' has 10" in refusal(path)


@pytest.mark.parametrize("key", ["dataset", "version", "template", "classes"])
def test_a_missing_key_is_named(write, key):
    assert f"the key '{key}' is missing" in refusal(write(document(**{key: None})))


@pytest.mark.parametrize("key", ["name", "id", "descriptions"])
def test_a_missing_key_of_a_class_is_named(write, key):
    content = document()
    del content["classes"][1][key]
    where = "class 'number 2'" if key == "name" else "class 'car', line"
    said = refusal(write(content))
    assert where in said and f"the key '{key}' is missing" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 1 expected, found 2"),
        ({"version": True}, "version must be a whole number"),
        ({"dataset": " "}, "dataset must be a string that is not empty"),
        ({"classes": []}, "no class is described"),
        ({"classes": {}}, "classes must be a list"),
        ({"classes": ["ship"]}, "entry 1 of classes must be an object"),
        ({"template": "an aerial view"}, "template needs exactly one {name}"),
        ({"template": "{name} and {name}"}, "template needs exactly one {name}"),
        ({"opening": "a photo"}, "opening needs exactly one {name}"),
    ],
)
def test_a_key_of_another_type_or_value_is_refused(write, changes, message):
    assert message in refusal(write(document(**changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 1}, "1 is also that of class 'ship'"),
        ({"id": 0}, "in the order of their ids expected, found 0 after 1"),
        ({"id": 256}, "id must be 0..255"),
        ({"id": "4"}, "id must be a whole number"),
        ({"class": "SHIP"}, "'ship' is also that of class 'ship'"),
        ({"class": ""}, "class must be a string that is not empty"),
    ],
)
def test_classes_must_differ_and_stand_in_the_order_of_their_ids(write, changes, message):
    content = document()
    content["classes"][1] |= changes
    said = refusal(write(content))
    assert "class 'car', line " in said and message in said


def test_a_file_that_is_missing_is_named_with_the_packaged_ones(tmp_path):
    assert "packaged are isaid, potsdam, tiny, tiny_land" in refusal(tmp_path / "absent.json")
    assert "cannot read" in refusal(tmp_path)


def test_a_file_that_is_no_text_names_the_line(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes('{\n "dataset": "Gebäude"}'.encode("latin-1"))
    assert "line 2: no UTF-8 text" in refusal(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no JSON"),
        ('{\n"dataset": "x",\n}', "line 3: no JSON"),
        ('{"a": 1,\n "b": {"c": 1,\n "c": 2}}', "line 3: the key 'c' is given twice"),
        ("[]", "a JSON object with the keys"),
        ("[" * 100_000 + "]" * 100_000, "no description file"),
    ],
    ids=["empty", "comma", "twice", "list", "deep"],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    assert message in refusal(path)


def test_what_nothing_reads_and_what_is_not_said_is_noticed(write):
    content = document(generator=None, author="me")
    content["classes"][0]["colour"] = "red"
    path = write(content)
    assert read_knowledge(path).notices == (
        f"{path}: nothing reads the key 'author'",
        f"{path}, class 'ship': nothing reads the key 'colour'",
        f"{path}: generator does not say who wrote the sentences and when",
    )


# ---- the files of the package ----


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
    assert packaged_for(["Car", "impervious surfaces", "tree"]).source == "potsdam"
    assert packaged_for(ISAID.names[3:]).source == "isaid"
    assert packaged_for(["ship", "tree"]) is None
    assert packaged_for([]) is None


@pytest.mark.parametrize("name", TINY)
def test_a_file_for_the_tiny_tower_is_only_taken_by_name(name):
    knowledge = read_knowledge(name)
    for names in ([each.name for each in knowledge.classes], *([each.name] for each in knowledge.classes)):
        found = packaged_for(names)
        assert found is None or found.source not in TINY


def test_a_packaged_name_means_the_packaged_file_wherever_one_stands(tmp_path, monkeypatch):
    (tmp_path / "potsdam").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert read_knowledge("potsdam").dataset == "potsdam"
    with pytest.raises(ConfigError, match=r"potsdam: the key 'template' is missing"):
        read_knowledge("./potsdam")
