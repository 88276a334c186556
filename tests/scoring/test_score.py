"""Files of predictions: what is scored, and what is refused in one line."""

import json

import numpy as np
import pytest
from PIL import Image

from rskt_seg.commands import score as command
from rskt_seg.data.catalog import pairs
from rskt_seg.data.fingerprint import compute_fingerprint
from rskt_seg.data.own import read_own
from rskt_seg.errors import DatasetError, LabelError
from rskt_seg.geo.labels import write_labels
from rskt_seg.legend import Legend
from rskt_seg.metrics import ENDINGS
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.metrics.image_counts import ImageCounts
from rskt_seg.palette import palette
from rskt_seg.scoring.predictions import check_stems
from rskt_seg.scoring.score import score_split
from tests.scoring.conftest import CLASSES, STEMS, predict

NAME = "farm_val_sem_seg"


def scored(farm, folder="first"):
    (split,) = read_own(farm)
    return score_split(split, ".", farm.parent / folder, progress=False)


def run(farm, *words) -> int:
    return command.main([*map(str, words), "--own", str(farm), "--dataset", NAME])


def test_what_is_counted_is_the_prediction_where_image_and_label_have_something(farm):
    matrix = ConfusionMatrix(3, 9)
    for i, (stem, ids) in enumerate(predict(0).items()):
        label = np.asarray(Image.open(farm.parent / "labels" / f"{stem}.png"))
        rows = slice(2 if i == 0 else 0, None)  # the image has no data above
        matrix.update(ids[rows], label[rows])
    tally = scored(farm)
    assert np.array_equal(tally.matrix.counts, matrix.counts) and matrix.counts[-1].sum()
    (split,) = read_own(farm)
    assert tally.fingerprint == compute_fingerprint(pairs(split, "."))
    assert tally.image_counts.stems == tuple(sorted(STEMS))


def test_equal_ids_in_other_files_are_the_same_prediction(farm):
    first = scored(farm)
    for stem, ids in predict(0).items():
        (farm.parent / "first" / f"{stem}.png").unlink()
        colors = np.array(palette(3), np.uint8)
        # As rskt-seg segment writes them.
        write_labels(farm.parent / "first" / f"{stem}.TIF", ids, None, Legend.of(CLASSES, colors))
    again = scored(farm)
    assert again.predictions == first.predictions != scored(farm, "second").predictions
    assert np.array_equal(again.matrix.counts, first.matrix.counts)


def test_the_ignored_label_as_a_prediction_is_a_pixel_without_a_class(farm):
    before = scored(farm).predictions
    file = farm.parent / "first" / "a.png"
    ids = np.array(Image.open(file))
    Image.fromarray(np.where(ids == 255, np.uint8(9), ids)).save(file)
    assert scored(farm).predictions == before


def save(array, name="a.png", **options):
    def spoil(folder):
        Image.fromarray(array).save(folder / name, **options)

    return spoil


def missing(folder):
    (folder / "a.png").unlink()


def renamed(folder):
    (folder / "a.png").rename(folder / "A.png")


def unreadable(folder):
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:60])


def pages(ending):
    def spoil(folder):
        (folder / "a.png").unlink()
        Image.fromarray(IDS).save(
            folder / f"a{ending}", save_all=True, append_images=[Image.fromarray(IDS[::-1])]
        )

    return spoil


def as_jpeg(folder):
    for stem in STEMS:
        (folder / f"{stem}.png").rename(folder / f"{stem}.JPG")


def as_array(folder):
    (folder / "a.png").unlink()
    np.save(folder / "a.npy", IDS)


def beside(folder):
    (folder / "a.tif").write_bytes(b"")


IDS = predict(0)["a"]
FAULTS = [
    (missing, r"1 of 3 images without a prediction: a\. A prediction has the name of its image"),
    (save(IDS, "extra.png"), r"1 file without an image of the set: extra\.png"),
    (renamed, r"without a prediction: a; 1 file .* A\.png.*differ in case alone"),
    (beside, r"several predictions of one image: a\.png, a\.tif"),
    (save(IDS[:9]), r"a\.png: the prediction is 9x11 but its image is 14x11 .*never resized"),
    (save(np.where(IDS == 255, 7, IDS).astype(np.uint8)), r"a\.png: found ids 7 \(2 px\); expected 0\.\.2"),
    (save(np.where(IDS == 255, 1, IDS + 1).astype(np.uint8)), r"found ids 3 .*look shifted by one \(1\.\.3"),
    (save(np.dstack([IDS] * 3)), r"a\.png: .*found a colour image \(RGB\); save class ids as 8-bit gray"),
    (save(IDS == 1), r"a\.png: .*1 bit a pixel"),
    (save(IDS.astype(np.uint16) * 200), r"a\.png: found ids 400 .*200 .*51000"),
    (save(IDS, format="JPEG"), r"a\.png: expected a lossless label"),
    (pages(".tif"), r"a\.tif: expected one label, found 2 pages"),
    (pages(".png"), r"a\.png: expected one label, found 2 pages"),
    (as_jpeg, r"3 of 3 images without .*a\.JPG, b\.1\.JPG, ç\.JPG: \.JPG is lossy, .*as 8-bit gray PNG"),
    (as_array, r"1 of 3 images without .*a\.npy: \.npy is not read; save"),
    (unreadable, r"a\.png: the label cannot be read"),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS, ids=[message[:25] for _, message in FAULTS])
