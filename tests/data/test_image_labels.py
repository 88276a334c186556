"""Image-level labels: from masks, from a plain file, and from one to the other."""

import csv
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.commands.image_labels import main
from rskt_seg.data.catalog import ClassSet, Split, find_split
from rskt_seg.data.image_labels import (
    classes_of_pair,
    present_classes,
    read_image_labels,
    split_image_labels,
    write_image_labels,
)
from rskt_seg.data.pairing import Pair
from rskt_seg.errors import DatasetError, LabelError

SCRIPT = Path(__file__).parents[2] / "datasets" / "image_labels.py"
CLASSES = ("background", "road", "tree", "Clutter, other")
IMAGES = ("a1", "a2", "b.1")
NAMES = st.text("abcdefgh .,-_/\"'äß", min_size=1, max_size=8).map(str.strip).filter(bool)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes, images=IMAGES, others=()) -> dict[str, tuple[int, ...]]:
    return read_image_labels(written(folder, text), CLASSES, images, others)


def refusal(folder: Path, text: str | bytes, **more) -> str:
    with pytest.raises(DatasetError) as error:
        read(folder, text, **more)
    message = str(error.value)
    assert message.startswith(str(folder / "labels.csv")) and "\n" not in message
    return message.removeprefix(str(folder / "labels.csv"))


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 6), st.sampled_from([0, 2, 5, 255]),
    st.sampled_from([np.uint8, np.uint16]),
)  # fmt: skip
def test_a_class_is_present_from_the_least_number_of_pixels_on(seed, least, classes, ignore, kind):
    ids = np.random.default_rng(seed).integers(0, classes, (9, 13)).astype(kind)
    ids[0, :4] = ignore
    counts = {k: int((ids == k).sum()) for k in range(classes)}
    expected = tuple(k for k, count in counts.items() if count >= least and k != ignore)
    assert present_classes(ids, classes, ignore, least) == expected


def test_a_threshold_under_one_pixel_is_refused():
    with pytest.raises(DatasetError, match="1 pixel or more; found a threshold of 0"):
        present_classes(np.zeros((2, 2), np.uint8), 2, 255, 0)


def test_a_mask_with_an_id_of_no_class_is_refused_and_named(tmp_path):
    pair = Pair(tmp_path / "a.png", tmp_path / "m.png")
    Image.new("RGB", (2, 2), "green").save(pair.image)
    Image.fromarray(np.array([[0, 3], [7, 7]], np.uint8)).save(pair.label)
    assert classes_of_pair(pair, "abcdefgh", 255, 2) == (7,)
    assert classes_of_pair(pair, "abcd", 7) == (0, 3)
    with pytest.raises(LabelError, match=r"m\.png: found ids 7 \(2 px\)"):
        classes_of_pair(pair, "abcd", 255)


def test_a_class_is_shown_only_where_the_image_has_data(tmp_path):
    pair = Pair(tmp_path / "a.png", tmp_path / "m.png")
    Image.fromarray(np.array([[0, 3], [7, 7]], np.uint8)).save(pair.label)
    for alpha, shown in ((255, (0, 3, 7)), (0, (0, 7))):
        image = Image.new("RGBA", (2, 2), (0, 99, 0, 255))
        image.putpixel((1, 0), (0, 0, 0, alpha))
        image.save(pair.image)
        assert classes_of_pair(pair, "abcdefgh", 255) == shown


LINES = 'a1,road,tree\na2,"Clutter, other"\nb.1\n'
EXPECTED = {"a1": (1, 2), "a2": (3,), "b.1": ()}


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        f"image,classes\n{LINES}",
        f"Image,class,class,class\n{LINES}",
        f"image\n{LINES}",
        "\ufeff" + LINES,
        LINES.replace("\n", "\r\n"),
        LINES.removesuffix("\n"),
        'b.1,,\n\n a1 , tree, road,,\n\na2.png, "Clutter, other"\n',
        'train/images/a1.jpg,road,tree\n..\\x\\a2.tif,"Clutter, other"\n/data/b.1.png\n',
        "b.1\n" + LINES.removesuffix("b.1\n"),
    ],
    ids=[
        "plain",
        "titles",
        "many titles",
        "one title",
        "mark",
        "windows",
        "no end",
        "table",
        "paths",
        "order",
    ],
)
def test_a_plain_file_is_read_however_it_was_written(tmp_path, text):
    assert read(tmp_path, text) == EXPECTED
    assert list(read(tmp_path, text)) == list(IMAGES)


