"""Costs beside scores: those that an analysis stated of the same model, or a reason why there are none."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from rskt_seg.analysis import Analysis, CallCost, ImageCost, ImageResult, Measurement, Parameters, json_report
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.metrics.comparison import compare_runs
from rskt_seg.metrics.comparison_report import comparison_files
from rskt_seg.metrics.costs import read_analysis, with_costs
from rskt_seg.metrics.results import EvaluatedModel
from rskt_seg.metrics.stored import read_run
from tests.metrics.test_comparison import write_run

DEEP = EvaluatedModel("A method", {"layers": 5, "scales": (1, 2)}, {"sliding": True})
SHALLOW = replace(DEEP, options={"layers": 1, "scales": (1, 2)})
SEEN = {"views": "all"}


def image(side: int, flops: int) -> ImageCost:
    return ImageCost(side, 2 * side, (CallCost("a crop", 1, 5, flops // 5),), 7)


def write_analysis(path: Path, model: EvaluatedModel = DEEP, measured: Measurement | None = None) -> Path:
    results = [
        ImageResult(image(side, 5 * side), image(side, 40 * side) if model.augmentation else None, measured)
        for side in (100, 300)
    ]
    found = Analysis(
        "a.yaml", model, 17, Parameters(9_000_000, 2_500_000), tuple(results), (), (), {"torch": "2"}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_report(found))
    return path


@pytest.fixture
def runs(tmp_path):
    """A deep and a shallow model, and predictions of another program."""
    found = []
    for name, model in (("deep", DEEP), ("shallow", SHALLOW), ("other", None)):
        found.append(read_run(write_run(tmp_path / name, 0.6, run_changes={"model": model})))
    return found


def test_an_analysis_beside_the_report_is_taken_and_stands_in_every_form(runs, tmp_path):
    speed = Measurement((0.5, 0.25, 0.3), 1, 2_000_000, None, 3, "cpu (a processor)")
    write_analysis(tmp_path / "deep" / "analyze.json", measured=speed)
    write_analysis(tmp_path / "shallow" / "analyze.json", SHALLOW)
    found = compare_runs(with_costs(runs), resamples=9)
    deep, shallow, other = found.rows
    assert (deep.cost.parameters, deep.cost.trained, deep.cost.classes) == (9_000_000, 2_500_000, 17)
    assert [each.flops for each in deep.cost.images] == [500, 1500] and deep.cost.images[0].crops == 5
    assert (deep.cost.images[0].seconds, deep.cost.images[0].memory) == (0.3, 2_000_000)
    assert (shallow.cost.images[0].seconds, other.cost) == (None, None)
    files = comparison_files(found)
    rows = list(csv.DictReader(io.StringIO(files["_costs.csv"])))
    columns = ("method", "height", "width", "flops", "multiply_adds")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("deep", "100", "200", "500", "250"), ("deep", "300", "600", "1500", "750"),
        ("shallow", "100", "200", "500", "250"), ("shallow", "300", "600", "1500", "750"),
        ("other", "", "", "", ""),
    ]  # fmt: skip
    assert json.loads(files[".json"])["rows"][0]["cost"]["images"][1]["flops"] == 1500
    for form in (".txt", ".md"):
        assert "9.000" in files[form] and "2.500" in files[form] and "300.00" in files[form]
    assert "time and memory: on cpu (a processor), 3 threads, torch 2" in files[".txt"]
    assert "no cost of other: no analyze.json beside its report; `rskt-seg analyze" in files[".txt"]


def test_without_any_analysis_there_is_a_reason_and_no_empty_table(runs):
    text = comparison_files(compare_runs(with_costs(runs), resamples=9))[".txt"]
    assert "no cost of deep, shallow, other: no analyze.json beside its report" in text
    assert "parameters (M)" not in text


def test_the_cost_of_another_model_is_never_set_beside_a_run(runs, tmp_path):
    write_analysis(tmp_path / "deep" / "analyze.json", SHALLOW)
    deep = with_costs(runs)[0]
    assert deep.cost is None and "of another model: layers is 1, of the run 5" in deep.no_cost
    sliding = replace(DEEP, evaluation={"sliding": False})
    file = write_analysis(tmp_path / "cost.json", sliding)
    with pytest.raises(ConfigError, match="of another model: evaluation sliding is False, of the run True"):
        with_costs(runs, [("deep", file)])
    with pytest.raises(ConfigError, match=r"evaluation sliding .* \(deep\); layers .* \(shallow\)"):
        with_costs(runs, [("", file)])


def test_of_another_method_its_title_alone_is_said(runs, tmp_path):
    other = replace(DEEP, method="Another", options={"width": 3})
    write_analysis(tmp_path / "deep" / "analyze.json", other)
    assert with_costs(runs)[0].no_cost.endswith("is of another model: method is Another, of the run A method")


def test_a_fact_that_one_side_lacks_is_not_called_none(runs, tmp_path):
    options = {**DEEP.options, "width": 3}
    write_analysis(tmp_path / "deep" / "analyze.json", replace(DEEP, options=options))
    assert with_costs(runs)[0].no_cost.endswith("of another model: width is 3, not set in the run")


def test_a_named_analysis_goes_to_the_runs_of_its_model_and_to_predictions_by_their_title(runs, tmp_path):
    file = write_analysis(tmp_path / "cost" / "analyze.json")
    deep, shallow, other = with_costs(runs, [("", file.parent)])
    assert deep.cost.source == str(file) and shallow.cost is None and other.cost is None
    assert with_costs(runs, [("other", file)])[2].cost.parameters == 9_000_000
    with pytest.raises(ConfigError, match="the runs are deep, shallow, other; write TITLE=FOLDER"):
        with_costs(runs, [("best", file)])
    with pytest.raises(ConfigError, match="are both of deep; name one"):
        with_costs(runs, [("", file), ("deep", file)])
    with pytest.raises(ConfigError, match="no run states its model; name the one of"):
        with_costs(runs[2:], [("", file)])


def test_a_run_with_augmentation_has_the_cost_of_its_views_and_no_time(tmp_path):
    views = replace(DEEP, augmentation=SEEN)
    speed = Measurement((0.5,), 1, 2, None, 3, "cpu (a processor)")
    file = write_analysis(tmp_path / "cost.json", views, speed)
    plain = read_run(write_run(tmp_path / "plain", 0.6, run_changes={"model": DEEP}))
    averaged = read_run(write_run(tmp_path / "averaged", 0.6, run_changes={"model": views}))
    plain, averaged = with_costs([plain, averaged], [("", file)])
    assert (plain.cost.images[0].flops, plain.cost.images[0].seconds) == (500, 0.5)
    assert (averaged.cost.images[0].flops, averaged.cost.images[0].seconds) == (4000, None)
    with_others = write_analysis(tmp_path / "others.json", replace(DEEP, augmentation={"views": "some"}))
    with pytest.raises(ConfigError, match="augmentation views is 'some', of the run 'all'"):
        with_costs([averaged], [("", with_others)])
    without = write_analysis(tmp_path / "without.json")
    with pytest.raises(ConfigError, match="augmentation views is not set, of the run 'all'"):
        with_costs([averaged], [("", without)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "{",
            "it is damaged, no whole JSON text; remove it and run `rskt-seg analyze --output FOLDER` again",
        ),
        (
            b"\xff{}",
            "it is damaged, no whole JSON text; remove it and run `rskt-seg analyze --output FOLDER` again",
        ),
        (None, "it does not exist; run `rskt-seg analyze --output FOLDER`"),
        ("", "it is damaged"),
        (Path, "it is a folder; remove it and run `rskt-seg analyze --output FOLDER` again"),
        (
            '{"method": "a", "augmentation": 1, "options": {}, "evaluation": {}}',
            "a field of it is of another",
        ),
        ("[]", "no analysis of"),
        ('{"method": "a"}', "it lacks 'augmentation'"),
    ],
)
def test_a_file_that_is_no_analysis_is_one_line(tmp_path, text, words):
    file = tmp_path / "analyze.json"
    if text is Path:
        file.mkdir()
    elif text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=words) as error:
        read_analysis(tmp_path)
    assert not any(raw in str(error.value) for raw in ("Errno", "Expecting", "line 1", "object", "\n"))


def test_counts_must_be_whole_numbers(tmp_path):
    file = write_analysis(tmp_path / "analyze.json")
    tree = json.loads(file.read_text())
    tree["images"][0]["flops"] = "many"
    file.write_text(json.dumps(tree))
    with pytest.raises(DatasetError, match="found 'many' in place of a whole number"):
        read_analysis(file)
