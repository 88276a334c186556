"""Laws of how images and labels are found and paired."""

import numpy as np
import pytest

from rskt_seg.data.own_preparation import read_description
from rskt_seg.data.own_preparation.files import PathPattern, find_sources
from rskt_seg.errors import DatasetError
from tests.data.own_preparation.sources import write_description, write_png

PIXEL = np.zeros((2, 2), np.uint8)


def found(folder, allow_missing=False, **keys):
    """Name of an image -> path of its label, both relative to the folder."""
    sources = find_sources(read_description(write_description(folder, **keys)), allow_missing)
    return {source.name: source.label.relative_to(folder).as_posix() for source in sources.sources}


def refusal(folder, **keys):
    with pytest.raises(DatasetError) as error:
        found(folder, **keys)
    return str(error.value)


def touch(folder, *names):
    for name in names:
        write_png(folder / name, PIXEL)


def test_images_and_labels_of_mirrored_folders_belong_together_by_place_and_stem(tmp_path):
    touch(tmp_path, "images/a/x.jpg", "images/b/x.JPG", "labels/b/x.png", "labels/a/x.png")
    assert found(tmp_path) == {"a_x": "labels/a/x.png", "b_x": "labels/b/x.png"}


def test_a_stem_that_is_unique_everywhere_needs_no_mirrored_folder(tmp_path):
    touch(tmp_path, "images/a/x.jpg", "images/b/y.jpg", "labels/x.png", "labels/deep/y.tif")
    assert found(tmp_path) == {"x": "labels/x.png", "y": "labels/deep/y.tif"}


def test_a_pattern_of_labels_is_relative_to_each_image(tmp_path):
    touch(tmp_path, *(f"t{k}/{kind}" for k in (1, 2) for kind in ("images/0.jpg", "masks/0.png")))
    labels = {"form": "ids", "path": "../masks/{stem}.png"}
    assert found(tmp_path, images="t*/images/*.jpg", labels=labels) == {
        "t1_0": "t1/masks/0.png",
        "t2_0": "t2/masks/0.png",
    }


def test_image_and_label_may_share_a_part_of_their_names(tmp_path):
    touch(tmp_path, "d/7_sat.jpg", "d/7_mask.png", "d/8_sat.jpg", "d/8_mask.png")
    labels = {"form": "ids", "path": "{stem}_mask.png"}
    assert found(tmp_path, images="d/{stem}_sat.jpg", labels=labels) == {
        "7_sat": "d/7_mask.png",
        "8_sat": "d/8_mask.png",
    }


def test_files_without_a_partner_are_listed_and_left_out_on_request_alone(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/b.jpg", "labels/b.png", "labels/c.png")
    text = refusal(tmp_path)
    assert "1 image without a label" in text and "images/a.jpg" in text
    assert "1 label without an image" in text and "labels/c.png" in text
    assert found(tmp_path, allow_missing=True) == {"b": "labels/b.png"}
    labels = {"form": "ids", "path": "../labels/{stem}.png"}
    assert "labels/c.png" in refusal(tmp_path, labels=labels) and "images/a.jpg" in refusal(
        tmp_path, labels=labels
    )


def test_ambiguous_labels_are_refused(tmp_path):
    touch(tmp_path, "images/a.jpg", "labels/a.png", "labels/a.tif")
    assert "several labels" in refusal(tmp_path)
    assert "several labels" in refusal(tmp_path, labels={"form": "ids", "path": "../labels/{stem}.*"})
    touch(tmp_path / "other", "images/a/x.jpg", "images/b/x.jpg", "labels/x.png")
    assert "its stem in common with others" in refusal(tmp_path / "other")


def test_images_that_would_have_one_name_are_refused(tmp_path):
    touch(tmp_path, "images/a.jpg", "images/a.png", "labels/a.png")
    assert "several images would be called a" in refusal(tmp_path)


def test_names_that_differ_in_their_spelling_alone_are_told(tmp_path):
    touch(tmp_path, "images/Field.jpg", "labels/field.png")
    assert "differ in case alone" in refusal(tmp_path)


def test_what_is_not_there_is_told(tmp_path):
    assert "none" in refusal(tmp_path)
    touch(tmp_path, "images/a.jpg")
    assert "does not exist" in refusal(tmp_path, labels={"form": "ids", "path": "lables"})
    assert "which does not exist" in refusal(tmp_path, images="imagse/*.jpg")


def test_patterns_are_those_of_a_shell_and_of_stems(tmp_path):
    touch(tmp_path, "a/x.tif", "a/b/x.TIF", "a/b/y.png", "a/.hidden/x.tif")
    every = sorted(
        path.relative_to(tmp_path).as_posix() for path, _ in PathPattern("**/*.tif", tmp_path).find()
    )
    assert every == ["a/b/x.TIF", "a/x.tif"]
    one = [stem for _, stem in PathPattern("a/[!b]*/{stem}.tif", tmp_path).find()]
    assert one == [] and [s for _, s in PathPattern("a/?/{stem}.tif", tmp_path).find()] == ["x"]


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path, "far/x.tif")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/near").symlink_to(tmp_path / "far")
    (tmp_path / "far/loop").symlink_to(tmp_path / "far")
    assert [path.name for path, _ in PathPattern("images/**/*.tif", tmp_path).find()] == ["x.tif"]


def test_only_what_the_file_says_is_a_pattern_not_the_folder_it_is_in(tmp_path):
    folder = tmp_path / "fields (2) [new] {stem}"
    touch(folder, "images/ä [1].jpg", "images/b*.jpg", "labels/ä [1].png", "labels/b*.png")
    labels = {"form": "ids", "path": "../labels/{stem}.png"}
    assert found(folder, images="../fields*/images/*.jpg", labels=labels) == {
        "ä [1]": "labels/ä [1].png",
        "b*": "labels/b*.png",
    }
