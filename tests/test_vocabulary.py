import json
import os

import pytest

from rskt_seg.data import catalog
from rskt_seg.errors import VocabularyError
from rskt_seg.vocabulary import Vocabulary, check_names, make_vocabulary, parse_vocabulary, seen_names


def test_an_inline_list_is_split_at_commas_and_keeps_its_order():
    assert parse_vocabulary(" building,road , tree").names == ("building", "road", "tree")


def test_a_text_file_has_one_class_a_line_with_synonyms_after_commas(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("\ufeff# land cover\n\ntree, forest,woods\n  water \n", encoding="utf-8")
    vocabulary = parse_vocabulary(str(file))
    assert vocabulary.names == ("tree", "water")
    assert vocabulary.synonyms == (("tree", "forest", "woods"), ("water",))


def test_a_json_file_is_a_list_in_which_comma_and_blank_separate_synonyms(tmp_path):
    file = tmp_path / "classes.JSON"
    file.write_text(json.dumps(["tree, forest", "a,b", "Straße"]), encoding="utf-8")
    vocabulary = parse_vocabulary(file)
    assert vocabulary.names == ("tree", "a,b", "Straße")
    assert vocabulary.synonyms[0] == ("tree", "forest")


def test_of_a_class_with_synonyms_the_first_name_is_used_and_a_notice_says_so():
    vocabulary = make_vocabulary(["tree, forest", "water"])
    assert vocabulary.prompts("first") == ("tree", "water")
    (notice,) = vocabulary.notices
    assert "tree, forest" in notice and "first name 'tree'" in notice


@pytest.mark.parametrize("rule", ["mean", "max"])
def test_merging_rules_ask_for_every_name(rule):
    assert make_vocabulary(["tree, forest", "water"]).prompts(rule) == ("tree", "forest", "water")


def test_a_vocabulary_passes_through_unchanged():
    vocabulary = make_vocabulary(["tree, forest", "water"])
    assert make_vocabulary(vocabulary) is vocabulary


def test_one_class_is_enough():
    assert parse_vocabulary("building").names == ("building",)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("building", "plain string"),
        ([], "empty"),
        (["a", "  "], "entry 2"),
        (["Road", "tree", "road "], "twice"),
        (["a", 3], "must be strings"),
        (7, "must be a list"),
    ],
)
def test_unusable_names_are_refused_with_the_reason(names, message):
    with pytest.raises(VocabularyError, match=message):
        check_names(names)


