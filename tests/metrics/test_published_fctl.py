"""The tables of the FCtL paper as stored: they agree with themselves but for the cells listed here."""

import pytest

from rskt_seg.metrics.published import read_table

TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, TABLE6, TABLE7 = (read_table(f"fctl_table{n}") for n in range(1, 8))
CLASSES = ("urban", "agriculture", "rangeland", "forest", "water", "barren")
DATASETS = ("DeepGlobe", "Inria Aerial")


def figures(table, **labels) -> dict:
    return table.find(**labels).figures


def test_the_tables_have_as_many_rows_as_are_printed():
    inferences = [row.labels["inference"] for row in TABLE1.rows]
    assert [inferences.count(kind) for kind in ("local", "global", "high-res")] == [9, 9, 6]
    tables = (TABLE2, TABLE3, TABLE4, TABLE6, TABLE7)
    assert [len(table.rows) for table in tables] == [11, 4, 9, 3, 10]
    datasets = [row.labels["dataset"] for row in TABLE5.rows]
    assert [datasets.count(name) for name in DATASETS] == [5, 6]


def test_every_mean_over_the_deepglobe_classes_is_that_of_its_row_and_of_table_1():
    assert TABLE3.columns == (*CLASSES, "mIoU")
    for row in TABLE3.rows:
        assert sum(row.figures[name] for name in CLASSES) / 6 == pytest.approx(
            row.figures["mIoU"], abs=0.1001
        )
        inference = "high-res" if row.labels["model"] == "Ours" else "local"
        assert figures(TABLE1, **row.labels, inference=inference)["mIoU"] == row.figures["mIoU"]


def test_f1_on_inria_follows_from_the_iou_of_buildings_but_for_three_rows():
    deviating = {}
    for row in TABLE2.rows:
        if row.figures["F1"] is not None:
            expected = 200 * row.figures["mIoU"] / (100 + row.figures["mIoU"])
            if abs(expected - row.figures["F1"]) > 0.09:  # half a digit of each: 0.05 + 0.65 * 0.05
                deviating[tuple(row.labels.values())] = (round(expected, 1), row.figures["F1"])
    assert deviating == {
        ("CascadePSP", "ResNet50"): (81.9, 81.8),
        ("GLNet", "ResNet50"): (83.2, 82.4),
        ("LCC", "VGG16"): (84.9, 84.1),
    }


def test_the_ablations_begin_with_fcn_8s_and_end_in_the_main_results():
    fcn, ours = {"model": "FCN-8s", "backbone": "VGG16"}, {"model": "Ours", "backbone": "VGG16"}
    main = {
        "DeepGlobe": (figures(TABLE1, **fcn, inference="local"), figures(TABLE1, **ours)),
        "Inria Aerial": (figures(TABLE2, **fcn), figures(TABLE2, **ours)),
    }
    for name in DATASETS:
        first, last = (row["mIoU"] for row in main[name])
        assert TABLE4.rows[0].figures[name] == pytest.approx(first, abs=0.051)
        assert figures(TABLE7, structure="d")[name] == pytest.approx(last, abs=0.051)
        everything = TABLE4.rows[-1].figures[name]
        assert everything == figures(TABLE6, fusion="adaptive")[name]
        assert everything == figures(TABLE7, structure="without")[name]
    best = {}
    for name in DATASETS:
        rows = [row for row in TABLE5.rows if row.labels["dataset"] == name]
        top = max(rows, key=lambda row: row.figures["mIoU"])
        best[name] = (*list(top.labels.values())[1:], top.figures["mIoU"])
    assert best == {
        "DeepGlobe": ("508", "1524", "2448", 73.47),
        "Inria Aerial": ("508", "1016", "1524", 73.50),
    }


def test_one_row_with_embeddings_does_not_say_of_which_context():
    assert [row.labels["gpe"] for row in TABLE4.rows if not row.labels["contexts"]] == ["yes"]
    assert TABLE4.rows[6].labels["contexts"] == "" and TABLE4.rows[0].labels["contexts"] == "none"


def test_positional_embeddings_cost_a_little_on_inria_although_the_text_says_they_help():
    without, with_them = (
        figures(TABLE4, contexts="local + medium + large", gpe=gpe) for gpe in ("no", "yes")
    )
    assert with_them["DeepGlobe"] > without["DeepGlobe"]
    assert with_them["Inria Aerial"] < without["Inria Aerial"]


def test_every_score_is_a_percentage_and_the_accuracy_is_above_the_iou():
    for row in (*TABLE1.rows, *TABLE2.rows):
        miou, f1, accuracy = row.figures.values()
        assert 0 < miou < 100
        assert f1 is accuracy is None or miou < f1 < accuracy < 100
