"""Laws of the YAML file that describes a user's own dataset."""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from rskt_seg.data.catalog import Split, pairs
from rskt_seg.data.image_labels import split_image_labels
from rskt_seg.data.own import read_own
from rskt_seg.errors import DatasetError

EXAMPLE = Path(__file__).parents[2] / "datasets" / "examples" / "farm.yaml"
CLASSES = ["building", "road", "field"]
PART = {"images": "x", "labels": "y"}
TREE = {"name": "farm", "classes": CLASSES, "splits": {"train": PART}}


@pytest.fixture
def folder(tmp_path) -> Path:
    """`x` with images a, b, c and `y` with their labels."""
    for name, ending in (("x", "jpg"), ("y", "png")):
        (tmp_path / name).mkdir()
        for stem in "abc":
            Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / name / f"{stem}.{ending}")
    return tmp_path


def read(folder: Path, **changes) -> tuple[Split, ...]:
    """The splits of a good file with other values for some keys; None leaves a key out."""
    tree = {key: value for key, value in (TREE | changes).items() if value is not None}
    return read_text(folder, yaml.safe_dump(tree, sort_keys=False))


def read_text(folder: Path, text: str) -> tuple[Split, ...]:
    (folder / "farm.yaml").write_text(text, encoding="utf-8")
    return read_own(folder / "farm.yaml")


def message(folder: Path, **changes) -> str:
    """What the file is refused with: one line that begins with the file."""
    with pytest.raises(DatasetError) as error:
        read(folder, **changes)
    text = str(error.value)
    assert text.startswith(f"{folder / 'farm.yaml'}: ") and "\n" not in text
    return text.removeprefix(f"{folder / 'farm.yaml'}: ")


def test_a_file_of_three_keys_is_enough(folder):
    (split,) = read(folder)
    assert (split.name, split.dataset, split.split) == ("farm_train_sem_seg", "farm", "train")
    assert split.class_set.names == ("building", "road", "field") and split.ignore_label == 255
    assert [pair.image.name for pair in pairs(split, "/nowhere")] == ["a.jpg", "b.jpg", "c.jpg"]


def test_folders_are_relative_to_the_file_and_not_to_the_working_directory(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder)
    (absolute,) = read(folder, splits={"train": {"images": str(folder / "x"), "labels": "y"}})
    (split,) = read_own("farm.yaml")
    assert split == absolute
    monkeypatch.chdir("elsewhere")
    assert len(pairs(split, ".")) == 3
    assert read_own("../farm.yaml")[0].class_set == split.class_set


def test_everything_that_can_be_said_is_taken(folder):
    colors = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    part = PART | {"image_extensions": [".JPG"], "label_extensions": ["png", "bmp"]}
    first, second = read(folder, palette=colors, ignore=0, splits={"train": PART, "my-val_2": part})
    assert first.class_set.colors == ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert (first.ignore_label, second.ignore_label) == (0, 0)
    assert second.name == "farm_my-val_2_sem_seg"
    assert (second.image_extensions, second.label_extensions) == (("JPG",), ("png", "bmp"))
    assert len(pairs(second, ".")) == 3


def test_a_missing_palette_is_made_up_and_always_the_same(folder):
    (one,), (two,) = read(folder), read(folder)
    assert one.class_set.colors == two.class_set.colors
    assert len(set(one.class_set.colors)) == 3
    many = [f"class {k}" for k in range(255)]
    assert len(set(read(folder, classes=many)[0].class_set.colors)) == 255


def test_a_list_chooses_stems_of_shared_folders(folder):
    (folder / "some.txt").write_text("c\n\n  a \n")
    parts = {"train": PART, "val": PART | {"list": "some.txt"}}
    (folder / "x" / "unlabelled.jpg").write_bytes((folder / "x/a.jpg").read_bytes())
    train, val = read(folder, splits=parts)
    assert [pair.label.name for pair in pairs(val, ".")] == ["a.png", "c.png"]
    with pytest.raises(DatasetError, match=r"without a label: unlabelled\.jpg"):
        pairs(train, ".")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a\nd\ne", r"2 listed stems without a file in \S*x: d, e$"),
        ("a.jpg", r"1 listed stem without a file in \S*x: a\.jpg; a stem is a name without its extension"),
        ("a\nb\na", r"repeats a; "),
        ("\n\n", "is empty"),
    ],
)
def test_a_list_that_names_absent_stems_repeats_one_or_is_empty_is_refused(folder, lines, words):
    (folder / "some.txt").write_text(lines)
    text = message(folder, splits={"val": PART | {"list": "some.txt"}})
    assert text.startswith("splits.val.list: ")
    assert re.search(words, text), text