def test_a_file_that_cannot_be_scored_is_named_in_one_line(farm, capsys, spoil, message):
    folder = farm.parent / "first"
    spoil(folder)
    with pytest.raises((DatasetError, LabelError), match=message):
        scored(farm)
    assert run(farm, "--predictions", folder, "--output", farm.parent / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (farm.parent / "out" / "benchmark.json").exists()


def test_a_float_file_is_refused_with_what_to_do(farm):
    (farm.parent / "first" / "a.png").unlink()
    Image.fromarray(IDS.astype(np.float32)).save(farm.parent / "first" / "a.tif")
    with pytest.raises(LabelError, match=r"a\.tif: .*floating-point values; save ids as 8-bit gray"):
        scored(farm)


def test_other_files_hidden_ones_and_folders_are_left_alone(farm):
    folder = farm.parent / "first"
    (folder / ".a.png").write_bytes(b"")
    (folder / "scores.txt").write_text("")
    (folder / "deep").mkdir()
    assert len(scored(farm).images) == 3


def test_the_command_writes_every_report_and_the_counts_of_images(farm, capsys):
    out = farm.parent / "out"
    words = ("--predictions", farm.parent / "first", "--title", "Mine", "--output", out)
    assert run(farm, *words) == 0
    printed = capsys.readouterr().out
    assert (
        printed.startswith((out / "benchmark.txt").read_text())
        and "training data unknown" in printed
        and "method: Mine\n" in printed
    )
    report = json.loads((out / "benchmark.json").read_text())
    row, tally = report["datasets"][NAME], scored(farm)
    assert row["mIoU"] == tally.matrix.scores().mIoU and row["ignore_label"] == 9
    assert (report["title"], row["contains_training_images"]) == ("Mine", None)
    assert report["predictions"] == {"path": str(farm.parent / "first"), "sha256": tally.predictions}
    records = row["records"]
    counts = ImageCounts.load(out / records["image_counts"], records["image_counts_sha256"])
    assert counts.stems == tuple(sorted(STEMS))
    assert {path.name for path in out.iterdir()} == {*(f"benchmark{each}" for each in ENDINGS), "inference"}
    assert run(farm, *words) == 2  # nothing is overwritten
    assert "holds benchmark.txt already" in capsys.readouterr().err
    for ending in ENDINGS:
        (out / f"benchmark{ending}").unlink()
    assert run(farm, *words) == 2  # nor are the counts of an evaluation that is not finished
    assert "holds inference already" in capsys.readouterr().err


def test_stated_training_data_tell_seen_classes_and_images(farm, capsys):
    assert run(farm, "--predictions", farm.parent / "first", "--trained-on", "UDD5_all_sem_seg") == 0
    out = capsys.readouterr().out
    assert "training data unknown" not in out and "UDD5_all_sem_seg (number of classes" in out
    assert run(farm, "--predictions", farm.parent / "first", "--trained-on", NAME) == 0
    assert f"{NAME} *" in capsys.readouterr().out


def test_several_sets_lie_in_folders_of_their_names(farm, tmp_path, capsys):
    text = farm.read_text().replace("splits: {val:", "splits: {test: {images: images, labels: labels}, val:")
    farm.write_text(text)
    (tmp_path / "both").mkdir()
    for split, name in (("val", "first"), ("test", "second")):
        (farm.parent / name).rename(tmp_path / "both" / f"farm_{split}_sem_seg")
    words = ["--predictions", str(tmp_path / "both"), "--dataset", "farm_test_sem_seg"]
    assert run(farm, *words) == 0
    assert "mean of 2" in capsys.readouterr().out
    below = ["--predictions", str(tmp_path / "both")]
    assert run(farm, *below) == 2
    assert f"the folder {tmp_path / 'both' / NAME} is meant" in capsys.readouterr().err
    assert run(farm, *words, "--dataset", NAME) == 2
    assert f"named twice: {NAME}; name each dataset once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--dataset", "UDD5_al_sem_seg"],
            "unknown dataset 'UDD5_al_sem_seg'; did you mean UDD5_all_sem_seg",
        ),
        (["--protocol", "geoseg_isprs"], "protocol geoseg_isprs is for 6 classes; the dataset has 3"),
        (["--predictions", "gone"], "the folder of predictions gone does not exist"),
        (["--trained-on", "gone"], "unknown dataset 'gone'"),
        (["--output", f"{__file__}/out"], "test_score.py is no folder of yours"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(farm, capsys, words, message):
    assert run(farm, "--predictions", farm.parent / "first", *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_set_without_a_labelled_pixel_is_named(farm, capsys):
    for path in (farm.parent / "labels").iterdir():
        Image.fromarray(np.full_like(np.array(Image.open(path)), 9)).save(path)
    assert run(farm, "--predictions", farm.parent / "first") == 2
    error = capsys.readouterr().err
    assert f"{NAME}: nothing to score: no labelled pixel" in error and error.count("\n") == 1


def test_images_of_one_stem_cannot_have_their_predictions_saved():
    check_stems("set", ["x/a.png", "x/b.png"])
    with pytest.raises(DatasetError, match=r"several images share a stem: a; .*TEST\.SAVE_PREDICTIONS"):
        check_stems("set", ["x/a.png", "y/a.jpg"])
