"""The tables of the BiCoR-Seg paper as stored: they agree with themselves but for the cells listed here."""

import pytest

from rskt_seg.metrics.published_bicor import (
    FIGURE3,
    ISPRS_CLASSES,
    LOVEDA_CLASSES,
    PROTOCOL,
    TABLE1,
    TABLE2,
    TABLE3,
    TABLE4,
    TABLE4_COST,
    TABLE5,
    published,
)

ISPRS = {"Vaihingen": TABLE2, "Potsdam": TABLE3}


def row(table, method):
    (found,) = [row for row in table if row.method == method]
    return found


def test_the_tables_have_the_methods_and_classes_that_are_printed():
    assert [len(table) for table in (TABLE1, TABLE2, TABLE3, TABLE4, TABLE5)] == [18, 9, 9, 5, 3]
    assert all(tuple(row.classes) == LOVEDA_CLASSES for row in TABLE1)
    assert all(tuple(row.classes) == ISPRS_CLASSES for table in ISPRS.values() for row in table)
    assert all(row.OA is None and row.mF1 is None for row in TABLE1)
    without_oa = {row.method for table in ISPRS.values() for row in table if row.OA is None}
    assert without_oa == {"SFA-Net"}


def test_on_loveda_all_means_but_one_are_those_of_the_seven_classes():
    """Printed to one decimal, so that a mean and its terms are off by up to 0.05 each."""
    deviating = {}
    for one in TABLE1:
        mean = sum(one.classes.values()) / 7
        if abs(mean - one.mIoU) > 0.1001:
            deviating[one.method] = (round(mean, 2), one.mIoU)
    assert deviating == {"SemanticFPN": (48.01, 48.2)}


def test_on_isprs_all_mean_f1_but_these_are_those_of_the_five_classes():
    deviating = {}
    for name, table in ISPRS.items():
        for one in table:
            mean = sum(one.classes.values()) / 5
            if abs(mean - one.mF1) > 0.0101:
                deviating[name, one.method] = (round(mean, 2), one.mF1)
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
        for one in table:
            mean = sum(100 * f1 / (200 - f1) for f1 in one.classes.values()) / 5
            if abs(mean - one.mIoU) > 0.0151:
                deviating[name, one.method] = (round(mean, 2), one.mIoU)
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
    assert TABLE4["HBIS", "FD", "HM"] == TABLE5[2][0] == FIGURE3[0.02] == 55.49
    assert row(TABLE1, "BiCoR-Seg").mIoU == pytest.approx(55.49, abs=0.051)
    assert max(TABLE4.values()) == max(loveda for loveda, _, _ in TABLE5.values()) == 55.49
    assert TABLE4_COST["HBIS"][0] == TABLE5[2][2]
    # Vaihingen with two layers is 85.38 in table 2 and 85.37 in table 5.
    assert row(TABLE2, "BiCoR-Seg").mIoU - TABLE5[2][1] == pytest.approx(0.01)


def test_every_score_is_a_percentage_and_the_papers_own_row_is_the_best_on_average():
    for table in (TABLE1, TABLE2, TABLE3):
        assert all(0 < value < 100 for one in table for value in (*one.classes.values(), one.mIoU))
        assert max(table, key=lambda one: one.mIoU) is table[-1]


def test_only_the_padded_isprs_patches_compare_with_the_paper():
    assert set(PROTOCOL.values()) == set(ISPRS)
    assert published("Vaihingen_geoseg_padded_test_sem_seg").mF1 == 91.94
    assert published("Potsdam_geoseg_padded_test_sem_seg").mIoU == 89.87
    for name in ("Vaihingen_geoseg_test_sem_seg", "LoveDA_geoseg_val_sem_seg", "Vaihingen_all_sem_seg"):
        assert published(name) is None
