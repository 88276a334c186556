"""Labels of whole images, by a file or by folders."""

import json

import numpy as np
import pytest

from rskt_seg.commands.cli import main
from rskt_seg.data import read_own, split_image_labels
from rskt_seg.data.own_preparation import read_description
from rskt_seg.errors import DatasetError
from tests.data.own_preparation.sources import colors_of, prepare, write_description, write_png

SHOWN = {"a": ("field",), "b": ("field", "house"), "c": (), "d": ("house",)}


@pytest.fixture
def folder(tmp_path):
    for number, stem in enumerate(SHOWN):
        write_png(tmp_path / f"images/{stem}.png", colors_of(number))
    return tmp_path


def read(summary):
    """Split -> stem -> names of classes, as training reads the prepared set."""
    return {
        split.split: {
            stem: tuple(split.class_set.names[k] for k in ids)
            for stem, ids in split_image_labels(split, "/").items()
        }
        for split in read_own(summary.file)
    }


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_file_says_what_images_show(folder, kind):
    lines = "".join(",".join((f"{stem}.png", *names)) + "\n" for stem, names in SHOWN.items())
    text = (
        lines
        if kind == "csv"
        else json.dumps({f"x/{stem}.png": list(names) for stem, names in SHOWN.items()})
    )
    (folder / f"shown.{kind}").write_text(text)
    labels = {"form": "image_labels", "path": f"shown.{kind}"}
    summary = prepare(write_description(folder, labels=labels, split={"val": 0.25}), folder / "out")
    found = read(summary)
    assert {**found["train"], **found["val"]} == SHOWN and len(found["val"]) == 1
    counts = np.sum([[split.get(k, 0) for k in (0, 1)] for split in summary.pixels.values()], axis=0)
    assert counts.tolist() == [2, 2] and not (summary.folder / "train/labels").exists()


def test_a_changed_line_is_prepared_again(folder):
    labels = {"form": "image_labels", "path": "shown.json"}
    path = write_description(folder, labels=labels)
    (folder / "shown.json").write_text(json.dumps({stem: list(names) for stem, names in SHOWN.items()}))
    assert prepare(path, folder / "out").fresh == 4 and prepare(path, folder / "out").fresh == 0
    (folder / "shown.json").write_text(json.dumps({k: list(v) for k, v in SHOWN.items()} | {"c": "house"}))
    summary = prepare(path, folder / "out")
    assert summary.fresh == 1 and read(summary)["all"]["c"] == ("house",)


def test_the_folder_of_an_image_says_what_it_shows(tmp_path, capsys):
    for number, place in enumerate(("house/a.png", "barn/b.png", "deep/field/a.png")):
        write_png(tmp_path / "images" / place, colors_of(number))
    labels = {"form": "folders", "values": {"house": ["house", "barn"], "field": "field"}}
    path = write_description(tmp_path, labels=labels)
    assert main(["prepare", "own", str(path), str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "66.67%" in capsys.readouterr().out
    found = read(prepare(path, tmp_path / "out"))["all"]
    assert sorted(found.values()) == [("field",), ("house",), ("house",)]
    assert found["barn_b"] == ("house",)


def test_labels_of_images_that_cannot_be_right_are_refused(folder):
    def refusal(**keys):
        with pytest.raises(DatasetError) as error:
            prepare(write_description(folder, **keys), folder / "out")
        assert "\n" not in str(error.value)
        return str(error.value)

    labels = {"form": "image_labels", "path": "shown.json"}
    assert "does not exist" in refusal(labels=labels)
    (folder / "shown.json").write_text("[]")
    assert "expected names of images" in refusal(labels=labels)
    (folder / "shown.json").write_text('{"a": 3}')
    assert "expected a list of classes for 'a'" in refusal(labels=labels)
    (folder / "shown.json").write_text('{"a": ["hose"]}')
    assert "did you mean house?" in refusal(labels=labels)
    (folder / "shown.json").write_text('{"a": ["house"]}')
    assert "3 images have no line" in refusal(labels=labels)
    assert "expected one folder of a class (field, house)" in refusal(labels={"form": "folders"})
    write_png(folder / "images/deep/a.png", colors_of(9))
    assert "several images are called a" in refusal(labels=labels)
    with pytest.raises(DatasetError, match="do not hold for their parts"):
        read_description(write_description(folder, labels=labels, tiles={"size": 16}))