def test_an_image_that_is_called_like_the_line_of_titles_is_an_image(tmp_path):
    assert read(tmp_path, "image\n", images=("image",)) == {"image": ()}
    assert read(tmp_path, "image,road\n", images=("image",)) == {"image": (1,)}
    assert read(tmp_path, "image,classes\nimage,tree\n", images=("image",)) == {"image": (2,)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LINES + "c9,road\n", ": 1 lines name images that are not there: 'c9' (line 4); images of this "),
        ("file,label\n" + LINES, "'file' (line 1); images of this split are a1, a2, b.1; remove lines of "
         "other images; a line of titles is `image,classes`"),
        (LINES.replace(",", ";"), "cells are separated by commas"),
        (LINES + "A1,road\n", "'A1' (line 4, did you mean a1?)"),
        ("a1,raod\na2\nb.1\n", ", line 1: unknown class 'raod'; did you mean road?"),
        ("a1\na2,Road\nb.1\n", ", line 2: unknown class 'Road'; did you mean road?"),
        ("a1\na2,zzzzz\nb.1\n", "known: background, road, tree, Clutter, other"),
        ("a1,,road\na2\nb.1\n", ", line 1: unknown class ''; a cell between two commas is empty"),
        ("a1,road\nb.1\n", ": 1 images have no line: a2; an image that shows no class has a line with its "
         "name alone, and images that nobody has looked at are left out by `list`"),
        ("", ": 3 images have no line: a1, a2, b.1"),
        (LINES + "a1.jpg,road\n", ": images with several lines: a1 (lines 1, 4); keep one line per image"),
        ("a1,road,tree,road\na2\nb.1\n", ", line 1: repeated class 'road'"),
        (b"a1,road\na2,r\xf6ad\n", ", line 2: the text is not UTF-8 but perhaps Latin-1 or Windows-1252; "
         "save it as CSV UTF-8"),
        (LINES.encode("utf-16"), ": the text is not UTF-8 but UTF-16; save it as CSV UTF-8"),
        (LINES.encode("utf-16-le"), ": the text is not UTF-8 but UTF-16; save it as CSV UTF-8"),
        (LINES.encode("utf-16-be"), ": the text is not UTF-8 but UTF-16; save it as CSV UTF-8"),
        ('a1,"road\na2\nb.1\n', ", line 1: not comma-separated text: unexpected end of data; look for a "),
        ('a1\n\nb.1\na2,"road\nc\nd\n', ", line 4: not comma-separated text"),
        ('a1\na2,"road\nb.1,"Clutter, other"\n', ", line 2: not comma-separated text"),
        ('a1\na2,"road\nb.1,"\n', ", line 2: a cell goes on in the next line; look for a quote"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_one_line_that_says_where(tmp_path, text, words):
    assert words in refusal(tmp_path, text)


def test_a_line_after_a_cell_of_several_lines_keeps_its_number(tmp_path):
    assert ", line 4: unknown class 'raod'" in refusal(tmp_path, 'a1,"road\n"\na2\nb.1,raod\n')


@pytest.mark.parametrize(
    "cell", ["road, tree", "road,tree", "Road;TREE", "road | tree", "road/tree", "road tree", "road ; tree;"]
)
def test_several_classes_in_a_cell_are_told_apart_from_a_mistaken_name(tmp_path, cell):
    told = refusal(tmp_path, f'a1.png,"{cell}"\na2\nb.1\n')
    assert told == (
        f", line 1: {cell!r} is several classes; each class has a cell of its own: a1.png,road,tree"
    )


def test_a_class_of_several_words_is_no_list_and_can_stand_in_one(tmp_path):
    names = ("ship", "harbor", "baseball diamond", "Clutter, other")
    cells = {"baseball diamond;ship": "a,baseball diamond,ship", "ship;harbour": "did you mean ",
             "Baseball Diamond": "did you mean baseball diamond?",
             "clutter, other": "did you mean Clutter, other?"}  # fmt: skip
    for cell, words in cells.items():
        path = written(tmp_path, f'a,"{cell}"\n')
        with pytest.raises(DatasetError) as error:
            read_image_labels(path, names, ["a"])
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("images", "lines", "words"),
    [
        (
            ("0001", "0002"),
            "1,road\n2\n",
            "'1' (line 1, did you mean 0001?), '2' (line 2, did you mean 0002?)",
        ),
        (("0001", "0000"), "0001\n0\n", "'0' (line 2, did you mean 0000?); names count exactly"),
        (("DJI_1",), "dji_1.JPG,road\n", "'dji_1.JPG' (line 1, did you mean DJI_1?); names count exactly"),
        (("a1", "A1"), "x/a1\nA1\n01a1\n", "'01a1' (line 3); images of this split are A1, a1; remove"),
        (("7a", "07A"), "007a\n", "'007a' (line 1, did you mean 07A or 7a?)"),
        (("007",), "007\n7\n", "spreadsheets drop zeros: format their column as text"),
        (("a1", "b"), "A1\nc\n", "as text); images of this split are a1, b; remove lines of other images"),
    ],
)
def test_an_image_that_is_nearly_there_is_named(tmp_path, images, lines, words):
    told = refusal(tmp_path, lines, images=images)
    assert words in told
    assert ("did you mean" in told) != ("remove" in told) or len(images) == 2


