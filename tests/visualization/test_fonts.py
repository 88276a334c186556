"""Legends in the scripts that people write in."""

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from rskt_seg.visualization import draw_legend, undrawable_notice
from rskt_seg.visualization.confusion import draw_confusion
from rskt_seg.visualization.fonts import find_families
from rskt_seg.visualization.scenes import Scene, draw_scenes

WATER, FIELD = "\u6c34\u4f53", "\u0916\u0947\u0924"
"""A water body in Chinese, and a field in Hindi."""
BLACK = np.zeros((2, 3), np.uint8)


@pytest.fixture
def no_other_fonts(monkeypatch):
    """Hide the fonts of this machine, but for those that matplotlib brings along."""
    own = [entry for entry in font_manager.fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    installed = []
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: installed)
    return installed


def make_font(path, family, characters):
    """Write a font with a filled square for each of some characters."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    names = [".notdef", *(f"u{ord(each):04x}" for each in characters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap(dict(zip(map(ord, characters), names[1:], strict=True)))
    font.setupGlyf(dict.fromkeys(names, square))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1100, 0)))
    font.setupHorizontalHeader(ascent=1000, descent=-200)
    font.setupNameTable({"familyName": family, "styleName": "Regular", "fullName": family, "psName": family})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(path)
    return str(path)


def dark(picture):
    return int((picture < 60).all(axis=2).sum())


@pytest.mark.parametrize(
    "name", ["water", "\u0432\u043e\u0434\u0430", "\u03bd\u03b5\u03c1\u03cc", "\u0645\u064a\u0627\u0647"]
)
def test_latin_cyrillic_greek_and_arabic_need_no_other_font(name, no_other_fonts):
    assert undrawable_notice([name]) is None and find_families(name) == ([], set())


def test_names_that_no_font_has_are_told_in_one_line(no_other_fonts):
    notice = undrawable_notice(["road", WATER, FIELD])
    assert repr(WATER) in notice and repr(FIELD) in notice and "road" not in notice
    assert "\n" not in notice and "whole" in notice and "install" in notice
    many = undrawable_notice([f"{WATER} {k}" for k in range(9)])
    assert many.count(WATER) == 5 and "4 more" in many


def test_nothing_else_is_said_of_them_by_matplotlib(no_other_fonts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw_legend([WATER, "road"], BLACK).size


def test_a_font_that_was_installed_meanwhile_is_used(no_other_fonts, tmp_path):
    before = dark(draw_legend([WATER, WATER], BLACK + np.uint8(255)))
    no_other_fonts.append(make_font(tmp_path / "a.ttf", "Squares", WATER))
    assert find_families(f"{WATER} road") == (["Squares"], set())
    assert undrawable_notice([WATER]) is None
    after = dark(draw_legend([WATER, WATER], BLACK + np.uint8(255)))
    assert after > 1.5 * before  # squares that are filled, in place of empty ones


def on_axes(name):
    return draw_confusion(np.zeros((3, 2), int), [name, name])


def above_panels(name):
    scene = Scene(name, np.full((40, 40, 3), 255, np.uint8), np.zeros((40, 40), int), [])
    return draw_scenes([scene], ["road"], BLACK + np.uint8(255), titles=[])


@pytest.mark.parametrize("draw", [on_axes, above_panels])
def test_texts_on_axes_and_beside_panels_without_axes_get_the_font_too(draw, no_other_fonts, tmp_path):
    before = dark(draw(WATER * 5))
    no_other_fonts.append(make_font(tmp_path / "a.ttf", "Squares", WATER))
    assert dark(draw(WATER * 5)) > 1.2 * before


def test_several_fonts_share_the_characters_and_the_plain_ones_of_noto_come_first(no_other_fonts, tmp_path):
    no_other_fonts += [
        make_font(tmp_path / "a.ttf", "A Serif", WATER),
        make_font(tmp_path / "b.ttf", "Noto Sans Test", WATER),
        make_font(tmp_path / "c.ttf", "Of Fields", "\u0916\u0924"),
    ]
    assert find_families(WATER + FIELD) == (["Noto Sans Test", "Of Fields"], set())
    (tmp_path / "d.ttf").write_bytes(b"no font")
    no_other_fonts.append(str(tmp_path / "d.ttf"))
    assert find_families("\u0e19")[1] == {"\u0e19"}
