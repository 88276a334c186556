"""The figures of the miniature benchmark, drawn from its reports."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from rskt_seg.errors import RSKTSegError
from rskt_seg.synthetic import MINIATURES

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "demo"), str(ROOT / "tools")]

import mini_ablation  # noqa: E402
from mini_benchmark import figures  # noqa: E402

VAL = "DLRSD_val_sem_seg"
SETS = (VAL, *(row.both for row in MINIATURES.values() if not row.train))


def write_reports(folder: Path, base: float = 10.0, absent: tuple[str, ...] = ()) -> None:
    """Reports in which set i scores base + i, and class k of iSAID scores k on 100 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {name: {"mIoU": base + i} for i, name in enumerate(SETS)}
    row = MINIATURES["iSAID"]
    rows[row.both]["classes"] = {
        name: {"IoU": None if name in absent else float(k), "pixels": 0 if name in absent else 100}
        for k, name in enumerate(row.classes)
    }
    (folder / "benchmark.json").write_text(json.dumps({"datasets": rows}))
    (folder / "benchmark_rotated1.json").write_text(json.dumps({"mean": {"mIoU": 3.0}}))


def test_the_figures_are_means_over_the_named_sets_and_classes(tmp_path):
    write_reports(tmp_path, absent=("bridge",))
    found = figures(tmp_path)
    assert (found["in_domain"], found["rotated_names"]) == (10.0, 3.0)
    assert found["mean_of_others"] == pytest.approx(sum(range(11, 18)) / 7)
    row = MINIATURES["iSAID"]
    ids = [row.classes.index(name) for name in row.undrawn() if name != "bridge"]
    assert found["isaid_undrawn"] == pytest.approx(sum(ids) / len(ids))
    share, guess = 1 / 14, 1 / 15
    assert found["isaid_undrawn_chance"] == pytest.approx(
        100 * share * guess / (share + guess - share * guess)
    )


def test_scenes_without_any_unseen_class_are_too_few(tmp_path):
    write_reports(tmp_path, absent=MINIATURES["iSAID"].undrawn())
    with pytest.raises(RSKTSegError, match="draw more"):
        figures(tmp_path)


def test_the_ablation_tabulates_complete_runs_with_their_spread(tmp_path):
    asked = Namespace(output=tmp_path, only=["full", "bce"], seeds=[1, 2])
    with pytest.raises(RSKTSegError, match="no complete run"):
        mini_ablation.complete(asked)
    write_reports(tmp_path / "full_seed1", 10)
    write_reports(tmp_path / "full_seed2", 14)
    write_reports(tmp_path / "bce_seed1", 5)
    write_reports(tmp_path / "bce_seed2", 5)
    (tmp_path / "bce_seed2" / "benchmark_rotated1.json").unlink()
    head, _, full, bce = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in mini_ablation.table(mini_ablation.complete(asked)).splitlines()
    )
    assert head[:3] == ["variant", "seeds", "in-domain"] and len(head) == 14
    assert full[:3] == ["full", "2", "12.0 ± 2.8"]
    assert bce[:3] == ["bce", "1", "5.0"]


def test_a_run_of_another_length_does_not_enter_the_table(tmp_path):
    run = {"options": ("SOLVER.BASE_LR", 0.1), "iterations": None}
    for _ in range(2):
        mini_ablation.refuse_others(tmp_path / "full_seed1", run)
    with pytest.raises(RSKTSegError, match="choose another --output"):
        mini_ablation.refuse_others(tmp_path / "full_seed1", run | {"iterations": 10})
