"""Description files: what is read, and which classes are found in it."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.knowledge import read_knowledge
from tests.models.wsss_knowledge import TEMPLATE, document, refusal, sentences, write


def test_a_file_is_read_in_its_own_order(tmp_path):
    path = write(tmp_path, document())
    knowledge = read_knowledge(path)
    assert [each.name for each in knowledge.classes] == ["ship", "car"]
    assert [each.id for each in knowledge.classes] == [1, 4]
    assert [each.dataset_name for each in knowledge.classes] == [None, "Moving car"]
    assert knowledge.classes[1].descriptions == tuple(sentences("car"))
    assert (knowledge.dataset, knowledge.template) == ("mine", TEMPLATE)
    assert knowledge.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert knowledge.notices == ()


def test_a_path_may_be_text_and_a_byte_order_mark_may_be_there(tmp_path):
    path = write(tmp_path, document())
    plain = read_knowledge(str(path))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    marked = read_knowledge(path)
    assert marked.classes == plain.classes and marked.digest != plain.digest


def test_blanks_around_names_and_descriptions_do_not_count(tmp_path):
    classes = [{"name": " ship ", "id": 1, "descriptions": [f"  {text}\n" for text in sentences("ship")]}]
    (ship,) = read_knowledge(write(tmp_path, document(classes=classes))).classes
    assert ship.name == "ship" and ship.descriptions == tuple(sentences("ship"))


def test_a_file_may_have_its_own_opening(tmp_path):
    own = "a photo of {name} in "
    classes = [{"name": "ship", "id": 1, "descriptions": sentences("ship", opening=own)}]
    knowledge = read_knowledge(write(tmp_path, document(classes=classes, opening=own)))
    assert knowledge.opening == own
    assert "must begin with 'an aerial view of ship. It exhibits '" in refusal(
        write(tmp_path, document(classes=classes))
    )


@settings(max_examples=30)
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


def test_a_class_without_descriptions_is_named_with_what_is_near(tmp_path):
    path = write(tmp_path, document())
    knowledge = read_knowledge(path)
    with pytest.raises(ConfigError, match=r"no descriptions of 'shp', 'tree' \(similar: 'ship'\)") as refused:
        knowledge.for_classes(["car", "shp", "tree"])
    assert str(path) in str(refused.value)
    with pytest.raises(ConfigError, match=r"\(described are ship, car\)"):
        knowledge.for_classes(["zzz"])


def test_one_class_under_two_names_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'car' and 'moving CAR' are the same class"):
        read_knowledge(write(tmp_path, document())).for_classes(["car", "moving CAR"])
