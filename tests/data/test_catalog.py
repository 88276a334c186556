"""Laws of the dataset table and of pairing images with labels."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rskt_seg.data.catalog import (
    DEEPGLOBE,
    IGNORE_LABEL,
    ISPRS,
    ROOT_VARIABLE,
    SPLITS,
    ClassSet,
    Split,
    find_split,
    pairs,
)
from rskt_seg.data.labels import check_label, read_label
from rskt_seg.data.pairing import Pair
from rskt_seg.data.preparation import RECIPES
from rskt_seg.errors import DatasetError, DatasetNotFoundError
from rskt_seg.metrics.protocols import find_protocol

README = Path(__file__).resolve().parents[2] / "datasets" / "README.md"

ISPRS_NAMES = "Impervious surfaces, Building, Low vegetation, Tree, Car, Clutter/background"
PUBLISHED_VOCABULARIES = {
    "DLRSD": "airplane, bare soil, buildings, cars, chaparral, court, dock, field, grass, mobile home, "
    "pavement, sand, sea, ship, tanks, trees, water",
    "iSAID": "ship, storage tank, baseball diamond, tennis court, basketball court, ground track field, "
    "bridge, large vehicle, small vehicle, helicopter, swimming pool, roundabout, soccer ball field, "
    "plane, harbor",
    "LoveDA": "no-data, Background, Building, Road, Water, Barren, Forest, Agriculture",
    "Potsdam": ISPRS_NAMES,
    "Vaihingen": ISPRS_NAMES,
    "UAVid": "Background clutter, Building, Road, Tree, Low vegetation, Moving car, Static car, Human",
    "UDD5": "Vegetation, Building, Road, Vehicle, Other",
    "VDD": "Other, Wall, Road, Vegetation, Vehicle, Roof, Water",
    "LoveDA_geoseg": "Background, Building, Road, Water, Barren, Forest, Agriculture",
    "Potsdam_geoseg": ISPRS_NAMES,
    "Vaihingen_geoseg": ISPRS_NAMES,
    "deepglobe": "unknown, urban, agriculture, rangeland, forest, water, barren",
    "inria": "not building, building",
    "iSAID_wsss": "background, ship, storage tank, baseball diamond, tennis court, basketball court, "
    "ground track field, bridge, large vehicle, small vehicle, helicopter, swimming pool, roundabout, "
    "soccer ball field, plane, harbor",
    "Potsdam_wsss": ISPRS_NAMES,
}
TWO = ClassSet("two", ("a", "b"), ((0, 0, 0), (1, 1, 1)))
SPLIT = Split("own_sem_seg", "own", "all", "own/x", "own/y", ("jpg", "tif"), ("png",), TWO)


def lay_out(root: Path, split: Split, images: list[str], labels: list[str]) -> None:
    for folder, names in ((split.images, images), (split.labels, labels)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).touch()


def fabricate(root: Path, split: Split, extension: str) -> None:
    """Three small images of different sizes, whose labels hold every class and ignored pixels."""
    rng = np.random.default_rng(0)
    (root / split.images).mkdir(parents=True)
    (root / split.labels).mkdir(parents=True, exist_ok=True)
    for stem, (height, width) in {"c_10": (20, 24), "a": (21, 25), "b.1": (30, 7)}.items():
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(
            root / split.images / f"{stem}.{extension}"
        )
        ids = rng.integers(0, len(split.class_set), (height, width)).astype(np.uint8)
        ids[0, 0] = IGNORE_LABEL
        Image.fromarray(ids).save(root / split.labels / f"{stem}.png")


def test_the_table_holds_the_published_names_and_the_official_form_of_loveda():
    assert {split.name for split in SPLITS} == {
        "DLRSD_train_sem_seg", "DLRSD_val_sem_seg", "DLRSD_all_sem_seg",
        "iSAID_train_sem_seg", "iSAID_val_sem_seg", "iSAID_all_sem_seg",
        "LoveDA_all_sem_seg", "LoveDA_all_8c_sem_seg", "Potsdam_all_sem_seg", "Vaihingen_all_sem_seg",
        "uavid_all_sem_seg", "UDD5_all_sem_seg", "VDD_all_sem_seg",
        "LoveDA_geoseg_train_sem_seg", "LoveDA_geoseg_val_sem_seg", "LoveDA_geoseg_train_val_sem_seg",
        "Vaihingen_geoseg_train_sem_seg", "Vaihingen_geoseg_val_sem_seg", "Vaihingen_geoseg_test_sem_seg",
        "Vaihingen_geoseg_padded_train_sem_seg", "Vaihingen_geoseg_padded_test_sem_seg",
        "Potsdam_geoseg_train_sem_seg", "Potsdam_geoseg_val_sem_seg", "Potsdam_geoseg_test_sem_seg",
        "Potsdam_geoseg_padded_train_sem_seg", "Potsdam_geoseg_padded_test_sem_seg",
        "deepglobe_train_sem_seg", "deepglobe_val_sem_seg", "deepglobe_test_sem_seg",
        "deepglobe_fctl_train_sem_seg", "deepglobe_fctl_val_sem_seg", "deepglobe_fctl_test_sem_seg",
        "inria_train_sem_seg", "inria_val_sem_seg", "inria_test_sem_seg",
        "iSAID_wsss_train_sem_seg", "iSAID_wsss_val_sem_seg", "iSAID_wsss_test_sem_seg",
        "Potsdam_wsss_train_sem_seg", "Potsdam_wsss_test_sem_seg",
    }  # fmt: skip
    assert len({split.name for split in SPLITS}) == len(SPLITS)


@pytest.mark.parametrize("split", SPLITS, ids=lambda s: s.name)
def test_class_names_are_the_published_strings_in_their_order_and_case(split):
    published = PUBLISHED_VOCABULARIES[split.dataset].split(", ")
    if split.name == "LoveDA_all_sem_seg":
        published.remove("no-data")
    if split.protocol == "deepglobe":
        published.remove("unknown")
    assert list(split.class_set.names) == published


def test_the_protocol_of_each_row_exists_and_is_of_as_many_classes():
    for split in SPLITS:
        own = "geoseg" in split.name or "wsss" in split.name or split.dataset in ("deepglobe", "inria")
        assert bool(split.protocol) == own
        if split.protocol:
            assert find_protocol(split.protocol).num_classes == len(split.class_set)


def test_the_loveda_parts_of_the_closed_set_methods_are_numbers_that_never_meet():
    train, val, both = (find_split(f"LoveDA_geoseg_{part}_sem_seg") for part in ("train", "val", "train_val"))
    assert (len(train.stems), len(val.stems), len(both.stems)) == (2522, 1669, 4191)
    assert both.stems == (*train.stems, *val.stems) and len(set(both.stems)) == 4191
    # Val/Rural begins at 2522 and Val/Urban ends at 4190; the test images follow.
    assert (train.stems[-1], val.stems[0], val.stems[-1]) == ("2521", "2522", "4190")


def test_the_potsdam_tiles_of_weak_supervision_are_those_that_are_prepared_of_the_official_parts():
    found = {part: find_split(f"Potsdam_wsss_{part}_sem_seg").stems for part in ("train", "test")}
    assert {part: len(stems) for part, stems in found.items()} == {"train": 24 * 144, "test": 14 * 144}
    assert not set(found["train"]) & set(found["test"])
    scenes = {part: {stem.rsplit("_", 4)[0] for stem in stems} for part, stems in found.items()}
    layout = RECIPES["Potsdam"].layouts[0]
    assert scenes == {part.name: set(part.stems) for part in layout.parts}
    blank = np.zeros((6000, 6000), np.uint8)
    for part, stems in found.items():
        cuts = [patch.stem for scene in sorted(scenes[part]) for patch in layout.rules.cut(scene, blank)]
        assert set(stems) == set(cuts) and len(cuts) == len(stems)
    assert "top_potsdam_2_10_0_512_0_512" in found["train"]
    assert "top_potsdam_7_13_5488_6000_5488_6000" in found["test"]


def test_the_crops_of_isaid_have_black_as_class_0_and_the_official_classes_from_1_on():
    classes = find_split("iSAID_wsss_test_sem_seg").class_set
    plain = find_split("iSAID_all_sem_seg").class_set
    assert (classes.names[0], classes.colors[0]) == ("background", (0, 0, 0))
    assert (classes.names[1:], classes.colors[1:]) == (plain.names, plain.colors)
    # The table that goes around with these two exchanged is not ours.
    colors = dict(zip(classes.names, classes.colors, strict=True))
    assert colors["baseball diamond"] == (0, 63, 0) and classes.names.index("baseball diamond") == 3
    assert colors["ground track field"] == (0, 63, 255) and classes.names.index("ground track field") == 6


def test_a_list_of_the_table_that_names_absent_files_is_told_with_the_first_ten(tmp_path):
    val = find_split("LoveDA_geoseg_val_sem_seg")
    lay_out(tmp_path, val, [f"{stem}.png" for stem in val.stems[12:]], [f"{s}.png" for s in val.stems])
    with pytest.raises(DatasetError, match=r"12 listed stems without a file.*2522, .*2531 and 2 more"):
        pairs(val, tmp_path)
    lay_out(tmp_path, val, [f"{stem}.png" for stem in val.stems[:12]], [])
    assert len(pairs(val, tmp_path)) == 1669


def test_splits_of_one_dataset_never_share_a_label_folder_with_another_meaning():
    meanings = {}
    for split in SPLITS:
        assert meanings.setdefault(split.labels, split.class_set) == split.class_set
    assert find_split("LoveDA_all_sem_seg").images == find_split("LoveDA_all_8c_sem_seg").images


@pytest.mark.parametrize("split", SPLITS, ids=lambda s: s.name)
def test_a_fabricated_dataset_of_each_row_pairs_reads_and_checks(split, tmp_path):
    split = replace(split, stems=())
    extension = split.image_extensions[0].upper()
    fabricate(tmp_path, split, extension)
    found = pairs(split, str(tmp_path))
    assert [p.label.name for p in found] == ["a.png", "b.1.png", "c_10.png"]
    assert [p.image.name for p in found] == [f"{s}.{extension}" for s in ("a", "b.1", "c_10")]
    for pair in found:
        with Image.open(pair.image) as image:
            size = (image.height, image.width)
        label = read_label(pair.label)
        assert label.shape == size
        check_label(label, len(split.class_set), IGNORE_LABEL, pair.label, size)
        assert label.max() == IGNORE_LABEL


stems = st.lists(st.text("abAB01._-", min_size=1, max_size=4).filter(lambda s: s[0] != "."), unique=True)


@settings(max_examples=60)
@given(images=stems, labels=stems, same=st.booleans())
def test_pairs_succeed_exactly_when_both_folders_hold_the_same_stems(images, labels, same):
    labels = images[::-1] if same else labels
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder), SPLIT, [f"{s}.jpg" for s in images], [f"{s}.png" for s in labels])
        if images and set(images) == set(labels):
            found = pairs(SPLIT, folder)
            assert [p.image.stem for p in found] == [p.label.stem for p in found] == sorted(images)
        else:
            with pytest.raises(DatasetError):
                pairs(SPLIT, folder)


def test_files_pair_by_stem_and_not_by_position(tmp_path):
    lay_out(tmp_path, SPLIT, ["a.jpg", "b.jpg"], ["b.png", "c.png"])
    with pytest.raises(DatasetError) as error:
        pairs(SPLIT, tmp_path)
    assert "1 image in" in str(error.value) and "without a label: a.jpg" in str(error.value)
    assert "without an image: c.png" in str(error.value) and "b." not in str(error.value)


def test_orphans_are_named_up_to_ten_and_the_rest_is_counted(tmp_path):
    lay_out(tmp_path, SPLIT, [f"i{k:02}.jpg" for k in range(13)], ["i12.png"])
    with pytest.raises(DatasetError, match=r"12 images .*i00.jpg.*i09.jpg and 2 more") as error:
        pairs(SPLIT, tmp_path)
    assert "i10.jpg" not in str(error.value)


def test_stems_that_differ_in_case_alone_are_pointed_out(tmp_path):
    lay_out(tmp_path, SPLIT, ["Airplane00.jpg"], ["airplane00.png"])
    with pytest.raises(DatasetError, match="differ in case alone"):
        pairs(SPLIT, tmp_path)


def test_two_files_of_one_stem_are_refused(tmp_path):
    lay_out(tmp_path, SPLIT, ["a.jpg", "a.TIF", "b.jpg"], ["a.png", "b.png"])
    with pytest.raises(DatasetError, match=r"several files of one stem: a\.TIF, a\.jpg$"):
        pairs(SPLIT, tmp_path)


@pytest.mark.parametrize("missing", ["images", "labels"])
def test_a_missing_folder_is_reported_with_the_layout_and_the_remedy(missing, tmp_path):
    (tmp_path / (SPLIT.labels if missing == "images" else SPLIT.images)).mkdir(parents=True)
    with pytest.raises(DatasetNotFoundError) as error:
        pairs(SPLIT, tmp_path)
    message = str(error.value)
    assert str(tmp_path / getattr(SPLIT, missing)) in message.splitlines()[0]
    assert str(tmp_path / "own/x/<name>.jpg|tif") in message
    assert str(tmp_path / "own/y/<name>.png") in message
    assert ROOT_VARIABLE == "DETECTRON2_DATASETS" and ROOT_VARIABLE in message
    assert isinstance(error.value, FileNotFoundError)


def test_a_folder_without_a_fitting_file_says_what_it_holds(tmp_path):
    lay_out(tmp_path, SPLIT, ["a.bmp", "b.BMP", "notes"], ["a.png"])
    (tmp_path / "own/x/sub.jpg").mkdir()
    with pytest.raises(DatasetError, match=r"no file \*\.jpg\|tif .*2 \.bmp, 1 without extension"):
        pairs(SPLIT, tmp_path)


def test_hidden_files_and_folders_are_left_out_and_other_files_are_reported(tmp_path, caplog):
    lay_out(tmp_path, SPLIT, ["a.jpg", "._a.jpg", ".DS_Store", "Thumbs.db"], ["a.png", "._a.png"])
    (tmp_path / "own/y/deep").mkdir()
    (tmp_path / "own/y/deep/b.png").touch()
    expected = [Pair(tmp_path / "own/x/a.jpg", tmp_path / "own/y/a.png")]
    assert pairs(SPLIT, tmp_path) == expected
    assert "1 .db" in caplog.text and "DS_Store" not in caplog.text


def test_extensions_match_in_any_case_and_with_or_without_a_dot(tmp_path):
    split = Split("s", "s", "all", "x", "y", (".JpG",), ("PNG",), TWO)
    lay_out(tmp_path, split, ["a.jpg", "b.JPG"], ["a.png", "b.Png"])
    assert [p.image.name for p in pairs(split, tmp_path)] == ["a.jpg", "b.JPG"]


def test_a_dataset_of_the_user_may_lie_in_absolute_folders(tmp_path):
    images, labels = tmp_path / "x", tmp_path / "y"
    split = Split("s", "s", "all", str(images), str(labels), ("jpg",), ("png",), TWO)
    lay_out(Path("/"), split, ["a.jpg"], ["a.png"])
    assert pairs(split, "/nowhere") == [Pair(images / "a.jpg", labels / "a.png")]
    assert find_split("s", [*SPLITS, split]) is split


@pytest.mark.parametrize("split", SPLITS, ids=lambda s: s.name)
def test_a_row_is_found_by_its_name_and_suggested_for_a_near_one(split):
    assert find_split(split.name) is split
    for wrong in (split.name.upper(), split.name.removesuffix("_sem_seg"), split.name.replace("_", "-")):
        with pytest.raises(DatasetError, match=f"did you mean .*{split.name}"):
            find_split(wrong)


def test_a_name_like_no_other_is_answered_with_all_names():
    with pytest.raises(DatasetError) as error:
        find_split("qqqq")
    assert all(split.name in str(error.value) for split in SPLITS)


@pytest.mark.parametrize(
    ("names", "colors", "words"),
    [
        ("road", ((0, 0, 0),) * 4, "tuple of words"),
        (["a"], ((0, 0, 0),), "tuple of words"),
        (("a", " "), ((0, 0, 0), (1, 1, 1)), "tuple of words"),
        ((), (), "found 0"),
        (tuple(map(str, range(256))), tuple((k, 0, 0) for k in range(256)), "found 256"),
        (("a", "b"), ((0, 0, 0),), "2 names and 1 colours"),
        (("a", "a"), ((0, 0, 0), (1, 1, 1)), "repeated class name: a"),
        (("a", "b"), ((0, 0, 0), (0, 0, 0)), "repeated colour"),
        (("a",), ((0, 0, 256),), r"found \(0, 0, 256\)"),
        (("a",), ((0, 0),), r"found \(0, 0\)"),
        (("a",), ([0, 0, 0],), r"found \[0, 0, 0\]"),
    ],
)
def test_a_faulty_class_list_is_refused(names, colors, words):
    with pytest.raises(DatasetError, match=words):
        ClassSet("own", names, colors)


def test_a_split_without_masks_and_without_image_level_labels_is_refused():
    with pytest.raises(DatasetError, match="s: a folder of labels or a file of image-level labels is needed"):
        Split("s", "s", "all", "x", "", ("png",), ("png",), TWO)


def test_an_extension_typed_as_one_string_is_refused():
    with pytest.raises(DatasetError, match="tuple of words"):
        Split("s", "s", "all", "x", "y", "jpg", ("png",), TWO)


def test_the_deepglobe_and_isprs_colours_are_corners_of_the_colour_cube():
    for classes in (DEEPGLOBE, ISPRS):
        assert len(classes) == 6
        assert {value for color in classes.colors for value in color} == {0, 255}


def test_the_readme_names_every_dataset_and_its_folders():
    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"\w+_sem_seg", text))
    for head, parts, tail in re.findall(r"(\w*)\{([\w,]+)\}(_sem_seg)", text):
        named |= {head + part + tail for part in parts.split(",")}
    # The layout says that Potsdam's closed-set rows are like Vaihingen's.
    named |= {name.replace("Vaihingen", "Potsdam") for name in named if "geoseg" in name}
    assert {s.name for s in SPLITS} - named == set()
    assert [s.dataset for s in SPLITS if s.dataset not in text] == []
    assert ROOT_VARIABLE in text


ISPRS_COLOURS = (
    ("Impervious surfaces", (255, 255, 255)),
    ("Building", (0, 0, 255)),
    ("Low vegetation", (0, 255, 255)),
    ("Tree", (0, 255, 0)),
    ("Car", (255, 255, 0)),
    ("Clutter/background", (255, 0, 0)),
)
LAND_COVER = (
    ("urban", (0, 255, 255)),
    ("agriculture", (255, 255, 0)),
    ("rangeland", (255, 0, 255)),
    ("forest", (0, 255, 0)),
    ("water", (0, 0, 255)),
    ("barren", (255, 255, 255)),
)
OWNERS_COLOURS = {
    "LoveDA_all_sem_seg": (
        ("Background", (255, 255, 255)),
        ("Building", (255, 0, 0)),
        ("Road", (255, 255, 0)),
        ("Water", (0, 0, 255)),
        ("Barren", (159, 129, 183)),
        ("Forest", (0, 255, 0)),
        ("Agriculture", (255, 195, 128)),
    ),
    "uavid_all_sem_seg": (
        ("Background clutter", (0, 0, 0)),
        ("Building", (128, 0, 0)),
        ("Road", (128, 64, 128)),
        ("Tree", (0, 128, 0)),
        ("Low vegetation", (128, 128, 0)),
        ("Moving car", (64, 0, 128)),
        ("Static car", (192, 0, 192)),
        ("Human", (64, 64, 0)),
    ),
    "Vaihingen_all_sem_seg": ISPRS_COLOURS,
    "Potsdam_geoseg_train_sem_seg": ISPRS_COLOURS,
    "deepglobe_train_sem_seg": LAND_COVER,
    "deepglobe_fctl_train_sem_seg": (("unknown", (0, 0, 0)), *LAND_COVER),
    "inria_train_sem_seg": (("not building", (0, 0, 0)), ("building", (255, 255, 255))),
}


@pytest.mark.parametrize("name", OWNERS_COLOURS)
def test_ids_names_and_colours_are_those_of_the_owners(name):
    classes = find_split(name).class_set
    assert tuple(zip(classes.names, classes.colors, strict=True)) == OWNERS_COLOURS[name]
