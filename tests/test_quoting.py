"""Laws of texts at the border: hidden characters, CSV cells and Markdown."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rskt_seg.quoting import csv_cell, hidden_characters, markdown_text, visible


@pytest.mark.parametrize("code", [0, 7, 9, 10, 13, 0x1B, 0x7F, 0x85, 0xAD, 0x200B, 0x200F, 0x202E, 0x2028,
                                  0x2066, 0xD800, 0xFEFF])  # fmt: skip
def test_characters_that_nobody_sees_are_found(code):
    assert hidden_characters(f"a{chr(code)}b{chr(code)}") == (chr(code),)


@pytest.mark.parametrize(
    "text", ["Straße 0-10 m", "建筑\uff0c道路", "می\u200cروم", "क्\u200dष", "a\u00a0b", ""]
)
def test_letters_and_joiners_of_every_script_are_no_hidden_characters(text):
    assert hidden_characters(text) == ()


def test_a_terminal_is_shown_what_it_would_obey():
    assert visible("a\x1b[2Jb\u202ec\rd\0\udce9\ud800") == r"a\x1b[2Jb\u202ec\rd\x00\xe9\ud800"
    assert visible("two\nlines,\tStra\u00dfe \u5efa\u7b51") == "two\nlines,\tStra\u00dfe \u5efa\u7b51"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "\t", "\n", "\r"])
def test_a_cell_that_begins_like_a_formula_follows_an_apostrophe(start):
    assert csv_cell(f'{start}HYPERLINK("x")') == f'\'{start}HYPERLINK("x")'


@given(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.booleans(), st.none()))
def test_no_cell_begins_like_a_formula_and_other_values_are_kept(value):
    line = io.StringIO()
    csv.writer(line).writerow([csv_cell(value), "end"])
    (cell, _), *_ = csv.reader(io.StringIO(line.getvalue(), newline=""))
    if isinstance(value, str):
        assert cell[:1] not in {*"=+-@\t\r\n"} and cell.removeprefix("'") == value.removeprefix("'")
    else:
        assert csv_cell(value) is value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("road|path", r"road\|path"),
        ("[x](https://a.b)", r"\[x\](https\://a.b)"),
        ("see http://a.b and www.a.b", r"see http\://a.b and www\.a.b"),
        ("<img src=x>", r"\<img src=x\>"),
        ("&lt;b", r"\&lt;b"),
        ("`x` *y* ~~z~~ _w_", r"\`x\` \*y\* \~\~z\~\~ \_w\_"),
        ("# title", r"\# title"),
        ("- item", r"\- item"),
        ("12. item", r"12\. item"),
        ("a\\b", r"a\\b"),
        ("a\x1b\nb\u202e\ud800", r"a\x1b\nb\u202e\ud800"),
    ],
)
def test_markdown_shows_what_it_would_obey(text, expected):
    assert markdown_text(text) == expected


@pytest.mark.parametrize(
    "text",
    ["LoveDA_8c_all_sem_seg *", "Clutter/background", "Roads & paths", "-", "12.50 (3)", "Straße", "a: b"],
)
def test_markdown_leaves_plain_names_and_figures_alone(text):
    assert markdown_text(text) == text


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))))
def test_a_page_shows_the_printable_characters_of_the_text(text):
    printable = "".join(filter(str.isprintable, text))
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown_text(printable)) == printable
