"""`rskt-seg compare` on what `rskt-seg score` wrote."""

import csv
import json

import pytest

from rskt_seg.commands import compare, score

NAME = "farm_val_sem_seg"


@pytest.fixture
def runs(farm):
    """The folders of two scored methods."""
    folders = []
    for name in ("first", "second"):
        folders.append(farm.parent / f"run_{name}")
        words = ["--own", str(farm), "--dataset", NAME, "--output", str(folders[-1])]
        assert score.main(["--predictions", str(farm.parent / name), *words]) == 0
    return folders


def run(*words) -> int:
    return compare.main(list(map(str, words)))


def test_the_table_is_printed_and_written_in_four_forms(runs, tmp_path, capsys):
    capsys.readouterr()
    out = tmp_path / "out"
    words = (f"one={runs[0]}", f"two={runs[1]}", "--baseline", "two", "--resamples", 30, "--seed", 4)
    assert run(*words, "--output", out) == 0
    assert capsys.readouterr().out.rstrip() == (out / "comparison.txt").read_text().rstrip()
    tree = json.loads((out / "comparison.json").read_text())
    assert (tree["baseline"], tree["bootstrap"]["resamples"], tree["bootstrap"]["seed"]) == ("two", 30, 4)
    reports = [
        json.loads((folder / "benchmark.json").read_text())["datasets"][NAME]["mIoU"] for folder in runs
    ]
    assert [row["miou"][NAME] for row in tree["rows"]] == reports
    assert tree["rows"][0]["mean_difference"]["value"] == reports[0] - reports[1]
    assert len(list(csv.reader((out / "comparison.csv").open()))) == 1 + 2 * 2
    assert (out / "comparison.md").read_text().startswith("| mIoU ")
    again = (out / "comparison.json").read_bytes()
    assert run(*words, "--output", tmp_path / "again") == 0
    assert (tmp_path / "again" / "comparison.json").read_bytes() == again
    assert run(*words, "--output", out) == 2  # nothing is overwritten


def test_a_folder_whose_name_has_an_equals_sign_needs_no_title(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs[0].rename(tmp_path / "lr=0.1")
    assert run("lr=0.1", runs[1], "--resamples", 5) == 0
    assert "lr=0.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "gone does not exist; name the folder of a benchmark"),
        (["--baseline", "best"], "'best'; the baseline is one of run_first; write TITLE=FOLDER in place"),
        (["--paper-rows", "ViT-B"], "--paper-rows chooses rows of --paper TABLE: rskt_table1"),
        (["--paper", "rskt_table9"], "by test sets is called 'rskt_table9'; known: rskt_table1"),
        (["--paper", "rskt_table1", "--paper-rows", "ViT-X"], "has no row with ViT-X; its labels: Cat-Seg,"),
        (["--protocol"], "the runs have no set in common"),
        (["--protocol", "--paper", "rskt_table1"], "no place beside --protocol"),
        (["--paper", "rskt_table1"], "no set in common that the papers have too that compares"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(runs, capsys, words, message):
    capsys.readouterr()
    assert run(runs[0], *words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--resamples", "0", "a number above 0; found 0"),
        ("--resamples", "many", "a number above 0; found many"),
        ("--seed", "-1", "a whole number from 0; found -1"),
    ],
)
def test_numbers_of_resamples_and_seeds_are_checked(flag, value, expected, capsys):
    with pytest.raises(SystemExit):
        compare.parse_args(["run", flag, value])
    assert f"expected {expected}" in capsys.readouterr().err
    assert compare.parse_args(["run", "--seed", "0"]).seed == 0


def test_rows_of_the_paper_stand_in_the_columns_of_its_registrations_alone():
    rows = compare._paper_rows("rskt_table1", ["DLRSD, vit-b", "iSAID, SCAN"])
    assert len(rows) == 6 + 2 and {row.source for row in rows} == {"RSKT-Seg, table 1"}
    scan = rows[0]
    assert (scan.title, scan.miou["DLRSD_all_sem_seg"]) == ("DLRSD, SCAN, ViT-B", 48.52)
    assert "LoveDA_all_sem_seg" not in scan.miou and scan.miou["LoveDA_all_8c_sem_seg"] == 18.23
    assert len(compare._paper_rows("rskt_table1", [])) == 28
