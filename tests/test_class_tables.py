"""Laws of vocabularies with colours, ids and thresholds."""

import codecs
import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.errors import VocabularyError
from rskt_seg.segmenter import Segmenter
from rskt_seg.vocabulary import Vocabulary, make_vocabulary, parse_vocabulary
from tests.stub_models import FixedColours

FULL = Vocabulary(
    ("tree", "water", "bare soil"),
    (("tree", "forest", "woods"), ("water",), ("bare soil",)),
    colors=((0, 128, 0), (0, 0, 255), None),
    ids=(10, 20, 7),
    thresholds=(None, 0.5, 0.25),
)
TABLE = """name,synonyms,color,id,threshold
tree,forest|woods,#008000,10,
water,,"0, 0, 255",20,0.5
bare soil,,,7,.25
"""
OBJECTS = [
    {"name": "tree", "synonyms": ["forest", "woods"], "color": "#008000", "id": 10},
    {"name": "water", "colour": [0, 0, 255], "id": 20, "threshold": 0.5},
    {"name": "bare soil", "id": 7, "threshold": 0.25, "color": None, "synonyms": []},
]


def read(folder, name, content):
    path = Path(folder, name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse_vocabulary(path)


@pytest.mark.parametrize(
    "content",
    [
        TABLE,
        codecs.BOM_UTF8 + TABLE.replace("\n", "\r\n").encode(),
        codecs.BOM_UTF16_LE + TABLE.replace("#008000", '"0,128,0"').encode("utf-16-le"),
        "Threshold;ID;Colour;Synonyms;Name\n;10;#008000;forest|woods;tree\n0,5;20;0,0,255;;water\n"
        '"0,25";7;;;bare soil\n;;;;\n',
        'sep=;\nname;synonyms;color;id;threshold\ntree;"forest;woods";#008000;10;\nwater;;0,0,255;20;0.5\n'
        "bare soil;;;7;0.25",
        "name\tsynonyms\tcolor\tid\tthreshold\n\ntree\ttree|forest|woods\t#008000\t10\n"
        "water\t\t0,0,255\t20\t0.5\nbare soil\t\t\t7\t0.25\n",
    ],
)
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path, content):
    vocabulary = read(tmp_path, "classes.csv", content)
    assert vocabulary == FULL and not vocabulary.remarks


def test_a_json_file_has_objects_with_the_same_facts(tmp_path):
    assert read(tmp_path, "classes.json", json.dumps(OBJECTS)) == FULL


def test_a_json_mapping_gives_each_name_a_colour_or_synonyms(tmp_path):
    mapping = {"tree": "#008000", "water": [0, 0, 255], "soil": ["bare soil", "Soil"], "road": "1,2,3"}
    vocabulary = read(tmp_path, "classes.json", json.dumps(mapping))
    assert vocabulary.names == ("tree", "water", "soil", "road")
    assert vocabulary.synonyms[2] == ("soil", "bare soil")
    assert vocabulary.colors == ((0, 128, 0), (0, 0, 255), None, (1, 2, 3))
    assert vocabulary.ids is None and vocabulary.thresholds is None


def test_colours_of_text_files_are_used(tmp_path):
    expected = ((128, 64, 0), None)
    label_map = read(tmp_path, "a.txt", "building:128,64,0::\ntree:::\n")
    assert label_map.names == ("building", "tree") and label_map.colors == expected
    lines = read(tmp_path, "b.txt", "# comment\nbuilding, house #804000\ntree\n")
    assert lines.synonyms == (("building", "house"), ("tree",)) and lines.colors == expected
    assert read(tmp_path, "c.txt", "building\ntree\n").colors is None


