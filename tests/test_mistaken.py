"""Files that stand in the place of others: pointers and web pages are called so."""

import pytest

from rskt_seg.data.labels import read_label
from rskt_seg.errors import ImageReadError, LabelError, VocabularyError
from rskt_seg.geo import read_image
from rskt_seg.mistaken import recognise
from rskt_seg.vocabulary import parse_vocabulary

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 12345\n"
STAND_INS = [
    (POINTER, "a Git LFS pointer, which stands for a file of 12345 bytes that was not fetched"),
    (b"<!DOCTYPE html>\n<html>", "a saved web page"),
    (b"\xef\xbb\xbf\n  <html lang=en>", "a saved web page"),
    (b'<?xml version="1.0"?><Error>', "a saved web page"),
    (
        b'<?xml version="1.0"?>\n<!-- a map -->\n<svg xmlns="http://www.w3.org/2000/svg">',
        "a drawing of lines (SVG)",
    ),
]


@pytest.mark.parametrize(("content", "what"), STAND_INS)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_images_and_labels_are_told_apart_from_what_stands_in_their_place(tmp_path, name, content, what):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageReadError) as image:
        read_image(tmp_path / name)
    with pytest.raises(LabelError) as label:
        read_label(tmp_path / name)
    assert f"{name} is {what}, not an image" in str(image.value)
    assert f"{name}: expected a label of class ids, found {what}" in str(label.value)


@pytest.mark.parametrize(("content", "what"), STAND_INS)
def test_a_list_of_classes_is_told_apart_from_a_pointer_and_a_page(tmp_path, content, what):
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(VocabularyError) as error:
        parse_vocabulary(tmp_path / "classes.txt")
    assert f"it is {what}, not a list of classes" in str(error.value)


@pytest.mark.parametrize(
    "content",
    [b"\x80\x02}q\x00.", b"PK\x03\x04", b"<\0\0\0\0\0\0\0{}", b"\x89PNG\r\n", b"", b'<VRTDataset a="b">'],
)
def test_other_files_are_not_mistaken(content):
    assert recognise(content) is None
