"""docs/own_data.md: every file that it shows can be read, and every key is explained."""

import pytest

from rskt_seg.data.own_preparation import description, label_forms, read_description
from tests.pages import ROOT, blocks

PAGE = ROOT / "docs/own_data.md"
FILES = blocks(PAGE, "yaml")


@pytest.mark.parametrize("text", FILES, ids=[text.split("form: ")[1].split()[0] for text in FILES])
def test_every_file_that_is_shown_can_be_read(tmp_path, text):
    path = tmp_path / "farm.yaml"
    path.write_text(text)
    assert read_description(path).class_set.name in ("farm", "town")


def test_every_key_and_form_is_explained():
    keys = {*description._KEYS, *description._IMAGE_KEYS, *description._TILE_KEYS, "seed", "blocks"}
    forms = label_forms._KEYS
    keys |= {key for of_form in forms.values() for key in of_form}
    text = PAGE.read_text()
    assert [key for key in sorted(keys | forms.keys()) if key not in text] == []