def test_a_column_that_is_not_used_is_told(tmp_path):
    vocabulary = read(tmp_path, "classes.csv", "name,pixels\ntree,5\nwater,6\n")
    assert vocabulary.names == ("tree", "water") and vocabulary.ids is None
    assert vocabulary.remarks == ("columns of the vocabulary that are not used: 'pixels'",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("tree\nwater\n", "expected a first row with the names of the columns"),
        ("", "empty"),
        ("name\n", "empty"),
        ("name,colr\ntree,#008000\n", "no column is called 'colr'; did you mean 'color'"),
        ("name,id,id\ntree,1,2\n", "expected one column 'id'; found 2"),
        ("name;id,color\ntree;1,2\n", "commas and semicolons"),
        ("name,color\ntree,0,128,0\n", "line 2: expected 2 cells; found 4: put quotation marks"),
        ("name,color\ntree,green\n", "line 2: expected a colour"),
        ("name,color\ntree,#00ff0\n", "line 2: expected a colour"),
        ('name,color\ntree,"0,0,256"\n', "line 2: expected a colour"),
        ("name,id\n\ntree,\n,1\n", "line 4: the class has no name"),
        ("name,id\ntree,1.5\n", "line 2: expected a whole number as id; found '1.5'"),
        ("name,id\ntree,-1\n", "expected a whole number as id"),
        ("name,id\ntree,1\nwater,1\n", "classes 'tree' and 'water' have the same id 1"),
        ("name,id\ntree,65535\n", "an id in 0..65534; found 65535"),
        ("name,id\ntree,1\nwater,\n", "class 'water' has no id, and others have one"),
        ('name,color\ntree,#010203\nwater,"1,2,3"\n', "'tree' and 'water' have the same colour 1,2,3"),
        ("name,threshold\ntree,50%\n", "line 2: expected a threshold in 0..1, such as 0.5; found '50%'"),
        ("name,threshold\ntree,1.5\n", "expected for class 'tree' a threshold in 0..1; found 1.5"),
        ('name,synonyms\ntree,"forest, woods"\n', "line 2: expected synonyms separated by"),
        ('name\n"tree\n', "not valid CSV"),
        ("name\ntree\nTree\n", "twice"),
        ("name\ntr\xe9e\n".encode("latin-1"), "save it as UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line_with_the_place(tmp_path, content, message):
    with pytest.raises(VocabularyError) as caught:
        read(tmp_path, "classes.csv", content)
    assert message in str(caught.value) and str(caught.value).startswith(f"{tmp_path / 'classes.csv'}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"tree": "#008000", "tree": "#000080"}', "'tree' appears twice"),
        ('[{"name": "tree", "name": "water"}]', "'name' appears twice"),
        ('[{"name": "tree", "nodata": 1}]', "entry 1: expected an object with the keys"),
        ('[{"name": "tree", "color": "#010203", "colour": "#000000"}]', "each key once"),
        ('["water", {"id": 3}]', "entry 2: expected a string as name; found None"),
        ('[{"name": "tree", "synonyms": "woods"}]', "expected a list of strings as synonyms"),
        ('[{"name": "tree", "color": [1, 2]}]', "entry 1: expected a colour"),
        ('[{"name": "tree", "color": [1, 2, true]}]', "entry 1: expected a colour"),
        ('[{"name": "tree", "id": "3"}]', "class 'tree' an id in 0..65534; found '3'"),
        ('[{"name": "tree", "id": true}]', "an id in 0..65534; found True"),
        ('[{"name": "tree", "threshold": NaN}]', "a threshold in 0..1; found nan"),
        ('[{"name": "tree", "id": 3}, "water"]', "class 'water' has no id"),
        ('{"tree": "green"}', "class 'tree': expected a colour"),
        ('{"tree": 3}', "mapping of names to colours"),
        ('"tree"', "expected a JSON list"),
        ("{}", "empty"),
    ],
)
def test_json_that_cannot_be_used_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(VocabularyError) as caught:
        read(tmp_path, "classes.json", content)
    assert message in str(caught.value) and "\n" not in str(caught.value)


FACTS = st.lists(
    st.tuples(
        st.integers(0, 65534),
        st.tuples(*[st.integers(0, 255)] * 3),
        st.one_of(st.none(), st.floats(0, 1).map(lambda value: round(value, 6))),
    ),
    min_size=1,
    unique_by=(lambda facts: facts[0], lambda facts: facts[1]),
)


@given(FACTS, st.sampled_from(",;\t"), st.booleans())
def test_a_written_table_is_read_back(facts, delimiter, as_hex):
    expected = [(f"class {number}", number, color, threshold) for number, color, threshold in facts]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(("id", "name", "threshold", "color"))
    for name, number, color, threshold in expected:
        shown = "#{:02x}{:02x}{:02x}".format(*color) if as_hex else ",".join(map(str, color))
        writer.writerow((number, name, "" if threshold is None else f"{threshold:.6f}", shown))
    with tempfile.TemporaryDirectory() as folder:
        found = read(folder, "classes.csv", file.getvalue())
    thresholds = found.thresholds or (None,) * len(facts)
    assert list(zip(found.names, found.ids, found.colors, thresholds, strict=True)) == expected


def test_a_closed_set_model_takes_facts_with_its_own_names_alone(tmp_path):
    vocabulary = read(tmp_path, "a.csv", "name,color,id\nRed,#ff0000,5\ngreen,,6\nblue,,7\n")
    found = Segmenter(FixedColours(), vocabulary).vocabulary
    assert found.names == ("red", "green", "blue") and found.ids == (5, 6, 7)
    assert found.colors == ((255, 0, 0), None, None)
    with pytest.raises(VocabularyError, match="fixed"):
        Segmenter(FixedColours(), read(tmp_path, "a.csv", "name,color\nblue,#ff0000\nred,\ngreen,\n"))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"ids": (1,)}, "expected one id or None per class; found 1 for 2 classes"),
        ({"colors": ((1, 2, 3), (1, 2, 300))}, "class 'b' a colour"),
        ({"thresholds": (0.5, -0.1)}, "class 'b' a threshold"),
    ],
)
def test_a_vocabulary_built_in_python_is_checked_as_well(facts, message):
    with pytest.raises(VocabularyError, match=message):
        Vocabulary(("a", "b"), (("a",), ("b",)), **facts)
    assert make_vocabulary(["a", "b"]).ids is None
