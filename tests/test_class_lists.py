"""Laws of vocabularies written in the habits of other tools."""

import codecs
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.data import catalog
from rskt_seg.data.class_sets import ClassSet
from rskt_seg.errors import VocabularyError
from rskt_seg.segmenter import Segmenter
from rskt_seg.vocabulary import check_names, parse_vocabulary, read_typed
from tests.stub_models import Colours, FixedColours
from tests.test_segmenter import noise

NAMES = ("building", "road", "tree")
SETS = [each for each in vars(catalog).values() if isinstance(each, ClassSet)]


def refusal(text):
    with pytest.raises(VocabularyError) as caught:
        parse_vocabulary(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("building . road . tree", "full stops"),
        ("building . road . tree .", "full stops"),
        ("building. road. tree.", "full stops"),
        ("building。road。tree。", "full stops"),
        ("building; road; tree", "semicolons"),
        ("building\uff1broad\uff1btree;", "semicolons"),
        ("building|road|tree", "vertical bars"),
        ("| building | road | tree |", "vertical bars"),
        ("building\uff0croad\uff0ctree", "commas of other scripts"),
        ("building、road, tree", "commas of other scripts"),
        ("building، road، tree", "commas of other scripts"),
        ('["building", "road", "tree"]', "brackets"),
        (" ['building', 'road', 'tree',] ", "brackets"),
        ("[building, road, tree]", "brackets"),
        ("'building','road','tree'", "without quotation marks"),
        ('"building"; road; "tree"', "without quotation marks"),
        ("“building”, „road“, «tree»", "without quotation marks"),
        ("0 building, 1 road, 2 tree", "without the numbers 0 to 2"),
        ("1: building, 2: road, 3: tree", "without the numbers 1 to 3"),
        ("0. building; 1. road; 2. tree", "without the numbers 0 to 2"),
        ("building=0, road=1, tree=2", "without the numbers 0 to 2 behind the names"),
        ("building 0; road 1; tree 2", "without the numbers 0 to 2 behind the names"),
        ("`building`, `road`, `tree`", "without quotation marks"),
        ("building\u061b road\u061b tree", "semicolons"),
    ],
)
def test_a_text_with_one_meaning_is_read_and_a_remark_says_how(text, how):
    vocabulary = parse_vocabulary(text)
    assert vocabulary.names == NAMES and vocabulary.synonyms == tuple((name,) for name in NAMES)
    (remark,) = vocabulary.remarks
    assert how in remark and "as 3 classes: 'building', 'road', 'tree'" in remark


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("building, road; tree", "commas and semicolons"),
        ("building . road, tree", "commas and full stops"),
        ("building; road | tree", "semicolons and vertical bars"),
        ("building. road. tree", "one class or several"),
        ("'building, road, tree'", "several names between quotation marks"),
        ('"building, road', "no partner"),
        ("{building, road}", "no partner"),
        ('["building", "road"', "do not match"),
        ('[["building"], ["road"]]', "JSON list of strings"),
        ("[" * 100_000, "JSON list of strings"),
        ('["building", 1]', "JSON list of strings"),
        ("1 building, 2 road", "begins with a number"),
        ("building: 7, road: 8", "ends with a number"),
        ("building\troad", r"'building\troad', with U+0009"),
        ("building\nroad", r"'building\nroad', with U+000A"),
        ("\x1b[31mbuilding, road", r"'\x1b[31mbuilding', with U+001B"),
        ("; ;", "empty"),
        ("[]", "empty"),
    ],
)
def test_a_text_that_could_mean_several_lists_is_refused_with_the_reason(text, reason):
    assert reason in refusal(text)


@pytest.mark.parametrize("classes", SETS, ids=lambda each: each.name)
def test_the_class_names_of_datasets_are_read_as_they_are(classes, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(classes.names))
    (tmp_path / "a.json").write_text(json.dumps(classes.names))
    for source in (", ".join(classes.names), tmp_path / "a.txt", tmp_path / "a.json"):
        vocabulary = parse_vocabulary(source)
        assert vocabulary.names == classes.names and not vocabulary.remarks and not vocabulary.doubts


