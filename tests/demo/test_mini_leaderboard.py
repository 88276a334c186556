"""The leaderboard in miniature: its methods and its table."""

import argparse
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import mini_leaderboard  # noqa: E402

from rskt_seg.d2 import load_config  # noqa: E402
from rskt_seg.d2.methods import method_of  # noqa: E402
from rskt_seg.methods.builtin import BUILTIN  # noqa: E402


def arguments(tmp_path: Path, **changes) -> argparse.Namespace:
    given = {"only": ["RSKT-Seg", "CLIP zero-shot"], "seeds": [1, 2], "set": "land", "iterations": None}
    return argparse.Namespace(output=tmp_path, train_scenes=3, test_scenes=2, **given | changes)


def test_every_method_of_the_package_has_a_row_in_its_tiny_configuration():
    methods = {
        title: method_of(load_config(str(ROOT / entry.config))).method
        for title, entry in mini_leaderboard.ENTRIES.items()
    }
    assert {method.name for method in methods.values()} == {method.name for method in BUILTIN}
    for title, entry in mini_leaderboard.ENTRIES.items():
        method = methods[title]
        learns = (method.supervision if method.is_trained else "nothing").replace("none", "nothing")
        assert (entry.trains, entry.learns) == (method.is_trained, learns), title


@pytest.mark.parametrize("title", mini_leaderboard.ENTRIES)
def test_a_row_is_trained_if_it_learns_and_scored_on_scenes_that_none_was_trained_on(
    title, tmp_path, monkeypatch
):
    called = []
    monkeypatch.setattr(mini_leaderboard, "draw", lambda *_: (tmp_path, ()))
    monkeypatch.setattr(mini_leaderboard, "call", lambda *words, data: called.append(list(map(str, words))))
    folder = mini_leaderboard.score(arguments(tmp_path), title, 1)
    *training, evaluation = called
    assert len(training) == mini_leaderboard.ENTRIES[title].trains
    for words, flag in (*((words, "--resume") for words in training), (evaluation, "--eval-only")):
        assert flag in words and words[words.index("DATASETS.TEST") + 1] == "('land_test_sem_seg',)"
        assert words[words.index("SEED") + 1] == "1" and str(folder) in words
    assert "TEST.SAVE_PREDICTIONS" in evaluation
    assert ("MODEL.WEIGHTS" in evaluation) == bool(training)


def test_the_table_has_the_best_first_with_its_cost_beside_it(tmp_path):
    def row(mean: float, difference: float | None) -> dict:
        bounds = (
            None if difference is None else {"value": difference, "bounds": [difference - 1, difference + 2]}
        )
        return {"mean": mean, "mean_difference": bounds}

    def analysis(seconds: float) -> dict:
        image = {"flops": 2.5e9, "crops": 5, "measured": {"median_seconds": seconds}}
        return {"images": [image], "parameters": {"total": 3_000_000, "trained": 1_000_000}}

    rows = {seed: {"RSKT-Seg": row(40 + seed, None), "CLIP zero-shot": row(50, 9.0)} for seed in (1, 2)}
    costs = {
        "RSKT-Seg": [analysis(0.4), analysis(0.6)],
        "CLIP zero-shot": [analysis(0.2), analysis(0.2)],
    }
    header, _, first, second = mini_leaderboard.table(arguments(tmp_path), rows, costs).splitlines()
    assert [cell.strip() for cell in header.split("|")][9] == "time, CLIP zero-shot = 1"
    cells = [[cell.strip() for cell in line.split("|")][1:-1] for line in (first, second)]
    assert cells[0] == [
        "CLIP zero-shot", "nothing", "50.0 ± 0.0", "+9.0 [+8.0, +11.0]", "3.00", "0", "2.50", "5",
        "1.0 (1.0 to 1.0)",
    ]  # fmt: skip
    assert cells[1] == [
        "RSKT-Seg", "masks", "41.5 ± 0.7", "-", "3.00", "1.00", "2.50", "5", "2.5 (2.0 to 3.0)"
    ]  # fmt: skip
