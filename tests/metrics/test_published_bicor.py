"""The tables of the BiCoR-Seg paper as stored: they agree with themselves but for the cells listed here."""

import pytest

from rskt_seg.metrics.published import read_table

TABLE1, TABLE2, TABLE3, TABLE4, TABLE5 = (read_table(f"bicor_table{number}") for number in range(1, 6))
FIGURE3 = read_table("bicor_figure3")
LOVEDA_CLASSES = ("background", "building", "road", "water", "barren", "forest", "agriculture")
ISPRS_CLASSES = ("impervious", "building", "low vegetation", "tree", "car")
ISPRS = {"Vaihingen": TABLE2, "Potsdam": TABLE3}


def by_method(table) -> dict:
    return {row.labels["method"]: row.figures for row in table.rows}


def test_the_tables_have_the_methods_and_classes_that_are_printed():
    assert [len(t.rows) for t in (TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, FIGURE3)] == [18, 9, 9, 5, 3, 1]
    assert TABLE1.columns == (*LOVEDA_CLASSES, "mIoU")
    assert all(table.columns == (*ISPRS_CLASSES, "mIoU", "OA", "mF1") for table in ISPRS.values())
    unprinted = {
        (name, method, column)
        for name, table in (ISPRS | {"LoveDA": TABLE1}).items()
        for method, row in by_method(table).items()
        for column, value in row.items()
        if value is None
    }
    assert unprinted == {("Vaihingen", "SFA-Net", "OA"), ("Potsdam", "SFA-Net", "OA")}


def test_on_loveda_all_means_but_one_are_those_of_the_seven_classes():
    """Printed to one decimal, so that a mean and its terms are off by up to 0.05 each."""
    deviating = {}
    for method, row in by_method(TABLE1).items():
        mean = sum(row[name] for name in LOVEDA_CLASSES) / 7
        if abs(mean - row["mIoU"]) > 0.1001:
            deviating[method] = (round(mean, 2), row["mIoU"])
    assert deviating == {"SemanticFPN": (48.01, 48.2)}


def test_on_isprs_all_mean_f1_but_these_are_those_of_the_five_classes():
    deviating = {}
    for name, table in ISPRS.items():
        for method, row in by_method(table).items():
            mean = sum(row[each] for each in ISPRS_CLASSES) / 5
            if abs(mean - row["mF1"]) > 0.0101:
                deviating[name, method] = (round(mean, 2), row["mF1"])
    assert deviating == {
        ("Vaihingen", "SFA-Net"): (91.22, 91.20),
        ("Potsdam", "U-Net"): (74.70, 75.64),
        ("Potsdam", "DANet"): (88.92, 88.90),
        ("Potsdam", "TreeUNet"): (92.02, 92.00),
        ("Potsdam", "LSRFormer"): (93.38, 93.40),
    }


def test_on_isprs_all_mean_iou_but_these_follow_from_the_f1_of_the_classes():
    """IoU = F1 / (2 - F1) holds of pooled counts, whatever the class."""
    deviating = {}
    for name, table in ISPRS.items():
        for method, row in by_method(table).items():
            mean = sum(100 * row[each] / (200 - row[each]) for each in ISPRS_CLASSES) / 5
            if abs(mean - row["mIoU"]) > 0.0151:
                deviating[name, method] = (round(mean, 2), row["mIoU"])
    assert deviating == {
        ("Vaihingen", "DANet"): (74.30, 74.52),
        ("Vaihingen", "LSRFormer"): (84.54, 84.56),
        ("Vaihingen", "AFENet"): (84.69, 84.55),
        ("Potsdam", "U-Net"): (61.76, 60.46),
        ("Potsdam", "TreeUNet"): (85.52, 85.50),
        ("Potsdam", "SFA-Net"): (88.03, 87.60),
        ("Potsdam", "AFENet"): (87.55, 87.50),
        ("Potsdam", "BiCoR-Seg"): (89.85, 89.87),
    }


def test_the_ablations_end_in_the_main_results():
    modules = {row.labels["modules"]: row.figures for row in TABLE4.rows}
    layers = {row.labels["layers"]: row.figures for row in TABLE5.rows}
    assert modules["HBIS + FD + HM"]["mIoU"] == layers["2"]["LoveDA"] == 55.49
    assert FIGURE3.find(topk_ratio="0.02").figures["mIoU"] == 55.49
    assert by_method(TABLE1)["BiCoR-Seg"]["mIoU"] == pytest.approx(55.49, abs=0.051)
    assert max(row["mIoU"] for row in modules.values()) == 55.49
    assert max(row["LoveDA"] for row in layers.values()) == 55.49
    assert modules["HBIS"]["parameters (M)"] == layers["2"]["parameters (M)"]
    # Vaihingen with two layers is 85.38 in table 2 and 85.37 in table 5.
    assert by_method(TABLE2)["BiCoR-Seg"]["mIoU"] - layers["2"]["Vaihingen"] == pytest.approx(0.01)


def test_every_score_is_a_percentage_and_the_papers_own_row_is_the_best_on_average():
    for table, classes in ((TABLE1, LOVEDA_CLASSES), (TABLE2, ISPRS_CLASSES), (TABLE3, ISPRS_CLASSES)):
        assert all(0 < row.figures[name] < 100 for row in table.rows for name in (*classes, "mIoU"))
        assert max(table.rows, key=lambda row: row.figures["mIoU"]) is table.rows[-1]
        assert table.rows[-1].labels["method"] == "BiCoR-Seg"
