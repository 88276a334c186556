"""Laws of reading, checking and remapping label files."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from rskt_seg.data.labels import (
    check_label,
    read_colors,
    read_label,
    refuse_unknown,
    remap_colors,
    threshold_colors,
)
from rskt_seg.errors import LabelError

IDS = np.arange(12, dtype=np.uint8).reshape(3, 4)
NOISE = np.random.default_rng(1).integers(0, 5, (200, 150)).astype(np.uint8)


def save(folder: Path, image: np.ndarray | Image.Image, name: str = "label.png", **options) -> Path:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / name, **options)
    return folder / name


def save_png(path: Path, width: int, height: int, depth: int, color_type: int, rows: bytes) -> Path:
    """A PNG written byte by byte, for sample layouts that Pillow reads but does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def palette_image(ids: np.ndarray, palette: list[int]) -> Image.Image:
    image = Image.fromarray(ids).convert("L")
    image.putpalette(palette)
    return image


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.bmp", "x.gif", "x.pgm"])
def test_8_bit_ids_are_read_as_they_are_stored(name, tmp_path):
    label = read_label(str(save(tmp_path, IDS, name)))
    assert label.dtype == np.uint8 and np.array_equal(label, IDS)


def test_a_palette_file_gives_indices_whatever_its_colours(tmp_path):
    ids = np.array([[0, 1, 4], [4, 4, 0]], np.uint8)
    image = palette_image(ids, [255, 255, 255, 0, 0, 0, 9, 9, 9, 7, 7, 7, 150, 150, 150])
    for bits in (8, 4):
        label = read_label(save(tmp_path, image, bits=bits))
        assert label.dtype == np.uint8 and np.array_equal(label, ids)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_16_bit_gray_ids_are_read_as_uint16(name, tmp_path):
    ids = IDS.astype(np.uint16) * 400
    label = read_label(save(tmp_path, ids, name))
    assert label.dtype == np.uint16 and np.array_equal(label, ids)


@pytest.mark.parametrize(("mode", "words"), [("RGB", "RGB"), ("RGBA", "RGBA")])
def test_a_colour_mask_read_as_ids_is_sent_to_the_preparation(mode, words, tmp_path):
    path = save(tmp_path, Image.new(mode, (4, 3)))
    with pytest.raises(LabelError, match=f"{path}.*{words}.*convert the official files"):
        read_label(path)


@pytest.mark.parametrize(
    ("mode", "name", "words"),
    [
        ("1", "x.png", "1 bit"),
        ("F", "x.tif", "floating-point"),
        ("I", "x.tif", "32-bit"),
        ("LA", "x.png", "alpha"),
    ],
)
def test_other_sample_types_are_refused(mode, name, words, tmp_path):
    path = save(tmp_path, Image.new(mode, (4, 3)), name)
    with pytest.raises(LabelError, match=f"{path}.*{words}"):
        read_label(path)


@pytest.mark.parametrize(("depth", "row"), [(2, b"\x00\x1b"), (4, b"\x00\x01\x23")])
def test_gray_of_2_or_4_bits_is_refused_because_the_decoder_stretches_its_ids(depth, row, tmp_path):
    path = save_png(tmp_path / "x.png", 4, 1, depth, 0, row)
    assert np.array(Image.open(path)).max() > 3
    with pytest.raises(LabelError, match=f"{path}.*L;{depth}"):
        read_label(path)


@pytest.mark.parametrize(
    ("name", "options"), [("x.jpg", {}), ("x.tif", {"compression": "jpeg"}), ("x.webp", {"quality": 50})]
)
def test_lossy_labels_are_refused(name, options, tmp_path):
    path = save(tmp_path, NOISE, name, **options)
    with pytest.raises(LabelError, match=f"{path}.*lossless"):
        read_label(path)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.bmp"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.95])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_truncated_file_is_refused_and_named(name, share, tmp_path):
    path = save(tmp_path, NOISE, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(LabelError, match=f"{path}: the label cannot be read"):
        read_label(path)


def test_a_missing_file_a_folder_and_a_text_are_refused_and_named(tmp_path):
    (tmp_path / "text.png").write_text("no image")
    for path in (tmp_path / "gone.png", tmp_path, tmp_path / "text.png"):
        with pytest.raises(LabelError, match=str(path)):
            read_label(path)


@settings(max_examples=100)
@given(
    label=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)),
    num_classes=st.integers(1, 255),
    ignore=st.sampled_from([255, 0, 17]),
)
def test_a_label_passes_exactly_when_every_id_is_a_class_or_ignored(label, num_classes, ignore):
    before = label.copy()
    if all(value < num_classes or value == ignore for value in label.ravel().tolist()):
        check_label(label, num_classes, ignore, "x.png", label.shape)
    else:
        with pytest.raises(LabelError, match=rf"x\.png.*{num_classes} class(es)?\b"):
            check_label(label, num_classes, ignore, "x.png", label.shape)
    assert np.array_equal(label, before)


