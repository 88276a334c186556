"""Numbers with their nouns."""

import pytest

from rskt_seg.wording import counted


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (1, ("class", "classes"), "1 class"),
        (3, ("class", "classes"), "3 classes"),
    ],
)
def test_one_has_the_singular(number, words, text):
    assert counted(number, *words) == text