def test_a_workbook_is_no_text(tmp_path):
    told = refusal(tmp_path, b"PK\x03\x04\x14\0\x06\0")
    assert told == ": this is a workbook or another archive, not text; save it as CSV UTF-8"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"gone\.csv: the file of image-level labels does not exist"):
        read_image_labels(tmp_path / "gone.csv", CLASSES, IMAGES)


def test_lines_of_other_images_of_the_folder_are_skipped_and_still_checked(tmp_path):
    assert read(tmp_path, LINES, images=("a2",), others=IMAGES) == {"a2": (3,)}
    assert "unknown class 'rood'" in refusal(tmp_path, LINES + "c,rood\n", others=("c",))
    assert "several lines: c (lines 4, 5)" in refusal(tmp_path, LINES + "c\nc\n", others=("c",))


@settings(max_examples=80)
@given(st.data())
def test_what_is_written_is_read_again(data):
    names = tuple(data.draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)))
    stems = st.text("abAB01._-äß ,\"'", min_size=1, max_size=5).filter(
        lambda s: s == s.strip() and s[0] != "."
    )
    images = data.draw(st.lists(stems, min_size=1, max_size=6, unique=True))
    ids = st.sets(st.integers(0, len(names) - 1)).map(sorted)
    labels = {image: tuple(data.draw(ids)) for image in images}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "labels.csv")
        write_image_labels(path, labels, names)
        assert read_image_labels(path, names, images) == labels
        # Any program that knows such files reads the same.
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        assert [row[0] for row in rows] == ["image", *sorted(images)]


def test_the_labels_of_a_split_are_those_of_its_images(tmp_path):
    classes = ClassSet("own", CLASSES, tuple((k, 0, 0) for k in range(4)))
    split = Split("s", "own", "all", "x", "", ("jpg",), ("png",), classes, image_labels="labels.csv")
    (tmp_path / "x").mkdir()
    for stem in IMAGES:
        (tmp_path / "x" / f"{stem}.jpg").touch()
    written(tmp_path, LINES)
    assert split_image_labels(split, tmp_path) == EXPECTED
    (tmp_path / "x/c.jpg").touch()
    with pytest.raises(DatasetError, match="1 images have no line: c"):
        split_image_labels(split, tmp_path)