def test_wrong_ids_are_named_with_their_counts_and_the_classes():
    label = np.array([[0, 1, 9, 9], [2, 255, 9, 200]], np.uint8)
    with pytest.raises(LabelError) as error:
        check_label(label, 3, 255, Path("d/x.png"), class_names=("sea", "ship", "sand"))
    assert str(error.value) == (
        "d/x.png: found ids 9 (3 px), 200 (1 px); expected 0..2 (3 classes: sea, ship, sand) or 255 (ignored)"
    )


def test_negative_ids_are_refused():
    with pytest.raises(LabelError, match=r"-1 \(1 px\)"):
        check_label(np.array([[0, -1]], np.int16), 3, 255, "x.png")


@pytest.mark.parametrize(
    ("values", "ignore", "words"),
    [
        ([1, 2, 3, 255], 255, "shifted by one"),
        ([0, 1, 3], 255, "If 0 stands for unlabelled"),
        ([0, 254, 1], 255, "lowered by one twice"),
        ([0, 255], 7, "0/255 mask"),
    ],
)
def test_the_usual_mistakes_get_a_hint(values, ignore, words):
    with pytest.raises(LabelError, match=words):
        check_label(np.array([values], np.uint8), 3, ignore, "x.png")


def test_ids_that_look_like_no_usual_mistake_get_no_hint():
    with pytest.raises(LabelError, match=r"255 \(ignored\)$"):
        check_label(np.array([[1, 77]], np.uint8), 3, 255, "x.png")


def test_a_label_of_another_size_is_refused_with_both_sizes_also_when_it_is_transposed():
    label = np.zeros((3, 4), np.uint8)
    check_label(label, 2, 255, "x.png", (3, 4))
    for size in ((4, 3), (30, 40)):
        with pytest.raises(LabelError, match=rf"x\.png.*3x4.*{size[0]}x{size[1]}"):
            check_label(label, 2, 255, "x.png", size)


@pytest.mark.parametrize("label", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)), np.zeros((2, 2), bool)])
def test_arrays_that_are_not_integer_maps_are_refused(label):
    with pytest.raises(LabelError, match=r"shape \(H, W\)"):
        check_label(label, 2, 255, "x.png")


def test_colours_are_read_from_rgb_opaque_rgba_and_palette_files(tmp_path):
    rgb = np.random.default_rng(2).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    opaque = np.dstack([rgb, np.full((5, 6), 255, np.uint8)])
    assert np.array_equal(read_colors(save(tmp_path, rgb)), rgb)
    assert np.array_equal(read_colors(save(tmp_path, opaque)), rgb)
    ids = np.array([[0, 1], [1, 0]], np.uint8)
    image = palette_image(ids, [9, 8, 7, 1, 2, 3])
    assert read_colors(save(tmp_path, image)).tolist() == [[[9, 8, 7], [1, 2, 3]], [[1, 2, 3], [9, 8, 7]]]


def test_colours_are_refused_where_pixels_are_transparent_gray_or_lossy(tmp_path):
    see_through = Image.new("RGBA", (3, 3), (1, 2, 3, 254))
    with pytest.raises(LabelError, match="transparent"):
        read_colors(save(tmp_path, see_through))
    with pytest.raises(LabelError, match="converted to ids already"):
        read_colors(save(tmp_path, IDS))
    with pytest.raises(LabelError, match="lossless"):
        read_colors(save(tmp_path, Image.new("RGB", (3, 3)), "x.jpg"))


colors = st.tuples(*[st.integers(0, 255)] * 3)


