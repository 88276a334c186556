"""Every abbreviation of the papers has one row in the glossary, with one sentence of what it does."""

import re

import pytest

from tests.pages import ROOT

ROWS = re.findall(r"^\| \*\*([A-Z]+)\*\* \| (.*?) \| (.*?) \|", (ROOT / "docs/glossary.md").read_text(), re.M)


@pytest.mark.parametrize("name", ["TPE", "USR", "VPE", "LCC", "GPE", "ALE", "HBIS", "SET", "CET"])
def test_an_abbreviation_has_one_sentence(name):
    ((_, _, sentence),) = [row for row in ROWS if row[0] == name]
    assert re.fullmatch(r"[A-Z][^.]+\.", sentence)
