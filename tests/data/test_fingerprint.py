"""Laws of the fingerprints of images and labels."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from rskt_seg.data.catalog import ClassSet, Split, pairs
from rskt_seg.data.fingerprint import (
    Digests,
    combine,
    compute_fingerprint,
    image_digest,
    label_digest,
    pair_digests,
)
from rskt_seg.data.pairing import Pair
from rskt_seg.errors import ImageReadError, LabelError

IDS = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)), min_size=n, max_size=n
    )
)
FILES = settings(max_examples=25)


def write(folder: Path, labels: list[np.ndarray], suffix: str = ".png", **options) -> list[Pair]:
    """A pair for each label: `s0.png` and its label, the images all different."""
    (folder / "x").mkdir(parents=True, exist_ok=True)
    (folder / "y").mkdir(exist_ok=True)
    for k, label in enumerate(labels):
        Image.new("RGB", label.shape[::-1], (k, 1, 2)).save(folder / f"x/s{k}{suffix}")
        Image.fromarray(label).save(folder / f"y/s{k}{suffix}", **options)
    return [Pair(folder / f"x/s{k}{suffix}", folder / f"y/s{k}{suffix}") for k in range(len(labels))]


@FILES
@given(labels=IDS, data=st.data())
def test_folder_order_case_of_extension_and_compression_of_labels_do_not_matter(labels, data):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        first = write(Path(one), labels)
        second = write(Path(two, "deep/er"), labels, suffix=".PNG", compress_level=0)
        second = data.draw(st.permutations(second))
        assert compute_fingerprint(first, progress=False) == compute_fingerprint(
            second, workers=2, progress=False
        )


@FILES
@given(labels=IDS, data=st.data())
def test_one_changed_pixel_of_a_label_changes_the_labels_and_nothing_else(labels, data):
    with tempfile.TemporaryDirectory() as folder:
        before = compute_fingerprint(write(Path(folder), labels), progress=False)
        label = data.draw(st.sampled_from(labels))
        place = tuple(data.draw(st.integers(0, side - 1)) for side in label.shape)
        label[place] ^= data.draw(st.integers(1, 255))
        after = compute_fingerprint(write(Path(folder), labels), progress=False)
        assert (after.images, after.count) == (before.images, before.count)
        assert after.labels != before.labels


def test_the_bytes_of_an_image_and_the_stems_matter(tmp_path):
    labels = [np.zeros((2, 3), np.uint8)] * 2
    (first, second) = write(tmp_path, labels)
    before = compute_fingerprint([first, second], progress=False)
    second.image.write_bytes(second.image.read_bytes() + b"x")
    changed = compute_fingerprint([first, second], progress=False)
    assert changed.images != before.images and changed.labels == before.labels
    moved = [Pair(*(path.rename(path.with_stem("other")) for path in (second.image, second.label)))]
    renamed = compute_fingerprint([first, *moved], progress=False)
    assert renamed.images != changed.images and renamed.labels != changed.labels
    fewer = compute_fingerprint([first], progress=False)
    assert fewer.count == 1 and fewer.images != renamed.images


def test_ids_count_and_not_how_they_are_stored(tmp_path):
    ids = np.array([[0, 1, 5], [5, 255, 1]], np.uint8)
    palette = Image.fromarray(ids).convert("L")
    palette.putpalette(list(range(90)))
    for k, image in enumerate((Image.fromarray(ids), Image.fromarray(ids.astype(np.uint16)), palette)):
        image.save(tmp_path / f"{k}.png")
    image = tmp_path / "0.png"
    found = {pair_digests(Pair(image, tmp_path / f"{k}.png")).label for k in range(3)}
    assert found == {label_digest(ids)}
    assert label_digest(ids.T) != label_digest(ids) != label_digest(ids.reshape(3, 2))
    wide = ids.astype(np.uint16) + 255
    assert label_digest(wide) != label_digest(wide.astype(np.uint8))


DIGEST = st.binary(min_size=32, max_size=32)
DIGESTS = st.builds(Digests, st.text(max_size=3), DIGEST, DIGEST)


@given(parts=st.lists(DIGESTS, max_size=5), data=st.data())
def test_parts_combine_in_any_order(parts, data):
    shuffled = data.draw(st.permutations(parts))
    assert combine(iter(shuffled)) == combine(parts)


UNIQUE = st.lists(DIGESTS, max_size=3, unique_by=lambda part: part.stem)


@given(one=UNIQUE, two=UNIQUE)
@example(one=[Digests("ab", b"i" * 32, b"l" * 32)], two=[Digests("ab", b"i" * 32, b"m" * 32)])
@example(one=[Digests("ab", b"i" * 32, b"l" * 32)], two=[Digests("ac", b"i" * 32, b"l" * 32)])
def test_other_parts_give_another_fingerprint(one, two):
    for part in ("image", "label"):
        known = [sorted((d.stem, getattr(d, part)) for d in digests) for digests in (one, two)]
        same = getattr(combine(one), f"{part}s") == getattr(combine(two), f"{part}s")
        assert same == (known[0] == known[1])


def test_the_value_is_the_documented_one_and_the_short_form_has_twelve_digits():
    digests = Digests("a", image_digest(b"content"), label_digest(np.array([[1, 2]], np.uint8)))
    found = combine([digests])
    head = (1).to_bytes(8, "big") + b"a"
    assert found.images == hashlib.sha256(head + hashlib.sha256(b"content").digest()).hexdigest()
    ids = hashlib.sha256(b"1x2 |u1 " + bytes([1, 2])).digest()
    assert found.labels == hashlib.sha256(head + ids).hexdigest()
    assert str(found) == f"images {found.images[:12]} labels {found.labels[:12]}"


def test_a_dataset_of_the_catalog_has_a_fingerprint(tmp_path):
    write(tmp_path, [np.zeros((2, 2), np.uint8)] * 3)
    split = Split("s", "s", "all", "x", "y", ("png",), ("png",), ClassSet("s", ("a",), ((0, 0, 0),)))
    assert compute_fingerprint(pairs(split, tmp_path), progress=False).count == 3


def test_a_missing_image_and_an_unreadable_label_are_named(tmp_path):
    (pair,) = write(tmp_path, [np.zeros((2, 2), np.uint8)])
    pair.label.write_bytes(b"no image")
    with pytest.raises(LabelError, match=str(pair.label)):
        compute_fingerprint([pair], progress=False)
    pair.image.unlink()
    with pytest.raises(ImageReadError, match=str(pair.image)):
        compute_fingerprint([pair], progress=False)