@settings(max_examples=60)
@given(data=st.data(), palette=st.lists(colors, min_size=2, max_size=8, unique=True))
def test_remapping_inverts_painting_for_any_palette_and_counts_every_pixel(data, palette):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=7))
    drawn = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, len(palette) - 1)))
    known = data.draw(st.integers(0, len(palette) - 2))
    ids, unknown = remap_colors(
        np.array(palette, np.uint8)[drawn],
        {color: k for k, color in enumerate(palette[:known])},
        ignore_colors=palette[known : known + 1],
        ignore_label=200,
    )
    assert ids.dtype == np.uint8
    assert np.array_equal(ids, np.where(drawn < known, drawn, 200))
    assert unknown == {c: int((drawn == k).sum()) for k, c in enumerate(palette) if k > known and k in drawn}


def test_remapping_in_parts_equals_remapping_at_once(monkeypatch):
    rgb = np.random.default_rng(3).integers(0, 3, (40, 50, 3)).astype(np.uint8)
    table = {(r, g, 0): 3 * r + g for r in range(3) for g in range(3)}
    whole = remap_colors(rgb, table)
    monkeypatch.setattr("rskt_seg.data.labels._CHUNK", 333)
    parts = remap_colors(rgb, table)
    assert np.array_equal(whole[0], parts[0]) and whole[1] == parts[1]
    assert sum(whole[1].values()) == (rgb[..., 2] > 0).sum()


def test_remapping_is_exact_and_a_colour_one_off_is_unknown():
    rgb = np.array([[[0, 0, 63], [0, 0, 62], [63, 0, 0]]], np.uint8)
    ids, unknown = remap_colors(rgb, {(0, 0, 63): 0})
    assert ids.tolist() == [[0, 255, 255]] and unknown == {(0, 0, 62): 1, (63, 0, 0): 1}


def test_remapping_refuses_other_arrays_ambiguous_colours_and_ids_that_do_not_fit():
    rgb = np.zeros((2, 2, 3), np.uint8)
    for wrong in (np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3))):
        with pytest.raises(LabelError, match=r"\(H, W, 3\)"):
            remap_colors(wrong, {})
    with pytest.raises(LabelError, match="both as a class and as ignored"):
        remap_colors(rgb, {(0, 0, 0): 1}, ignore_colors=[(0, 0, 0)])
    with pytest.raises(LabelError, match="256"):
        remap_colors(rgb, {(0, 0, 0): 256})


def test_the_threshold_cuts_each_channel_at_128():
    rgb = np.array([[[0, 127, 128], [255, 129, 1]]], np.uint8)
    cut = threshold_colors(rgb)
    assert cut.dtype == np.uint8 and cut.tolist() == [[[0, 0, 255], [255, 255, 0]]]


def test_unknown_colours_fail_above_the_tolerance_and_are_named_with_counts():
    unknown = {(70, 70, 70): 3, (1, 2, 3): 7}
    refuse_unknown({}, 100, 0.0, "x.png")
    refuse_unknown(unknown, 100, 0.1, "x.png")
    with pytest.raises(
        LabelError, match=r"x\.png: 10 of 100 .*\(1, 2, 3\) \(7 px\), \(70, 70, 70\) \(3 px\)"
    ):
        refuse_unknown(unknown, 100, 0.09, "x.png")


@settings(max_examples=60)
@given(st.data())
def test_any_flipped_bit_of_a_png_label_is_found(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flipped") / "a.png"
    Image.fromarray(np.arange(40 * 30, dtype=np.uint8).reshape(40, 30) % 5).save(path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(8, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(LabelError, match=r"a\.png: the label cannot be read"):
        read_label(path)


@pytest.mark.parametrize("bit", [0, 7])
def test_deflated_labels_of_tiff_files_are_held_to_their_checksums(tmp_path, bit):
    path = save(tmp_path, NOISE, "a.tif", compression="tiff_adobe_deflate")
    with Image.open(path) as image:
        strips = list(zip(image.tag_v2[273], image.tag_v2[279], strict=True))
    content = path.read_bytes()
    for start, length in strips:
        place = start + length - 9  # of a symbol near the end, of which the decoder makes another id
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        with pytest.raises(LabelError, match=r"a\.tif: the label cannot be read"):
            read_label(path)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_label_that_is_no_file_is_refused_and_not_waited_for(tmp_path, make):
    make(tmp_path / "a.png")
    with pytest.raises(LabelError, match=r"a\.png: expected a label file; it is a folder"):
        read_label(tmp_path / "a.png")
