"""The tables of the FCtL paper as stored: they agree with themselves but for the cells listed here."""

import pytest

from rskt_seg.metrics.published_fctl import (
    DEEPGLOBE_CLASSES,
    PROTOCOL,
    TABLE1,
    TABLE2,
    TABLE3,
    TABLE4,
    TABLE5,
    TABLE6,
    TABLE7,
    published,
)

DEEPGLOBE, INRIA = PROTOCOL


def test_the_tables_have_as_many_rows_as_are_printed():
    kinds = [[row.inference for row in TABLE1].count(kind) for kind in ("local", "global", "high-res")]
    assert kinds == [9, 9, 6]
    assert [len(table) for table in (TABLE2, TABLE3, TABLE4, TABLE6, TABLE7)] == [11, 4, 9, 3, 10]
    assert {name: len(rows) for name, rows in TABLE5.items()} == {"DeepGlobe": 5, "Inria Aerial": 6}


def test_every_mean_over_the_deepglobe_classes_is_that_of_its_row_and_of_table_1():
    for (model, backbone), (*classes, mean) in TABLE3.items():
        assert len(classes) == len(DEEPGLOBE_CLASSES)
        assert sum(classes) / 6 == pytest.approx(mean, abs=0.1001)
        assert published(DEEPGLOBE, model, backbone, "patches").mIoU == mean


def test_f1_on_inria_follows_from_the_iou_of_buildings_but_for_three_rows():
    deviating = {}
    for row in TABLE2:
        if row.F1 is not None:
            expected = 200 * row.mIoU / (100 + row.mIoU)
            if abs(expected - row.F1) > 0.09:  # half a digit of each: 0.05 + 0.65 * 0.05
                deviating[row.model, row.backbone] = (round(expected, 1), row.F1)
    assert deviating == {
        ("CascadePSP", "ResNet50"): (81.9, 81.8),
        ("GLNet", "ResNet50"): (83.2, 82.4),
        ("LCC", "VGG16"): (84.9, 84.1),
    }


def test_the_ablations_begin_with_fcn_8s_and_end_in_the_main_results():
    for column, (name, _) in enumerate(((DEEPGLOBE, 0), (INRIA, 1))):
        fcn = published(name, "FCN-8s", "VGG16", "patches").mIoU
        ours = published(name, "Ours", "VGG16", "patches").mIoU
        assert TABLE4[0][2 + column] == pytest.approx(fcn, abs=0.051)
        assert TABLE7["d", ("medium", "large")][column] == pytest.approx(ours, abs=0.051)
        everything = TABLE4[-1][2 + column]
        assert everything == TABLE6["adaptive"][column] == TABLE7["without", ()][column]
    best = {name: max(rows, key=lambda row: row[3]) for name, rows in TABLE5.items()}
    assert best == {"DeepGlobe": (508, 1524, 2448, 73.47), "Inria Aerial": (508, 1016, 1524, 73.50)}


def test_positional_embeddings_cost_a_little_on_inria_although_the_text_says_they_help():
    without, with_them = TABLE4[5], TABLE4[8]
    assert without[0] == with_them[0] and with_them[1]
    assert with_them[2] > without[2] and with_them[3] < without[3]


def test_every_score_is_a_percentage_and_the_accuracy_is_above_the_iou():
    for row in (*TABLE1, *TABLE2):
        assert 0 < row.mIoU < 100
        if row.F1 is not None:
            assert row.mIoU < row.F1 < row.Acc < 100


def test_a_row_is_found_by_set_model_backbone_and_what_the_model_sees():
    assert published(DEEPGLOBE, "Segformer", "MiT-B2", "patches").mIoU == 74.4
    assert published(DEEPGLOBE, "Segformer", "MiT-B2", "whole").mIoU == 54.6
    assert published(INRIA, "Ours", "MiT-B5", "patches").Acc == 95.7
    assert published(INRIA, "FCN-8s", "VGG16", "whole") is None
    assert published("deepglobe_test_sem_seg", "Ours", "VGG16", "patches") is None
    assert published(DEEPGLOBE, "Ours", "VGG19", "patches") is None