@pytest.fixture
def prepared(tmp_path):
    """The masks of three crops under `data`, and of two splits in a YAML file beside them."""
    split = find_split("iSAID_wsss_train_sem_seg")
    masks = {"P1_0": [[0, 1], [3, 3]], "P1_1": [[255, 255], [255, 255]], "P2_0": [[0, 0], [0, 15]]}
    for folder in (split.images, split.labels):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for stem, ids in masks.items():
        Image.new("RGB", (2, 2)).save(tmp_path / f"data/{split.images}/{stem}.png")
        Image.fromarray(np.array(ids, np.uint8)).save(tmp_path / f"data/{split.labels}/{stem}.png")
    part = f"{{images: data/{split.images}, labels: data/{split.labels}}}"
    names = ", ".join(split.class_set.names)
    (tmp_path / "own.yaml").write_text(
        f"name: own\nclasses: [{names}]\nsplits: {{train: {part}, val: {part}}}\n"
    )
    return split, tmp_path


@pytest.fixture
def tool(prepared, capsys):
    """Runs `rskt-seg image-labels`; its exit status, and what it prints."""

    def call(*words: object) -> tuple[int, str]:
        status = main([*map(str, (*words, "--root", prepared[1] / "data"))])
        return status, "".join(capsys.readouterr())

    return call


def test_the_tool_writes_a_file_that_gives_what_the_masks_give(prepared, tool):
    split, folder = prepared
    out = folder / "labels.csv"
    status, told = tool(split.name, "--output", out)
    assert status == 0 and "labels.csv: 3 images with 5 labels, of 4 of the 16 classes" in told
    assert out.read_text() == (
        "image,classes\nP1_0,background,ship,baseball diamond\nP1_1\nP2_0,background,harbor\n"
    )
    found = read_image_labels(out, split.class_set.names, ["P1_0", "P1_1", "P2_0"])
    assert found == {"P1_0": (0, 1, 3), "P1_1": (), "P2_0": (0, 15)}
    status, told = tool(split.name, "--output", out)
    assert status == 2 and "labels.csv exists; remove it or name another file" in told


def test_the_tool_says_where_there_are_no_masks_to_take_labels_from(prepared, tool):
    split, folder = prepared
    weak = f"{{images: data/{split.images}, image_labels: there.csv}}"
    (folder / "weak.yaml").write_text(f"name: weak\nclasses: [a, b]\nsplits: {{train: {weak}}}\n")
    (folder / "there.csv").write_text("P1_0,a\nP1_1\nP2_0\n")
    status, told = tool(folder / "weak.yaml", "--output", folder / "labels.csv")
    assert status == 2 and "weak_train_sem_seg has no masks to take labels from" in told
    assert "there.csv" in told and "PriorWSSSHead" not in told and "learns" not in told


def test_the_tool_takes_a_split_of_a_yaml_file_and_a_least_number_of_pixels(prepared, tool):
    _, folder = prepared
    out = folder / "few.csv"
    status, told = tool(folder / "own.yaml", "--output", out)
    assert status == 2 and "--split chooses one of train, val; found nothing" in told and not out.exists()
    status, _ = tool(folder / "own.yaml", "--split", "val", "--output", out, "--min-pixels", 2)
    assert status == 0
    assert out.read_text() == "image,classes\nP1_0,baseball diamond\nP1_1\nP2_0,background\n"


@pytest.mark.parametrize("line", ["a.png;ship", "a.png ship", "a.png\tship", "a.png|ship,plane"])
def test_another_separator_is_not_an_image_without_classes(tmp_path, line):
    path = tmp_path / "labels.csv"
    path.write_text(f"{line}\n")
    with pytest.raises(DatasetError, match="separated by commas"):
        read_image_labels(path, ("background", "ship", "plane"), {"a"})
