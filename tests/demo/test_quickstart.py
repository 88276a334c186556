"""The walk of `make demo-train` on a short schedule: every file is there, little training is not learning."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.full_disk import file_limit

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "demo"))


@pytest.mark.slow
def test_a_short_walk_leaves_pictures_and_metrics_and_admits_that_it_has_not_learned(tmp_path):
    sizes = ["--train-scenes", "24", "--val-scenes", "8", "--iterations", "6"]
    command = [sys.executable, ROOT / "demo/quickstart.py", "--output", tmp_path, *sizes]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    walk = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert walk.returncode == 1, walk.stderr[-2000:]
    assert "not learned: mIoU" in walk.stderr and "Traceback" not in walk.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {
        "mIoU",
        "untrained_mIoU",
        "clip_alone_mIoU",
        "colour_baseline_mIoU",
        "per_class",
        "benchmark",
        "seconds",
    } <= metrics.keys()
    assert len(metrics["per_class"]) == 17
    for kind in ("overlay", "labels", "legend", "ids", "truth"):
        assert (tmp_path / f"scene0_{kind}.png").stat().st_size > 0
    assert "names exchanged" in walk.stdout
    assert len(metrics["benchmark"]["datasets"]) == 8
    table = (tmp_path / "benchmark" / "benchmark.md").read_text()
    assert "| VDD_all_sem_seg " in table and "| Wall (unseen) " in table
    assert "CONTROL" in (tmp_path / "benchmark" / "benchmark_rotated1.txt").read_text()
    # Repeating it draws no scene again and goes on where training stopped.
    checkpoint = tmp_path / "train" / "model_final.pth"
    written = checkpoint.stat().st_mtime_ns
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert again.returncode == 1 and checkpoint.stat().st_mtime_ns == written
    assert json.loads((tmp_path / "metrics.json").read_text())["mIoU"] == metrics["mIoU"]


@pytest.mark.parametrize(
    ("metrics", "fault"),
    [
        ({"mIoU": 50, "untrained_mIoU": 5, "colour_baseline_mIoU": 20}, None),
        ({"mIoU": 44, "untrained_mIoU": 5, "colour_baseline_mIoU": 20}, "at least 45"),
        ({"mIoU": 50, "untrained_mIoU": 17, "colour_baseline_mIoU": 20}, "untrained"),
        ({"mIoU": 50, "untrained_mIoU": 5, "colour_baseline_mIoU": 26}, "colour"),
    ],
)
def test_learned_means_all_three_bounds(metrics, fault):
    from quickstart import judge

    faults = judge({key: float(value) for key, value in metrics.items()})
    assert (faults == []) if fault is None else (len(faults) == 1 and fault in faults[0])


def test_metrics_that_do_not_fit_on_the_disk_leave_the_older_ones(tmp_path, monkeypatch, capsys):
    import quickstart

    steps = {
        "train": {"mIoU": 50.0, "classes": {"field": {"IoU": 50.0}}},
        "evaluate_untrained": (5.0, 1.0),
        "colour_baseline": 20.0,
        "figures": GOOD,
    }
    for step in ("write_sets", "segment_unseen", "benchmark", "report", *steps):
        monkeypatch.setattr(quickstart, step, lambda *_, step=step: steps.get(step))
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "--output", str(tmp_path)])
    (tmp_path / "metrics.json").write_text("older")
    with file_limit(20):
        assert quickstart.run(quickstart.main) == 2
    assert "metrics.json cannot be written" in capsys.readouterr().err
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("metrics.json", "older")]
    assert quickstart.run(quickstart.main) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["mIoU"] == 50


GOOD = {
    "in_domain": 55,
    "mean_of_others": 40,
    "isaid_undrawn": 30,
    "isaid_undrawn_chance": 3,
    "rotated_names": 6,
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"in_domain": 49}, "in-domain mIoU is 49.0"),
        ({"mean_of_others": 24}, "seven other sets is 24.0"),
        ({"isaid_undrawn": 19}, "score 19.0"),
        ({"isaid_undrawn_chance": 7}, r"5 times chance \(7.0\)"),
        ({"rotated_names": 11}, "still 11.0"),
    ],
)
def test_segmenting_by_words_means_all_four_bounds(change, fault):
    from mini_benchmark import judge

    faults = judge({key: float(value) for key, value in (GOOD | change).items()})
    assert (faults == []) if fault is None else (len(faults) == 1 and re.search(fault, faults[0]))
