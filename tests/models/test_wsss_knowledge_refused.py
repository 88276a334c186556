"""Description files that are refused, and with which words."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.knowledge import read_knowledge
from tests.models.wsss_knowledge import document, line_of, refusal, sentences, write


def with_description(position, text):
    """The good file with one description of the class car exchanged."""
    content = document()
    content["classes"][1]["descriptions"][position] = text
    return content


@settings(max_examples=40)
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
    assert f"class 'car', line {line_of(path, 'no opening')}: description must begin with" in refusal(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \t", "description is empty"),
        ("It exhibits nothing.", "description must begin with 'an aerial view of car. It exhibits '"),
        ("An aerial view of car. It exhibits x.", "description must begin with"),
        ("an aerial view of ship. It exhibits x.", "description must begin with"),
        ("an aerial view of car. It exhibits .", "description ends after the opening"),
        ("an aerial view of car. It exhibits", "description must begin with"),
        ("an aerial view of car. It exhibits  PATTERN number 0 ", "repeats the description of line"),
    ],
)
def test_a_bad_description_is_refused_with_file_class_and_line(tmp_path, text, message):
    path = write(tmp_path, with_description(7, text))
    line = line_of(path, json.dumps(text))
    said = refusal(path)
    assert f"mine.json, class 'car', line {line}: {message}" in said
    if "repeats" in message:
        assert said.endswith(f"line {line - 7}")


def test_a_description_that_is_no_string_is_refused(tmp_path):
    assert "class 'car', line" in refusal(write(tmp_path, with_description(3, 17)))


@pytest.mark.parametrize(
    ("count", "message"), [(9, "expected 10 to 40 descriptions, found 9"), (41, "found 41")]
)
def test_too_few_and_too_many_descriptions_are_refused(tmp_path, count, message):
    classes = [{"name": "ship", "id": 1, "descriptions": sentences("ship", count)}]
    path = write(tmp_path, document(classes=classes))
    line = line_of(path, json.dumps("ship"))
    assert f"class 'ship', line {line}: expected 10 to 40" in refusal(path)
    assert message in refusal(path)


def test_every_class_needs_as_many_descriptions(tmp_path):
    content = document()
    content["classes"][1]["descriptions"].append(sentences("car", 11)[-1])
    path = write(tmp_path, content)
    line = line_of(path, json.dumps("car"))
    assert f"class 'car', line {line}: found 11 descriptions, but class 'ship' has 10" in refusal(path)


@pytest.mark.parametrize("key", ["dataset", "version", "template", "classes"])
def test_a_missing_key_is_named(tmp_path, key):
    assert f"the key '{key}' is missing" in refusal(write(tmp_path, document(**{key: None})))


@pytest.mark.parametrize("key", ["name", "id", "descriptions"])
def test_a_missing_key_of_a_class_is_named(tmp_path, key):
    content = document()
    del content["classes"][1][key]
    where = "class 'number 2'" if key == "name" else "class 'car', line"
    said = refusal(write(tmp_path, content))
    assert where in said and f"the key '{key}' is missing" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "expected version 1, found 2"),
        ({"version": True}, "version must be an integer"),
        ({"dataset": " "}, "dataset must be a non-empty string"),
        ({"classes": []}, "classes is empty"),
        ({"classes": {}}, "classes must be a list"),
        ({"classes": ["ship"]}, "entry 1 of classes must be an object"),
        ({"template": "an aerial view"}, "template must contain {name} exactly once"),
        ({"template": "{name} and {name}"}, "template must contain {name} exactly once"),
        ({"opening": "a photo"}, "opening must contain {name} exactly once"),
    ],
)
def test_a_key_of_another_type_or_value_is_refused(tmp_path, changes, message):
    assert message in refusal(write(tmp_path, document(**changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 1}, "the id 1 is already used by class 'ship'"),
        ({"id": 0}, "classes must be sorted by id, found id 0 after 1"),
        ({"id": 256}, "id must be between 0 and 255, found 256"),
        ({"id": "4"}, "id must be an integer"),
        ({"class": "SHIP"}, "the name 'ship' is already used by class 'ship'"),
        ({"class": ""}, "class must be a non-empty string"),
    ],
)
def test_classes_must_differ_and_stand_in_the_order_of_their_ids(tmp_path, changes, message):
    content = document()
    content["classes"][1] |= changes
    said = refusal(write(tmp_path, content))
    assert "class 'car', line " in said and message in said


def test_a_file_that_is_missing_is_named_with_the_packaged_ones(tmp_path):
    assert "packaged are isaid, potsdam, tiny, tiny_land" in refusal(tmp_path / "absent.json")
    assert "cannot read" in refusal(tmp_path)


def test_a_file_that_is_no_text_names_the_line(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes('{\n "dataset": "Gebäude"}'.encode("latin-1"))
    assert "line 2: not valid UTF-8" in refusal(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: not valid JSON"),
        ('{\n"dataset": "x",\n}', "line 3: not valid JSON"),
        ('{"a": 1,\n "b": {"c": 1,\n "c": 2}}', "line 3: duplicate key 'c'"),
        ("[]", "a JSON object with the keys"),
        ("[" * 100_000 + "]" * 100_000, "cannot be parsed as JSON"),
        ("[" * 800 + "]" * 800, "cannot be parsed as JSON: it nests too deeply"),
    ],
    ids=["empty", "comma", "twice", "list", "deep", "nested"],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    assert message in refusal(path)


def test_what_nothing_reads_and_what_is_not_said_is_noticed(tmp_path):
    content = document(generator=None, author="me")
    content["classes"][0]["colour"] = "red"
    path = write(tmp_path, content)
    assert read_knowledge(path).notices == (
        f"{path}: unknown key 'author'",
        f"{path}, class 'ship': unknown key 'colour'",
        f"{path}: generator is missing: who wrote the descriptions, and when?",
    )


def test_folders_and_pipes_are_no_description_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for path, reason in ((tmp_path, "it is a folder"), (tmp_path / "pipe.json", "it is a pipe")):
        with pytest.raises(ConfigError, match=f"cannot read the description file {path}: {reason}"):
            read_knowledge(path)
