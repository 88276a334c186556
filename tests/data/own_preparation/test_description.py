"""Laws of the YAML file from which a dataset is prepared."""

import pytest

from rskt_seg.data.own_preparation import read_description
from rskt_seg.errors import DatasetError
from tests.data.own_preparation.sources import write_description

IDS = {"form": "ids", "path": "labels"}
COLORS = {"form": "colors", "path": "m", "colors": {"field": "#00FF00", "house": "#FF0000"}}
VECTOR = {"form": "vector", "path": "a.gpkg", "attribute": "kind"}

FAULTS = [
    ({"imgaes": "x"}, "did you mean images?"),
    ({"name": "DLRSD"}, "dataset of the table"),
    ({"name": "two words"}, "name must be a word"),
    ({"classes": "field"}, "classes must be a list"),
    ({"classes": ["field", "field"]}, "classes:"),
    ({"palette": [[1, 2, 3]]}, "palette: expected one colour for each class"),
    ({"palette": [[1, 2, 3], [1, 2, 300]]}, "palette: colours must be"),
    ({"images": {"path": "x", "band": [1]}}, "did you mean bands?"),
    ({"images": {"path": "x", "bands": [1, 2]}}, "images.bands must be one or three"),
    ({"images": {"path": "x", "stretch": "p98-2"}}, "images.stretch: stretch must be"),
    ({"images": {"path": "x", "nodata": "none"}}, "images.nodata must be a number"),
    ({"labels": {"form": "mask", "path": "x"}}, "labels.form must be one of ids, colors"),
    ({"labels": IDS | {"snap": 3}}, "unknown key 'snap'"),
    ({"labels": IDS | {"values": {"barn": 3}}}, "'barn' is no class"),
    ({"labels": IDS | {"values": {"field": 1}}}, "class 'house' has no value"),
    ({"labels": IDS | {"values": {"field": 1, "house": [2, 1]}}}, "one value cannot be two classes"),
    ({"labels": IDS | {"ignore": [1]}}, "1 is the value of class 'house' already"),
    ({"labels": COLORS | {"colors": {"field": "#00FF00"}}}, "class 'house' has no value"),
    ({"labels": COLORS | {"colors": {"field": "#00FF00", "house": "0,255,0"}}}, "cannot be two classes"),
    ({"labels": COLORS | {"colors": {"field": "#00FF00", "house": None}}}, "quote it"),
    ({"labels": COLORS | {"ignore": ["#FF0000"]}}, "colour of class 'house' already"),
    ({"labels": COLORS | {"snap": -1}}, "labels.snap must be a distance"),
    ({"labels": COLORS | {"tolerance": 2}}, "labels.tolerance must be a share"),
    ({"labels": VECTOR | {"attribute": None}}, "missing key attribute"),
    ({"labels": VECTOR | {"priority": ["house"]}}, "priority must list every class once"),
    ({"labels": VECTOR | {"background": "sea"}}, "background must be a class"),
    ({"labels": VECTOR | {"all_touched": "yes"}}, "all_touched must be true or false"),
    ({"labels": VECTOR | {"ignore": ["field"]}}, "'field' is a value of class 'field' already"),
    ({"tiles": {"size": 0}}, "tiles.size must be"),
    ({"tiles": {"size": 64, "overlap": 64}}, "tiles.overlap must be"),
    ({"tiles": {"size": 64, "keep_empty": 3}}, "tiles.keep_empty must be a share"),
    ({"tiles": {"size": 64, "background": "sea"}}, "tiles.background must be a class"),
    ({"split": {}}, "split must name splits"),
    ({"split": {"seed": 1}}, "names no split"),
    ({"split": {"val": 0.2, "sed": 1}}, "did you mean seed?"),
    ({"split": {"val": 0}}, "has the share 0"),
    ({"split": {"train": 0.5, "val": 0.2}}, "sum to 0.7"),
    ({"split": {"val": 0.7, "test": 0.7}}, "sum to 1.4"),
    ({"split": {"val": 0.2, "blocks": 512}}, 'such as "512 m"'),
    ({"split": {"val": ["a"], "blocks": "512 m"}}, "blocks are divided by shares"),
    ({"split": {"val": "no_list.txt"}}, "cannot be read"),
    ({"split": {"val": 1.5}}, "split.val must be a share"),
]


@pytest.mark.parametrize(("keys", "expected"), FAULTS, ids=[str(text) for _, text in FAULTS])
def test_every_fault_of_a_file_is_one_line_that_names_it(tmp_path, keys, expected):
    path = write_description(tmp_path, **keys)
    with pytest.raises(DatasetError) as error:
        read_description(path)
    text = str(error.value)
    assert expected in text and text.startswith(f"{path}: ") and "\n" not in text


def test_a_short_file_says_all(tmp_path):
    description = read_description(write_description(tmp_path))
    assert description.images.path == str(tmp_path / "images") and description.tiles is None
    assert description.division.names == ("all",)


def test_the_first_split_takes_the_rest(tmp_path):
    division = read_description(write_description(tmp_path, split={"val": 0.25, "test": 0.25})).division
    assert dict(division.shares) == {"train": 0.5, "val": 0.25, "test": 0.25}


def test_classes_have_the_colours_of_their_masks_unless_the_file_gives_others(tmp_path):
    labels = COLORS | {"colors": {"house": ["#FF0000", "#AA0000"], "field": [0, 255, 0]}}
    assert read_description(write_description(tmp_path, labels=labels)).class_set.colors == (
        (0, 255, 0),
        (255, 0, 0),
    )
    given = write_description(tmp_path, labels=labels, palette=[[1, 2, 3], [4, 5, 6]])
    assert read_description(given).class_set.colors == ((1, 2, 3), (4, 5, 6))


def test_splits_that_give_way_come_first(tmp_path):
    for split, expected in (
        ({"val": 0.2, "train": 0.5, "test": 0.3}, ("train", "val", "test")),
        ({"val": ["a"], "train": ["b"]}, ("train", "val")),
        ({"train": ["a"], "val": ["b"], "unused": "rest"}, ("unused", "train", "val")),
    ):
        assert read_description(write_description(tmp_path, split=split)).division.names == expected


def test_values_of_a_class_may_be_several_and_numbers(tmp_path):
    labels = VECTOR | {"values": {"house": [1, "barn", 2.0], "field": 3}, "ignore": [9, "cloud", "a"]}
    form = read_description(write_description(tmp_path, labels=labels)).labels
    assert dict(form.values) == {"1": 1, "barn": 1, "2": 1, "3": 0} and form.ignored == ("9", "a", "cloud")
