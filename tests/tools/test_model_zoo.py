"""The page on models says what their records say."""

import model_zoo

from rskt_seg.methods.builtin import BUILTIN
from tests.pages import ROOT


def test_the_tables_of_the_page_are_those_of_the_records():
    page = (ROOT / "docs/model_zoo.md").read_text()
    assert model_zoo.with_tables(page, BUILTIN) == page, "run python tools/model_zoo.py"
    assert all(f"| `{model.name}` |" in page for method in BUILTIN for model in method.models)
    assert all(f"`{preset}`" in page for method in BUILTIN for preset in method.presets)


def test_every_configuration_of_the_page_is_a_file():
    for method in BUILTIN:
        assert all((ROOT / "configs" / model.config).is_file() for model in method.models)
