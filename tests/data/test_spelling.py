"""Names that look alike and are not equal: wherever a name finds no file, the message says why."""

import unicodedata

import pytest
from PIL import Image

from rskt_seg.data.catalog import find_files
from rskt_seg.data.image_labels import split_image_labels
from rskt_seg.data.own import read_own
from rskt_seg.data.pairing import spelling_advice
from rskt_seg.errors import DatasetError
from tests.geo.rasters import noise

COMPOSED = "caf\u00e9"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def own(folder, split):
    (folder / "x").mkdir()
    Image.fromarray(noise(8, 8, 3)).save(folder / f"x/{COMPOSED}.png")
    (folder / "list.txt").write_text(f"{DECOMPOSED}\n")
    (folder / "classes.csv").write_text(f"{DECOMPOSED},road\n")
    (folder / "own.yaml").write_text(f"name: own\nclasses: [road, tree]\nsplits: {{train: {split}}}\n")
    (split,) = read_own(folder / "own.yaml")
    find_files(split, folder)
    return split_image_labels(split, folder)


@pytest.mark.parametrize(
    "split",
    [
        "{images: x, image_labels: classes.csv}",
        "{images: x, image_labels: classes.csv, list: list.txt}",
    ],
)
def test_a_name_in_a_list_or_table_in_another_unicode_form_is_told(tmp_path, split):
    with pytest.raises(DatasetError, match=r"look alike .*Unicode NFC, NFD"):
        own(tmp_path, split)


def test_a_folder_in_another_unicode_form_is_told(tmp_path):
    (tmp_path / COMPOSED).mkdir()
    with pytest.raises(DatasetError, match=r"does not exist .*look alike .*Unicode NFC, NFD"):
        own(tmp_path, f"{{images: {DECOMPOSED}, image_labels: classes.csv}}")


@pytest.mark.parametrize(
    ("other", "advice"),
    [
        (COMPOSED, ""),
        ("tree", ""),
        (COMPOSED.upper(), "in case alone"),
        (DECOMPOSED, "Unicode NFC"),
        (DECOMPOSED.upper(), "case, blanks or the Unicode form"),
        (f"{COMPOSED} ", "case, blanks or the Unicode form"),
        ("\uff43af\u00e9", "case, blanks or the Unicode form"),
    ],
)
def test_names_are_compared_in_case_form_and_blanks(other, advice):
    found = spelling_advice([COMPOSED, "a"], ["b", other])
    assert advice in found and bool(advice) == bool(found)
