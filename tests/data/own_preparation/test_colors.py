"""Colour masks, against a comparison of each pixel with each colour."""

import io

import numpy as np
import pytest
from PIL import Image

from rskt_seg.errors import LabelError
from tests.data.own_preparation.sources import (
    colors_of,
    ids_of,
    only_labels,
    prepare,
    write_description,
    write_png,
    write_tif,
)

COLORS = np.array([(60, 16, 152), (254, 221, 58)], np.uint8)
LABELS = {"form": "colors", "path": "labels", "colors": {"field": "#3C1098", "house": "#FEDD3A"}}


def set_of(folder, mask: np.ndarray, kind: str = "RGB"):
    """An image and its mask (H, W, 3) in one of the kinds of pictures."""
    write_png(folder / "images/a.jpg", colors_of(1, *mask.shape[:2]))
    picture = Image.fromarray(mask)
    if kind == "palette":  # indices in the order of luminance, which are not those of the classes
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    if kind == "RGBA":
        picture = picture.convert("RGBA")
    (folder / "labels").mkdir(exist_ok=True)
    picture.save(folder / "labels/a.png")


def refusal(folder, **labels):
    with pytest.raises(LabelError) as error:
        prepare(write_description(folder, labels=LABELS | labels), folder / "out")
    return str(error.value)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "palette"])
def test_masks_are_read_by_colour_whatever_their_kind(tmp_path, kind):
    ids = ids_of(3)
    set_of(tmp_path, COLORS[ids], kind)
    assert (
        only_labels(prepare(write_description(tmp_path, labels=LABELS), tmp_path / "out"))["a"] == ids
    ).all()


def test_a_palette_renumbered_by_an_editor_changes_nothing(tmp_path):
    ids = ids_of(4)
    for stem, order in (("a", (0, 1)), ("b", (1, 0))):
        write_png(tmp_path / f"images/{stem}.jpg", colors_of(1))
        picture = Image.fromarray(np.array(order, np.uint8)[ids], "P")
        picture.putpalette(COLORS[list(order)].tobytes())
        (tmp_path / "labels").mkdir(exist_ok=True)
        picture.save(tmp_path / f"labels/{stem}.png")
    labels = only_labels(prepare(write_description(tmp_path, labels=LABELS), tmp_path / "out"))
    assert (labels["a"] == ids).all() and (labels["b"] == ids).all()


def test_gray_and_binary_masks_have_colours_too(tmp_path):
    ids = ids_of(5)
    write_png(tmp_path / "images/a.jpg", colors_of(1))
    write_png(tmp_path / "images/b.jpg", colors_of(2))
    write_png(tmp_path / "labels/a.png", ids * np.uint8(255))
    (tmp_path / "labels/b.png").write_bytes(encoded(Image.fromarray(ids.astype(bool)), "PNG"))
    labels = LABELS | {"colors": {"field": "#000000", "house": "#FFFFFF"}}
    found = only_labels(prepare(write_description(tmp_path, labels=labels), tmp_path / "out"))
    assert (found["a"] == ids).all() and (found["b"] == ids).all()


def encoded(picture: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def test_what_is_transparent_or_ignored_has_no_class(tmp_path):
    ids = ids_of(6)
    mask = np.dstack([COLORS[ids], np.full(ids.shape, 255, np.uint8)])
    mask[:5, :, 3], mask[5:9, :, :3] = 0, (155, 155, 155)
    write_png(tmp_path / "images/a.jpg", colors_of(1))
    write_png(tmp_path / "labels/a.png", mask)
    labels = LABELS | {"ignore": ["#9B9B9B"]}
    expected = ids.copy()
    expected[:9] = 255
    found = only_labels(prepare(write_description(tmp_path, labels=labels), tmp_path / "out"))
    assert (found["a"] == expected).all()


def test_unknown_colours_are_counted_with_the_nearest_class_and_refused(tmp_path):
    mask = COLORS[ids_of(7)]
    mask[0, :20], mask[1, :10] = (61, 17, 152), (0, 0, 0)
    set_of(tmp_path, mask)
    text = refusal(tmp_path)
    assert "30 of 2000 pixels (1.500%)" in text and "#3D1198 20 (1.00%, nearest field #3C1098 at 1)" in text
    assert "#000000 10" in text and str(tmp_path / "labels/a.png") in text


def test_unknown_colours_below_the_tolerance_are_ignored_and_told(tmp_path):
    ids = ids_of(7)
    mask = COLORS[ids]
    mask[0, :20] = 0
    set_of(tmp_path, mask)
    summary = prepare(write_description(tmp_path, labels=LABELS | {"tolerance": 0.01}), tmp_path / "out")
    expected = ids.copy()
    expected[0, :20] = 255
    assert (only_labels(summary)["a"] == expected).all() and "(0, 0, 0)" in "".join(summary.notes)
    assert "at most 0.900%" in refusal(tmp_path, tolerance=0.009)


def test_blurred_masks_are_refused_with_the_reason_and_snapped_within_a_distance(tmp_path):
    ids = ids_of(8)
    write_png(tmp_path / "images/a.png", colors_of(1))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.jpg").write_bytes(encoded(Image.fromarray(COLORS[ids]), "JPEG", quality=95))
    assert "JPEG compression has blurred the colours" in refusal(tmp_path)
    assert "a greater one than 12, and a `tolerance`" in refusal(tmp_path, snap=12)
    rgb = np.array(Image.open(tmp_path / "labels/a.jpg").convert("RGB")).astype(float)
    distance = np.linalg.norm(rgb[:, :, None] - COLORS, axis=3)
    expected = np.where(distance.min(axis=2) <= 60, distance.argmin(axis=2), 255)
    exact = int((distance.min(axis=2) == 0).sum())
    labels = LABELS | {"snap": 60, "tolerance": 1.0}
    summary = prepare(write_description(tmp_path, labels=labels), tmp_path / "out")
    assert (only_labels(summary)["a"] == expected).all()
    assert f"{int((expected < 255).sum()) - exact} pixels of the masks" in "".join(summary.notes)


def test_a_pixel_that_snaps_to_an_ignored_colour_is_ignored(tmp_path):
    mask = COLORS[ids_of(9)]
    mask[0] = (156, 155, 155)
    set_of(tmp_path, mask)
    labels = LABELS | {"snap": 3, "ignore": ["#9B9B9B"]}
    found = only_labels(prepare(write_description(tmp_path, labels=labels), tmp_path / "out"))["a"]
    assert (found[0] == 255).all() and (found[1:] == ids_of(9)[1:]).all()


def test_masks_of_other_sizes_depths_and_places_are_refused(tmp_path):
    write_png(tmp_path / "images/a.jpg", colors_of(1))
    write_png(tmp_path / "labels/a.png", COLORS[ids_of(1, 41, 50)])
    assert "41 x 50" in refusal(tmp_path) and "40 x 50" in refusal(tmp_path)
    other = tmp_path / "other"
    write_tif(other / "images/a.tif", np.moveaxis(colors_of(1), 2, 0))
    write_tif(other / "labels/a.tif", np.moveaxis(COLORS[ids_of(1)], 2, 0), origin=(500_040.0, 5_300_000.0))
    assert "different grids" in refusal(other)
    deep = tmp_path / "deep"
    write_png(deep / "images/a.jpg", colors_of(1))
    write_tif(deep / "labels/a.tif", ids_of(1).astype(np.uint16), origin=None)
    assert "8-bit colours; found uint16" in refusal(deep)
