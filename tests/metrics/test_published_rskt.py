"""The main table of the RSKT-Seg paper as stored: it agrees with itself but for the cells listed here."""

from rskt_seg.metrics.published import read_table

TABLE1 = read_table("rskt_table1")
*SETS, MEAN = TABLE1.columns
MIOU, MACC = (
    {
        (row.labels["trained_on"], row.labels["method"], row.labels["backbone"]): row.figures
        for row in TABLE1.rows
        if row.labels["measure"] == measure
    }
    for measure in ("mIoU", "mACC")
)


def test_the_table_has_seven_methods_in_two_sizes_on_two_training_sets():
    assert TABLE1.columns == (
        "DLRSD", "iSAID", "LoveDA", "Potsdam", "UAVid", "UDD5", "Vaihingen", "VDD", "mean",
    )  # fmt: skip
    assert len(TABLE1.rows) == 56
    assert len(MIOU) == 28 and list(MIOU) == list(MACC)
    for trained_on in ("DLRSD", "iSAID"):
        rows = [row for row in MIOU if row[0] == trained_on]
        assert len(rows) == 14
        for size in ("B", "L"):
            assert len({method for _, method, backbone in rows if backbone.endswith(size)}) == 7


def test_every_cell_is_printed():
    assert all(value is not None for row in TABLE1.rows for value in row.figures.values())


def test_the_printed_means_are_those_of_their_rows_but_for_two():
    deviating = [
        (*labels, row[MEAN])
        for labels in MIOU
        for row in (MIOU[labels], MACC[labels])
        if abs(sum(row[name] for name in SETS) / 8 - row[MEAN]) > 0.0101
    ]
    assert deviating == [("DLRSD", "OVRIS", "ViT-B", 54.51), ("DLRSD", "GSNet", "ViT-L", 44.56)]


def test_every_score_lies_below_its_accuracy_and_within_percent():
    for labels in MIOU:
        assert all(0 < MIOU[labels][name] < MACC[labels][name] < 100 for name in SETS), labels