@pytest.mark.parametrize(
    ("name", "escaped", "found"),
    [
        ("bare\nsoil", r"'bare\nsoil'", "U+000A"),
        ("a\0b", r"'a\x00b'", "U+0000"),
        ("\x1b[31mred", r"'\x1b[31mred'", "U+001B"),
        ("a\u202eb", r"'a\u202eb'", "U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("a\udcffb", r"'a\udcffb'", "U+DCFF"),
    ],
)
def test_names_that_hide_characters_are_refused_by_name_with_the_characters_visible(name, escaped, found):
    def as_synonym(names):
        return Vocabulary(("water",), (("water", names[1]),))

    for make in (check_names, make_vocabulary, as_synonym):
        with pytest.raises(VocabularyError) as caught:
            make(["road", name])
        message = str(caught.value)
        assert escaped in message and found in message and "entry 2" in message
        assert message.isprintable()


def test_a_single_class_is_questioned_with_what_to_do():
    (doubt,) = parse_vocabulary("building").doubts
    assert "every pixel will be it" in doubt and '"building, background"' in doubt and "scores[0]" in doubt
    (doubt,) = make_vocabulary(["tree, forest"]).doubts
    assert "'tree, forest' are synonyms" in doubt
    assert not parse_vocabulary("building, background").doubts


@pytest.mark.parametrize("name", ["a; b", "a|b", "a . b", "a,b", "a\uff0cb", "road 128 64 128"])
def test_a_name_that_looks_like_several_is_questioned(name):
    (doubt,) = make_vocabulary([name, "water"]).doubts
    assert repr(name) in doubt


@pytest.mark.parametrize("text", ["", "  ", "a,,b", "a, b,", "tree, Tree"])
def test_unusable_inline_lists_are_refused(text):
    with pytest.raises(VocabularyError):
        parse_vocabulary(text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "# nothing\n", "empty"),
        ("gap.txt", "tree,,forest\n", "entry 2"),
        ("twice.txt", "tree\nTREE\n", "twice"),
        ("object.json", '{"a": 1}', "JSON list of strings"),
        ("numbers.json", "[1, 2]", "JSON list of strings"),
        ("broken.json", "[", "not valid JSON"),
        ("names.tsv", "name\ntree\n", ".txt, .csv or .json"),
    ],
)
def test_an_unusable_file_is_named_in_the_message(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(VocabularyError, match=message) as caught:
        parse_vocabulary(str(tmp_path / name))
    assert name in str(caught.value)


def test_a_missing_or_undecodable_file_is_named_in_the_message(tmp_path):
    with pytest.raises(VocabularyError, match=r"none\.txt"):
        parse_vocabulary(str(tmp_path / "none.txt"))
    (tmp_path / "latin.txt").write_bytes("Stra\xdfe".encode("latin-1"))
    with pytest.raises(VocabularyError, match="UTF-8"):
        parse_vocabulary(tmp_path / "latin.txt")


def test_merging_refuses_a_name_that_two_classes_share():
    vocabulary = make_vocabulary(["tree, forest", "wood, Forest"])
    assert vocabulary.prompts("first") == ("tree", "wood")
    with pytest.raises(VocabularyError, match="twice"):
        vocabulary.prompts("mean")


def test_an_unknown_rule_and_an_inconsistent_vocabulary_are_refused():
    with pytest.raises(VocabularyError, match="first, mean, max"):
        make_vocabulary(["a"]).prompts("median")
    with pytest.raises(VocabularyError, match="must start with 'a'"):
        Vocabulary(("a",), (("b", "a"),))
    with pytest.raises(VocabularyError, match="2 groups"):
        Vocabulary(("a",), (("a",), ("b",)))


def test_the_name_of_a_missing_table_is_not_taken_for_a_class():
    with pytest.raises(VocabularyError, match=r"must end in \.txt, \.csv or \.json; found classes\.xlsx"):
        parse_vocabulary("classes.xlsx")
    with pytest.raises(VocabularyError, match=r"classes\.csv: the file does not exist"):
        parse_vocabulary("classes.csv")


OVERLAP = {
    ("DLRSD", "DLRSD"): catalog.DLRSD.names,
    ("DLRSD", "iSAID"): ("ship",),
    ("DLRSD", "LoveDA"): ("Building", "Water"),
    ("DLRSD", "ISPRS"): ("Building", "Tree", "Car"),
    ("DLRSD", "UAVid"): ("Building", "Tree"),
    ("DLRSD", "UDD5"): ("Building",),
    ("DLRSD", "VDD"): ("Water",),
    ("iSAID", "DLRSD"): ("ship",),
    ("iSAID", "LoveDA"): (),
    ("iSAID", "ISPRS"): (),
    ("iSAID", "UAVid"): (),
    ("iSAID", "UDD5"): (),
    ("iSAID", "VDD"): (),
}
SETS = {
    name: getattr(catalog, name.upper())
    for name in ("DLRSD", "iSAID", "LoveDA", "ISPRS", "UAVid", "UDD5", "VDD")
}


@pytest.mark.parametrize(("trained", "tested"), OVERLAP)
def test_the_classes_that_a_training_set_names_are_those_of_the_published_count(trained, tested):
    names = SETS[tested].names
    seen = seen_names(names, SETS[trained].names)
    assert tuple(n for n, is_seen in zip(names, seen, strict=True) if is_seen) == OVERLAP[trained, tested]


def test_case_and_plural_do_not_make_a_word_unseen_and_synonyms_do():
    trained = ("Trees", "grass", "beach", "city", "box")
    asked = ("tree", "Grass", "beaches", "cities", "boxes", "gras", "plane")
    assert seen_names(asked, trained) == (True, True, True, True, True, False, False)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v.json", b"[" * 100_000, "expected a JSON list of strings"),
        ("v.json", b"[" + b"1" * 5000 + b"]", "expected a JSON list of strings"),
        ("v.json", b'["caf\xe9"]', "the file is not UTF-8 text"),
        ("v.txt", b"tr\xe9e\n", "the file is not UTF-8 text"),
        ("v.txt", b"x" * (1 << 22) + b"\n", "it has over 4 MiB"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_in_one_line_that_names_it(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VocabularyError, match=rf"v\.\w+.*{words}") as caught:
        parse_vocabulary(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_pipe_are_no_vocabulary(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(VocabularyError, match=r"folder\.txt: cannot be read: it is a folder"):
        parse_vocabulary(tmp_path / "folder.txt")
    with pytest.raises(VocabularyError, match=r"pipe\.json: cannot be read: it is a pipe"):
        parse_vocabulary(tmp_path / "pipe.json")


def test_more_classes_than_a_label_map_has_ids_for_are_refused():
    names = [f"class {number}" for number in range(65_536)]
    assert len(check_names(names[:-1])) == 65_535
    with pytest.raises(VocabularyError, match=r"at most 65,535 class names, .*found 65,536"):
        check_names(names)
