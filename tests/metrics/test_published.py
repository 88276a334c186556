"""The paper's table 1 as stored."""

import pytest

from rskt_seg.data.catalog import SPLITS
from rskt_seg.metrics.published import COLUMNS, PROTOCOL, TABLE1, published


def test_the_table_has_seven_methods_in_two_sizes_on_two_training_sets():
    assert len(TABLE1) == 28
    assert len({(row.trained_on, row.method, row.backbone) for row in TABLE1}) == 28
    for trained_on in ("DLRSD", "iSAID"):
        rows = [row for row in TABLE1 if row.trained_on == trained_on]
        assert len(rows) == 14
        for size in ("B", "L"):
            assert len({row.method for row in rows if row.backbone.endswith(size)}) == 7
    assert all(tuple(row.mIoU) == tuple(row.mACC) == COLUMNS for row in TABLE1)


def test_the_printed_means_are_those_of_their_rows_but_for_two():
    deviating = []
    for row in TABLE1:
        for scores, printed in ((row.mIoU, row.mean_mIoU), (row.mACC, row.mean_mACC)):
            if abs(sum(scores.values()) / 8 - printed) > 0.0101:
                deviating.append((row.trained_on, row.method, row.backbone, printed))
    assert deviating == [("DLRSD", "OVRIS", "ViT-B", 54.51), ("DLRSD", "GSNet", "ViT-L", 44.56)]


def test_every_score_lies_below_its_accuracy_and_within_percent():
    for row in TABLE1:
        assert all(0 < row.mIoU[c] < row.mACC[c] < 100 for c in COLUMNS), row


@pytest.mark.parametrize(
    ("asked", "means"),
    [(("DLRSD", "ViT-B"), (43.90, 59.51)), (("iSAID", "ViT-L"), (36.76, 57.91))],
)
def test_the_row_of_a_run_is_found_by_training_set_and_backbone(asked, means):
    row = published(*asked)
    assert row.method == "RSKT-Seg"
    assert (row.mean_mIoU, row.mean_mACC) == means
    assert published("Potsdam", "ViT-B") is None


def test_the_protocol_names_registered_sets_of_the_columns_and_loveda_in_its_published_form():
    rows = {split.name: split for split in SPLITS}
    assert sorted(PROTOCOL.values()) == sorted(COLUMNS)
    assert all(rows[name].dataset == column for name, column in PROTOCOL.items())
    assert "no-data" in rows["LoveDA_all_8c_sem_seg"].class_set.names
    assert "LoveDA_all_sem_seg" not in PROTOCOL