@pytest.mark.parametrize(
    "names",
    [
        ("Expressway-Service-area", "large vehicle", "overpass (road)"),
        ("0-10 m water", "10-20 m water", "0.5 m water"),
        ("St.John", "farmer's field", "kids' pool"),
        ("2 lane road", "road", "4 lane road"),
        ("Straße", "建筑", "A/B"),
    ],
)
def test_marks_and_numbers_that_belong_to_names_stay_in_them(names, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(names), encoding="utf-8")
    for source in (", ".join(names), tmp_path / "a.txt"):
        assert parse_vocabulary(source).names == names and not parse_vocabulary(source).remarks


@pytest.mark.parametrize("names", [("1 lane", "2 lane; x"), ("a; b", "c . d"), ("'a'", "[b"), ("0 a", "1 b")])
def test_a_json_file_keeps_names_as_they_are(names, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(names))
    assert parse_vocabulary(tmp_path / "a.json").names == names


def test_numbers_that_are_no_ids_stay_and_are_questioned():
    vocabulary = parse_vocabulary("10 tree cover, 20 shrubland")
    assert vocabulary.names == ("10 tree cover", "20 shrubland")
    assert "'10 tree cover', read as part of the name" in vocabulary.remarks[0]


@pytest.mark.parametrize(
    ("content", "how"),
    [
        ("# label:color_rgb:parts:actions\nbuilding:128,64,0::\nroad:1,2,3:a,b:walk\ntree:::\n", "label map"),
        ("building:128,64,0::\r\nroad:1,2,3::\r\ntree:4,5,6::\r\n", "label map"),
        ("0 building\n1 road\n2 tree\n", "numbers 0 to 2"),
        ("0,building\n1,road\n2,tree\n", "numbers 0 to 2"),
        ("0\tbuilding\n1\troad\n2\ttree\n", "numbers 0 to 2"),
        ("1) building\n2) road\n3) tree\n", "numbers 1 to 3"),
        ("- building\n- road\n- tree\n", "list marks"),
        ('"building"\n"road"\n"tree"\n', "quotation marks"),
        ('# a comment\n["building",\n "road",\n "tree"]\n', "brackets"),
        ("building . road . tree\n", "full stops"),
        ("building; road; tree\n", "semicolons"),
        ("names:\n  0: building\n  1: road\n  2: tree\n", "without the title 'names:'"),
        ("building: 0\nroad: 1\ntree: 2\n", "without the numbers 0 to 2 behind the names"),
        ("building #804000\nroad, #010203\ntree\n", "with the colours behind the names"),
        ("\u2013 building\n\u2013 road\n\u2013 tree\n", "without list marks"),
    ],
)
def test_lines_with_one_meaning_are_read_and_a_remark_says_how(content, how, tmp_path):
    (tmp_path / "a.txt").write_bytes(content.encode())
    vocabulary = parse_vocabulary(tmp_path / "a.txt")
    assert vocabulary.names == NAMES and how in vocabulary.remarks[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("# label:color_rgb:parts:actions\nbuilding:1,2,3::\nroad\n", "found 'road'"),
        ("10,building\n20,road\n", "numbers (10) among the names"),
        ("building,128,64,0\nroad,1,2,3\n", "numbers (128, 64, 0) among the names"),
        ("1 building\n2 road\n", "begins with a number"),
        ("tree, forest; water\n", "commas and semicolons"),
        ('"tree, forest"\nwater\n', "several names"),
        ("tree\x1cwater\n", r"tree\x1cwater"),
        ("__ignore__\n_background_\nroad\n", "'__ignore__' marks pixels without a class"),
    ],
)
def test_lines_that_could_mean_several_lists_are_refused_with_file_and_reason(content, reason, tmp_path):
    (tmp_path / "a.txt").write_text(content)
    message = refusal(tmp_path / "a.txt")
    assert message.startswith(f"{tmp_path / 'a.txt'}: ") and reason in message


def test_commas_of_other_scripts_separate_synonyms_in_a_file(tmp_path):
    (tmp_path / "a.txt").write_text("森林\uff0c树木\n水\n", encoding="utf-8")
    vocabulary = parse_vocabulary(tmp_path / "a.txt")
    assert vocabulary.synonyms == (("森林", "树木"), ("水",)) and "other scripts" in vocabulary.remarks[0]


