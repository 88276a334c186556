"""Laws of comparisons: which sets compare, what means cover, differences and their intervals."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.methods.rskt import RSKT_SEG
from rskt_seg.metrics.benchmark import json_report
from rskt_seg.metrics.comparison import PaperRow, compare_runs
from rskt_seg.metrics.comparison_report import comparison_files
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.metrics.image_counts import class_counts, stack_counts
from rskt_seg.metrics.protocols import protocol_scores
from rskt_seg.metrics.results import Run, SetRecords, SetResult
from rskt_seg.metrics.stored import read_run

CLASSES = ("building", "road", "water")
SETS = ("DLRSD_val_sem_seg", "UDD5_all_sem_seg", "VDD_all_sem_seg")


def write_run(folder: Path, quality: float, sets=SETS, run_changes=None, images: int = 6, **changes) -> Path:
    """The report of a method that is right in a share of the pixels, and its counts of images."""
    results = []
    for name in sets:
        rng = np.random.default_rng(len(name))  # the same labels for every method
        whole, each = ConfusionMatrix(3), []
        for image in range(images):
            one = ConfusionMatrix(3)
            label = rng.integers(0, 3, (20, 20))
            wrong = np.random.default_rng([image, int(100 * quality)]).random(label.shape) >= quality
            one.update(np.where(wrong, (label + 1) % 3, label), label)
            whole.merge(one)
            each.append(class_counts(one))
        counts = stack_counts([f"scene{i}" for i in range(images)], each, 3)
        counts.save(folder / "inference" / f"{name}.images.npz")
        records = SetRecords(f"inference/{name}.images.npz", counts.digest, "", "")
        result = SetResult(
            name, CLASSES, (True, False, False), whole.scores(), images, "images 0 labels 1", records=records
        )
        results.append(replace(result, **changes))
    about = Run("w.pth", "ab", ("DLRSD_train_sem_seg",), {}, {"torch": "2"})
    (folder / "benchmark.json").write_text(json_report(results, replace(about, **(run_changes or {}))))
    return folder


@pytest.fixture
def runs(tmp_path):
    folders = [write_run(tmp_path / f"run{i}", quality) for i, quality in enumerate((0.6, 0.7, 0.65))]
    return [read_run(folder) for folder in folders]


def test_a_run_is_named_by_the_given_the_stated_title_or_its_folder(tmp_path):
    folder = write_run(tmp_path / "run", 0.6)
    assert (read_run(folder).title, read_run(folder, "mine").title) == ("run", "mine")
    assert read_run(folder / "benchmark.json").title == "run"
    write_run(folder, 0.6, run_changes={"title": "stated"})
    assert read_run(folder).title == "stated"


def test_a_run_compared_with_itself_differs_by_nothing(runs):
    other = compare_runs([runs[0], runs[0]], resamples=50).rows[1]
    assert other.title == f"run0 ({runs[0].report}) #2"
    assert [(each.value, each.bounds) for each in other.differences.values()] == [(0, (0, 0))] * 3
    assert (other.mean_difference.value, other.mean_difference.bounds) == (0, (0, 0))


def test_the_order_of_runs_changes_no_number(runs):
    forth = compare_runs(runs, baseline="run1", resamples=50)
    back = compare_runs(runs[::-1], baseline="run1", resamples=50)
    assert back.rows == forth.rows[::-1] and back.common == forth.common
    alone = compare_runs(runs[:2], baseline="run1", resamples=50)
    assert alone.rows == forth.rows[:2]


def test_differences_are_those_of_the_scores_and_lie_within_their_intervals(runs):
    baseline, better, _ = compare_runs(runs, resamples=300).rows
    for name in SETS:
        difference = better.differences[name]
        assert difference.value == better.miou[name] - baseline.miou[name]
        assert 0 < difference.bounds[0] < difference.value < difference.bounds[1]
    assert better.mean_difference.value == pytest.approx(better.mean - baseline.mean)
    width = [high - low for low, high in (each.bounds for each in better.differences.values())]
    low, high = better.mean_difference.bounds
    assert high - low < min(width)  # several sets together are less uncertain


def test_the_first_run_or_the_named_one_is_the_baseline(runs):
    assert compare_runs(runs, resamples=9).baseline == "run0"
    chosen = compare_runs(runs, baseline="run2", resamples=9)
    assert [bool(row.differences) for row in chosen.rows] == [True, True, False]
    with pytest.raises(ConfigError, match="no run is called 'best'; the baseline is one of run0, run1, run2"):
        compare_runs(runs, baseline="best")


def test_means_cover_the_sets_that_all_rows_have(runs, tmp_path):
    two = read_run(write_run(tmp_path / "two", 0.8, sets=SETS[1:]))
    found = compare_runs([runs[0], two], resamples=9)
    assert tuple(found.sets) == SETS and found.common == SETS[1:]
    assert found.rows[0].mean == pytest.approx(np.mean([found.rows[0].miou[name] for name in SETS[1:]]))
    assert found.rows[0].seen == (pytest.approx(np.mean([runs[0].sets[n].seen[0] for n in SETS[1:]])), 2)
    assert "means over the sets that all rows have (2): UDD5_all, VDD_all" in comparison_files(found)[".txt"]
    paper = PaperRow("Theirs, ViT-B", "A paper, table 1", {SETS[2]: 50.0})
    with_paper = compare_runs([runs[0], two], [paper], resamples=9)
    assert with_paper.common == SETS[2:] and with_paper.rows[2].mean == 50
    assert with_paper.rows[2].differences == {} and with_paper.rows[2].mean_difference is None


def test_a_paper_has_no_figure_in_the_column_of_another_set_than_it_scored(runs, tmp_path):
    drawn = read_run(write_run(tmp_path / "drawn", 0.7, sets=SETS[1:], unpublished="its scenes are drawn"))
    paper = PaperRow("Theirs", "A paper, table 1", dict.fromkeys(SETS, 50.0))
    with pytest.raises(DatasetError, match="stands in the column of UDD5_all_sem_seg: its scenes are drawn"):
        compare_runs([drawn], [paper], resamples=9)
    folder = write_run(tmp_path / "mixed", 0.7)
    tree = json.loads((folder / "benchmark.json").read_text())
    tree["datasets"][SETS[1]]["unpublished"] = "its scenes are drawn"
    (folder / "benchmark.json").write_text(json.dumps(tree))
    found = compare_runs([read_run(folder)], [paper], resamples=9)
    assert tuple(found.sets) == SETS and found.common == (SETS[0], SETS[2])
    assert SETS[1] not in found.rows[1].miou
    assert any("column of UDD5_all_sem_seg: its scenes are drawn" in note for note in found.notes)
    assert not any("column" in note for note in compare_runs([drawn], resamples=9).notes)


def test_a_row_of_a_paper_marks_the_set_it_was_trained_on():
    (table,) = RSKT_SEG.tables
    row = table.rows(["iSAID", "GSNet", "ViT-B"])["iSAID, GSNet, ViT-B"]
    assert row.in_domain == {name: name == "iSAID_all_sem_seg" for name in row.miou}


def test_what_a_training_free_method_learned_from_is_nothing_and_not_unknown(runs, tmp_path):
    free = read_run(write_run(tmp_path / "free", 0.6, run_changes={"trained_on": (), "training_free": True}))
    other = read_run(write_run(tmp_path / "other", 0.6, run_changes={"trained_on": ()}))
    (note,) = (each for each in compare_runs([free, other], resamples=9).notes if "training data" in each)
    assert note.endswith("free: nothing; other: unknown")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fingerprint": "images 0 labels 2"}, "images or labels"),
        ({"classes": ("building", "street", "water")}, "classes"),
        ({"ignore": 254}, "ignored labels"),
    ],
)
def test_a_set_that_was_scored_on_something_else_is_left_out_and_named(runs, tmp_path, changes, words):
    folder = write_run(tmp_path / "other", 0.8)
    tree = json.loads((folder / "benchmark.json").read_text())
    odd = json.loads((write_run(tmp_path / "odd", 0.8, **changes) / "benchmark.json").read_text())
    tree["datasets"][SETS[0]] = odd["datasets"][SETS[0]]
    (folder / "benchmark.json").write_text(json.dumps(tree))
    found = compare_runs([runs[0], read_run(folder)], resamples=9)
    assert tuple(found.sets) == found.common == SETS[1:]
    assert f"{SETS[0]} is left out: other has other {words} than run0" in found.notes
    with pytest.raises(DatasetError, match=r"the runs have no set in common that compares: .*is left out"):
        compare_runs([runs[0], read_run(tmp_path / "odd")])


def test_another_protocol_is_told_like_other_data(runs):
    sets = {name: replace(each, protocol="deepglobe") for name, each in runs[1].sets.items()}
    with pytest.raises(DatasetError, match="run1 has other protocols than run0"):
        compare_runs([runs[0], replace(runs[1], sets=sets)])


def test_by_protocol_sets_without_one_are_left_out_and_scores_are_those_of_the_rule(tmp_path):
    rng, folders = np.random.default_rng(0), []
    for i in range(2):
        whole, each = ConfusionMatrix(2), []
        for _ in range(4):
            one = ConfusionMatrix(2)
            one.update(*rng.integers(0, 2, (2, 9, 9)))
            whole.merge(one)
            each.append(class_counts(one))
        counts = stack_counts(list("abcd"), each, 2)
        folder = write_run(tmp_path / f"run{i}", 0.6 + i / 10)
        counts.save(folder / "inference" / "inria_test_sem_seg.images.npz")
        records = SetRecords("inference/inria_test_sem_seg.images.npz", counts.digest, "", "")
        figures = protocol_scores(whole, "fctl_inria")
        result = SetResult("inria_test_sem_seg", ("background", "building"), None, whole.scores(), 4, "x",
                           protocol=figures, records=records)  # fmt: skip
        tree = json.loads((folder / "benchmark.json").read_text())
        other = json.loads(json_report([result], Run("w", "ab", ("DLRSD_train_sem_seg",), {}, {})))
        tree["datasets"] |= other["datasets"]
        (folder / "benchmark.json").write_text(json.dumps(tree))
        folders.append((folder, figures.mIoU, whole.scores().mIoU))
    found = compare_runs([read_run(folder, by_protocol=True) for folder, *_ in folders], resamples=200)
    assert found.common == ("inria_test_sem_seg",)
    assert [row.mean for row in found.rows] == [rule for _, rule, common in folders if rule != common]
    low, high = found.rows[1].mean_difference.bounds
    assert low < found.rows[1].mean_difference.value < high
    assert "mIoU by the protocol of each set" in comparison_files(found)[".txt"]


def test_a_control_an_unfinished_run_and_other_files_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="gone does not exist"):
        read_run(tmp_path / "gone")
    with pytest.raises(DatasetError, match=r"benchmark\.json is a control with exchanged class names"):
        read_run(write_run(tmp_path / "control", 0.5, run_changes={"rotated": 1}))
    unfinished = write_run(tmp_path / "unfinished", 0.5)
    (unfinished / "benchmark.json").unlink()
    with pytest.raises(DatasetError, match=r"has no benchmark\.json: name a folder that"):
        read_run(unfinished)  # a training leaves scores too
    (unfinished / "inference" / "a.counts.json").write_text("{}")
    with pytest.raises(DatasetError, match="holds an evaluation that is not finished"):
        read_run(unfinished)
    (unfinished / "benchmark_TTA.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"has no benchmark\.json but benchmark_TTA\.json"):
        read_run(unfinished)
    (unfinished / "benchmark.txt").write_text("mIoU")
    with pytest.raises(DatasetError, match=r"benchmark\.txt cannot be read: .*; name benchmark\.json in its"):
        read_run(unfinished / "benchmark.txt")
    for content in ("{}", "[]", "no JSON", '{"rotated_names": 0, "datasets": {"a": {}}}'):
        (unfinished / "benchmark.json").write_text(content)
        with pytest.raises(DatasetError, match=r"benchmark\.json (cannot be read|is no report)"):
            read_run(unfinished)


def test_counts_that_are_not_those_of_the_report_are_refused(runs, tmp_path):
    path = runs[1].report.parent / "inference" / f"{SETS[0]}.images.npz"
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(DatasetError, match="the counts of images are missing"):
        compare_runs(runs)
    path.write_bytes(kept)
    tree = json.loads(runs[1].report.read_text())
    tree["datasets"][SETS[0]]["mIoU"] += 0.01
    runs[1].report.write_text(json.dumps(tree))
    with pytest.raises(DatasetError, match="evaluate or score the set again"):
        compare_runs([runs[0], read_run(runs[1].report.parent)])


def test_a_run_without_counts_of_images_has_differences_without_intervals(runs, tmp_path):
    bare = read_run(write_run(tmp_path / "bare", 0.7, records=None))
    found = compare_runs([runs[0], bare], resamples=9)
    assert found.rows[1].mean_difference.bounds is None and found.rows[1].mean_difference.value > 0
    assert "bare kept no counts of images, so it has no intervals" in found.notes


@pytest.mark.parametrize(("images", "words"), [(1, "no intervals"), (9, "intervals that say little")])
def test_few_images_are_told_and_one_has_no_interval(tmp_path, images, words):
    folders = [write_run(tmp_path / str(quality), quality, images=images) for quality in (0.6, 0.7)]
    found = compare_runs([read_run(folder) for folder in folders], resamples=9)
    row, name = found.rows[1], SETS[0]
    given = (row.mean_difference, *row.differences.values())
    assert all((each.bounds is None) == (images == 1) for each in given)
    assert f"{name} has {images} image{'s'[: images > 1]}, so it has {words}" in found.notes


def test_every_form_of_the_table_has_the_same_numbers(runs):
    paper = PaperRow("Theirs", "A paper, table 1", dict.fromkeys(SETS, 50.0))
    found = compare_runs(runs, [paper], resamples=20)
    files = comparison_files(found)
    tree = json.loads(files[".json"])
    assert [row["title"] for row in tree["rows"]] == ["run0", "run1", "run2", "Theirs"]
    assert (tree["bootstrap"], tree["baseline"]) == ({"coverage": 95.0, "resamples": 20, "seed": 0}, "run0")
    lines = list(csv.DictReader(io.StringIO(files[".csv"])))
    assert len(lines) == 4 * (3 + 1)
    (line,) = [each for each in lines if (each["method"], each["dataset"]) == ("run1", SETS[0])]
    difference = tree["rows"][1]["differences"][SETS[0]]
    assert float(line["difference"]) == difference["value"]
    assert [float(line["low"]), float(line["high"])] == difference["bounds"]
    for ending in (".txt", ".md"):
        text = files[ending]
        assert "Theirs (paper)" in text and "20 bootstrap resamples" in text and "seed 0" in text
        assert f"{difference['value']:+.2f} " in text
    assert "| run0 " in files[".md"]


def test_sets_with_training_images_are_marked(tmp_path):
    found = compare_runs([read_run(write_run(tmp_path / "run", 0.6, in_domain=True))])
    text = comparison_files(found)[".txt"]
    assert " *  " in text and "*: the set contains images that this model was trained on" in text
    # A paper's row is marked in columns that the comparison has; without one there is nothing to explain.
    paper = PaperRow("DLRSD, SAN", "a paper", {"UDD5_all_sem_seg": 50.0}, {"DLRSD_all_sem_seg": True})
    found = compare_runs([read_run(write_run(tmp_path / "other", 0.6))], [paper])
    assert "*: the set contains" not in comparison_files(found)[".txt"]
    assert "bootstrap" not in text and " to run" not in text