def test_a_stem_without_label_and_a_missing_list_are_refused(folder):
    (folder / "y/b.png").unlink()
    (folder / "some.txt").write_text("b\n")
    text = message(folder, splits={"val": PART | {"list": "some.txt"}})
    assert "1 listed stem without a file" in text and f"{folder / 'y'}: b" in text
    assert "splits.val.list" in message(folder, splits={"val": PART | {"list": "gone.txt"}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clases": ["a"]}, "unknown key 'clases'; did you mean classes?"),
        ({"zzz": 1}, "unknown key 'zzz'; known: name, classes"),
        ({"classes": None}, "missing key classes"),
        ({"name": None, "splits": None}, "missing key name, splits"),
        ({"name": "my farm"}, "name must be a word of letters, digits, - and _; found 'my farm'"),
        ({"name": "../farm"}, "name must be a word"),
        ({"classes": "building"}, "classes must be a list of names; found 'building'"),
        ({"classes": ["a", "b", "A"]}, "classes: class name 'A' appears twice"),
        ({"classes": ["a", False]}, "classes: class names must be strings; entry 2 is False; quote names"),
        ({"classes": []}, "classes: the vocabulary is empty"),
        ({"classes": [f"c{k}" for k in range(256)]}, "classes: expected 1..255 classes, found 256"),
        ({"palette": [[1, 2, 3]]}, "palette: expected one colour for each class, found 3 names and 1"),
        ({"palette": [[1, 2, 3], [1, 2, 300], [0, 0, 0]]}, "palette: colours must be (R, G, B) of 0..255"),
        ({"palette": [[1, 2, 3], [1, 2, 3], [0, 0, 0]]}, "palette: repeated colour: (1, 2, 3)"),
        ({"palette": "red"}, "palette must be a list of [R, G, B]"),
        ({"ignore": 256}, "ignore must be an id 0..255; found 256"),
        ({"ignore": True}, "ignore must be an id 0..255; found True"),
        ({"ignore": [0, 255]}, "ignore must be an id"),
        ({"splits": {}}, "splits must name at least one split"),
        ({"splits": ["train"]}, "splits must name at least one split"),
        ({"splits": {"train": "x"}}, "splits.train must hold the keys images, labels"),
        ({"splits": {"train": {"images": "x"}}}, "splits.train: missing key labels"),
        ({"splits": {"t": PART | {"lables": "y"}}}, "splits.t: unknown key 'lables'; did you mean labels?"),
        ({"splits": {"train": PART | {"images": "gone"}}}, "splits.train.images: the folder "),
        ({"splits": {"train": PART | {"labels": 3}}}, "splits.train.labels must be a path; found 3"),
        ({"splits": {"my val": PART}}, "splits.my val must be a word"),
        ({"splits": {"v": PART | {"image_extensions": "jpg"}}}, "splits.v.image_extensions must be a list"),
        ({"name": "DLRSD"}, "name: DLRSD is a dataset of the table; choose another name"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_file_and_the_key(folder, changes, words):
    assert message(folder, **changes).startswith(words)


def test_a_split_may_have_image_level_labels_in_place_of_masks_or_beside_them(folder):
    (folder / "labels.csv").write_text("a,road\nb\nc,field,building\n")
    weak = {"images": "x", "image_labels": "labels.csv"}
    alone, both = read(folder, splits={"train": weak, "val": PART | weak})
    assert (alone.labels, both.labels) == ("", str(folder / "y"))
    assert alone.image_labels == both.image_labels == str(folder / "labels.csv")
    assert split_image_labels(alone, ".") == {"a": (1,), "b": (), "c": (0, 2)}
    assert len(pairs(both, ".")) == 3
    with pytest.raises(
        DatasetError, match=r"farm_train_sem_seg has no masks, only the image-level labels of"
    ):
        pairs(alone, ".")
    gone = message(folder, splits={"train": weak | {"image_labels": "gone.csv"}})
    assert gone.startswith(f"splits.train.image_labels: the file {folder / 'gone.csv'} does not exist")
    assert message(folder, splits={"train": weak | {"image_labels": 3}}).startswith(
        "splits.train.image_labels must be a path; found 3"
    )


def test_a_list_chooses_images_that_have_image_level_labels_alone(folder):
    (folder / "labels.csv").write_text("a,road\nb\nc,field,building\n")
    (folder / "some.txt").write_text("c\n")
    (split,) = read(folder, splits={"t": {"images": "x", "image_labels": "labels.csv", "list": "some.txt"}})
    assert split_image_labels(split, ".") == {"c": (0, 2)}


def test_a_split_of_another_name_is_no_split_of_a_dataset_of_the_table_either(folder):
    with pytest.raises(DatasetError, match=r"name: dlrsd is a dataset of the table"):
        read(folder, name="dlrsd", splits={"mine": PART})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: farm\nname: farm2\n", "the key 'name' repeats in line 2"),
        ("splits:\n  train: {images: x, labels: y, images: y}\n", "the key 'images' repeats in line 2"),
        ("name: [farm\n", "is not valid YAML"),
        ("- name\n", "must hold the keys name, classes"),
        ("", "must hold the keys name, classes"),
        ("name: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
        ("name: " + "[" * 100_000, "nests too deeply"),
        ("name: 2024-13-45\n", "month must be in 1..12"),
        ("name: &a {<<: *a}\n", "over 32 levels"),
    ],
)
def test_a_file_that_is_no_such_yaml_is_refused_in_one_line(folder, text, words):
    with pytest.raises(DatasetError) as error:
        read_text(folder, text)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(str(folder / "farm.yaml"))


@pytest.mark.parametrize("link", ["[*{0}, *{0}, *{0}, *{0}]", "{{<<: [*{0}, *{0}, *{0}, *{0}]}}"])
def test_aliases_that_write_out_to_billions_of_values_are_refused_before_they_are_built(folder, link):
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {link.format(f'a{n - 1}')}" for n in range(1, 20))]
    began = time.monotonic()
    with pytest.raises(DatasetError, match=r"farm\.yaml is not valid YAML: it has over 32 levels or 10000"):
        read_text(folder, "\n".join(lines))
    assert time.monotonic() - began < 5


def test_a_long_value_is_cut_in_its_message(folder):
    with pytest.raises(DatasetError, match=r"farm\.yaml: name must be a word") as caught:
        read_text(folder, f"name: [{'x, ' * 2000}]\nclasses: [a]\nsplits: {{}}\n")
    assert len(str(caught.value)) < 300


def test_folders_pipes_and_files_of_other_encodings_and_of_any_size_are_refused_in_one_line(folder):
    os.mkfifo(folder / "pipe.yaml")
    (folder / "latin.yaml").write_bytes(b"name: x\nclasses: caf\xe9\n")
    (folder / "wide.yaml").write_bytes("name: farm\n".encode("utf-16"))
    (folder / "long.yaml").write_bytes(b"#" * (1 << 22) + b"\n")
    (folder / "folder.yaml").mkdir()
    reasons = {
        "pipe": "it is a pipe or a device",
        "latin": "it is not UTF-8 .*in line 2",
        "wide": "it is not UTF-8",
        "long": "it has over 4 MiB",
        "folder": "it is a folder",
    }
    for name, reason in reasons.items():
        with pytest.raises(DatasetError, match=rf"{name}\.yaml cannot be read: {reason}"):
            read_own(folder / f"{name}.yaml")


def test_a_missing_file_is_named(folder):
    with pytest.raises(DatasetError, match=r"gone\.yaml does not exist"):
        read_own(folder / "gone.yaml")


def test_the_example_shows_every_key_and_describes_its_folders(tmp_path):
    text = EXAMPLE.read_text(encoding="utf-8")
    for part, stems in (("train", ["p1", "p2"]), ("tiles", ["t1", "t2", "t3"]), ("sketch", ["s1"])):
        for kind, ending in (("images", "jpg"), ("labels", "png")):
            (tmp_path / part / kind).mkdir(parents=True)
            for stem in stems:
                (tmp_path / part / kind / f"{stem}.{ending}").touch()
    (tmp_path / "tiles/val.txt").write_text("t2\nt3\n")
    (tmp_path / "sketch/labels.csv").write_text("s1,road,tree\n")
    train, val, sketch = read_text(tmp_path, text)
    assert [len(pairs(split, ".")) for split in (train, val)] == [2, 2]
    assert split_image_labels(sketch, ".") == {"s1": (1, 3)}
    assert train.class_set.names == ("building", "road", "field", "tree")
    tree = yaml.safe_load(text)
    assert set(tree) == {"name", "classes", "palette", "ignore", "splits"}
    assert set(tree["splits"]["val"]) == {"images", "labels", "list", "image_extensions", "label_extensions"}
    assert set(tree["splits"]["sketch"]) == {"images", "image_labels"}
