"""The ablations of the closed-set methods on synthetic scenes: their rows, their runs and their tables."""

import argparse
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import closed_set_ablation  # noqa: E402

from rskt_seg.d2 import load_config  # noqa: E402
from rskt_seg.d2.specs import model_spec  # noqa: E402
from rskt_seg.errors import RSKTSegError  # noqa: E402
from rskt_seg.metrics.published import read_table  # noqa: E402

METHODS = closed_set_ablation.METHODS
ROWS = [(method, row) for method in METHODS for row in closed_set_ablation.rows_of(method)]


def arguments(tmp_path: Path, **changes) -> argparse.Namespace:
    sizes = {"train_scenes": 4, "test_scenes": 2, "iterations": 1, "seeds": [1, 2], "only": None}
    return argparse.Namespace(output=tmp_path, set="land", **sizes | changes)


def write_run(folder: Path, score: float) -> None:
    (folder / "inference").mkdir(parents=True)
    classes = {"a": {"pixels": 50}, "b": {"pixels": 50}}
    row = {"mIoU": score, "mF1": score + 1, "pACC": score + 2, "classes": classes}
    (folder / "inference" / "land_test_sem_seg.json").write_text(json.dumps({"datasets": {"land": row}}))


def test_every_printed_row_of_the_tables_is_there():
    rows = closed_set_ablation.rows_of("bicor").values()
    printed = [
        (table, ", ".join(row.labels.values()))
        for table in ("bicor_table4", "bicor_table5")
        for row in read_table(table).rows
    ]
    assert [(row.table, row.row) for row in rows] == printed
    for table in ("fctl_table4", "fctl_table6", "fctl_table7"):
        found = [row.row for row in closed_set_ablation.rows_of("fctl").values() if row.table == table]
        assert found == [", ".join(row.labels.values()) for row in read_table(table).rows]


@pytest.mark.parametrize(("method", "row"), ROWS)
def test_the_tiny_model_of_a_row_has_what_the_row_has(method, row):
    tables = METHODS[method]
    words = [*map(str, tables.common), *closed_set_ablation.options(method, row)]
    tiny = model_spec(load_config(str(ROOT / f"configs/{method}/tiny.yaml"), words), 7)
    full = model_spec(load_config(f"{ROOT / tables.rows}:{row}"), 7)
    if method == "bicor":
        for field in map(str.lower, closed_set_ablation.LOSSES):
            assert getattr(tiny, field) == getattr(full, field)
        return
    for field in ("contexts", "terms", "gpe", "mcf", "ale", "enhanced", "lcf"):
        assert getattr(tiny, field) == getattr(full, field)
    assert tiny.context_encoder == ("shared" if tiny.contexts else "frozen")


def test_rows_that_are_one_model_are_one_run_and_stand_in_both_tables(tmp_path):
    args = arguments(tmp_path)
    models = closed_set_ablation.models(args, "fctl")
    twins = {row: trained for row, trained in models.items() if row != trained}
    assert twins == dict.fromkeys(("table6_adaptive", "table7_without"), "table4_local_medium_large_gpe")
    for seed, score in ((1, 40.0), (2, 44.0)):
        write_run(closed_set_ablation._folder(args, "fctl", "table4_local_medium_large_gpe", seed), score)
    text = closed_set_ablation.write(args, "fctl")
    assert text.count("42.0 ± 2.8") == 3 and text.count("43.0 ± 2.8") == 3
    assert (tmp_path / "fctl.md").read_text() == text and "## table6" in text


def test_a_run_is_scored_and_kept_and_another_one_is_not_mixed_with_it(tmp_path, monkeypatch):
    args, row = arguments(tmp_path), "table4_hbis"
    closed_set_ablation.measure(args, "bicor", row, 1)
    folder = closed_set_ablation._folder(args, "bicor", row, 1)
    figures = closed_set_ablation._figures(folder)
    assert figures.keys() == {"mIoU", "mF1", "OA", "chance"} and figures["mIoU"] > 0
    monkeypatch.setattr(closed_set_ablation, "draw", lambda *_: pytest.fail("drawn again"))
    closed_set_ablation.measure(args, "bicor", row, 1)
    with pytest.raises(RSKTSegError, match="was run with"):
        closed_set_ablation.measure(arguments(tmp_path, iterations=2), "bicor", row, 1)