@pytest.mark.parametrize("suffix", ["txt", "json"])
@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("has_mark", [True, False])
def test_utf_16_is_read_with_and_without_a_byte_order_mark(suffix, order, has_mark, tmp_path):
    text = json.dumps(NAMES) if suffix == "json" else "building\r\nroad\r\ntree\r\n"
    mark = {"le": codecs.BOM_UTF16_LE, "be": codecs.BOM_UTF16_BE}[order] if has_mark else b""
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(mark + text.encode(f"utf-16-{order}"))
    vocabulary = parse_vocabulary(path)
    assert vocabulary.names == NAMES
    assert [f"UTF-16-{order.upper()}" in remark for remark in vocabulary.remarks] == [True] * (not has_mark)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"building\nro\0ad\n", r"'ro\x00ad', with U+0000"),
        (codecs.BOM_UTF16_LE + b"a\0b", "not UTF-16"),
        (codecs.BOM_UTF32_LE + "a".encode("utf-32-le"), "U+0000"),
        ("建\n筑".encode("utf-16-be"), "not UTF-8"),
    ],
)
def test_other_zero_bytes_and_broken_texts_are_refused(content, reason, tmp_path):
    (tmp_path / "a.txt").write_bytes(content)
    assert reason in refusal(tmp_path / "a.txt")


def test_a_list_longer_than_a_file_name_is_a_list():
    names = tuple(f"class {k}" for k in range(200))
    assert parse_vocabulary(", ".join(names)).names == names


def test_the_results_say_how_the_vocabulary_was_read():
    for model, text in ((Colours(), "red; green; blue"), (FixedColours(), "red . green . blue")):
        vocabulary = parse_vocabulary(text)
        assert set(vocabulary.remarks) <= {*Segmenter(model, vocabulary).predict(noise(8, 9)).notices}
        assert vocabulary.remarks


MARKS = [*"ab01 ,;|.:#-'\"[]()\t\n\r\\", "\uff0c", "\u201c", "\0", "\u202e", "\ud800", " . "]


@given(st.lists(st.sampled_from(MARKS)).map("".join), st.sampled_from(["", ".txt", ".csv", ".json"]))
def test_any_text_is_read_or_refused_in_one_line(text, suffix):
    with tempfile.TemporaryDirectory() as folder:
        source = text
        if suffix:
            source = Path(folder, f"a{suffix}")
            source.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            vocabulary = parse_vocabulary(source)
        except VocabularyError as error:
            assert str(error).isprintable()
        else:
            assert vocabulary.names == check_names(vocabulary.names)
            assert all(line.isprintable() for line in (*vocabulary.remarks, *vocabulary.doubts))


@pytest.mark.parametrize(
    "text",
    [
        "building / road / tree",
        "building/road/tree",
        "building \u2022 road",
        "building - road - tree",
        "building\\nroad",
        "building  road",
    ],
)
def test_a_name_that_looks_like_several_is_questioned(text):
    vocabulary = parse_vocabulary(text)
    assert vocabulary.names == (text,) and "list each by itself" in vocabulary.doubts[0]


@pytest.mark.parametrize("line", ["0 255 0 0", "road #00ff00 street", "road 0 128 0", "64 128 64 animal"])
def test_colours_that_are_not_at_the_end_of_a_line_are_questioned(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"{line}\nwater\n")
    assert repr(line) in parse_vocabulary(tmp_path / "a.txt").doubts[0]


@pytest.mark.parametrize("text", ["water: #0000ff, road", "water #0000FF; road", "1: water #0000ff, 2: road"])
def test_a_typed_list_may_give_colours(text):
    vocabulary = parse_vocabulary(text)
    assert vocabulary.names == ("water", "road") and vocabulary.colors == ((0, 0, 255), None)
    assert "with the colours behind the names" in vocabulary.remarks[0]


def test_typed_words_are_never_the_name_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("word\nof\nmine\n")
    assert read_typed("secret.txt").names == ("secret.txt",)
    assert read_typed(str(tmp_path / "secret.txt")).names == (str(tmp_path / "secret.txt"),)


def test_typed_words_are_one_line_of_classes_or_a_class_a_line():
    assert read_typed(" building, road\n").synonyms == (("building",), ("road",))
    several = read_typed("building, house #804000\n\nroad\n")
    assert several.synonyms == (("building", "house"), ("road",)) and several.colors == ((128, 64, 0), None)
    with pytest.raises(VocabularyError, match="empty"):
        read_typed(" \n ")
