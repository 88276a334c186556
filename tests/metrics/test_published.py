"""Laws of the reader of published tables, and of the packaged files."""

import pytest

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.published import parse_table, read_table, table_names

TABLE = """\
# source: A paper, table 7
# labels: method, size
# Two rows are enough.
method,size,mIoU,"forest, dense"
Ours,B,85.38,7
Ours,L,,0.5
"""


def test_a_table_has_its_source_its_labels_and_its_figures():
    table = parse_table(TABLE, "a.csv")
    assert table.source == "A paper, table 7"
    assert table.labels == ("method", "size") and table.columns == ("mIoU", "forest, dense")
    assert [dict(row.labels) for row in table.rows] == [
        {"method": "Ours", "size": "B"},
        {"method": "Ours", "size": "L"},
    ]
    assert [dict(row.figures) for row in table.rows] == [
        {"mIoU": 85.38, "forest, dense": 7.0},
        {"mIoU": None, "forest, dense": 0.5},
    ]


def test_a_row_is_found_by_labels_that_tell_it_from_all_others():
    table = parse_table(TABLE, "a.csv")
    assert table.find(size="B") is table.rows[0] and table.find(method="Ours", size="L") is table.rows[1]
    assert table.find(method="Theirs") is None
    with pytest.raises(DatasetError, match=r"A paper, table 7: 2 rows match .*method, size"):
        table.find(method="Ours")
    with pytest.raises(DatasetError, match="no label mIoU; its labels: method, size"):
        table.find(mIoU="85.38")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("# source: A paper, table 7\n", "", "one line '# source: ...' above the header, found 0"),
        ("# labels: method, size\n", "", "'# labels: ...' above the header, found 0"),
        ("# Two rows are enough.", "# source: B", "'# source: ...' above the header, found 2"),
        ("A paper, table 7", "", "'# source: ...'"),
        ("method, size", "method, side", "labels side are no columns; found method, size"),
        ("method, size", "method, method", "different labels"),
        ("labels: method, size", "labels: method, size, mIoU, forest", "labels forest are no columns"),
        ("size,mIoU", "size,size", r"different names; repeated or empty: \['size'\]"),
        ("size,mIoU", "size,", "different names"),
        ("85.38,7", "85.38", "a.csv, line 5: expected 4 cells, found 3"),
        ("Ours,L,,0.5", "Ours,L,,0.5,1", "a.csv, line 6: expected 4 cells, found 5"),
        ("Ours,L,,0.5\n", "Ours,L,,0.5\n\n", "a.csv, line 7: expected 4 cells, found 0"),
        (
            "85.38",
            "85.3B",
            "line 5, column 'mIoU': expected a number such as 85.38 or nothing, found '85.3B'",
        ),
        ("85.38", "nan", "found 'nan'"),
        ("85.38", "-", "found '-'"),
        ("85.38", " ", "found ' '"),
        ("85.38", "85_3", "found '85_3'"),
        ("Ours,L", "Ours,B", "line 6: labels must tell the rows apart; repeated: Ours, B"),
        ("Ours,B,85.38,7\nOurs,L,,0.5\n", "", "at least one row below the header"),
        ('"forest, dense"', '"forest"x', "a.csv, line 4: not CSV"),
    ],
)
def test_a_malformed_file_is_refused_with_its_name_and_line(old, new, words):
    assert TABLE.count(old) == 1
    with pytest.raises(DatasetError, match=words) as caught:
        parse_table(TABLE.replace(old, new), "a.csv")
    assert str(caught.value).startswith("a.csv")


def test_a_file_without_any_figure_is_refused():
    with pytest.raises(DatasetError, match="at least one column of figures"):
        parse_table("# source: A\n# labels: a, b\na,b\nx,y\n", "a.csv")
    with pytest.raises(DatasetError, match="found 0"):
        parse_table("", "a.csv")


def test_an_unknown_table_is_refused_with_the_nearest_name():
    with pytest.raises(
        DatasetError, match="unknown published table 'fctl_tabel2'; did you mean 'fctl_table2'"
    ):
        read_table("fctl_tabel2")
    with pytest.raises(DatasetError, match="known: bicor_figure3, bicor_table1"):
        read_table("xyz")


@pytest.mark.parametrize("name", table_names())
def test_every_packaged_table_can_be_read_and_says_what_it_is(name):
    table = read_table(name)
    assert name.split("_")[1].removeprefix("table").removeprefix("figure") in table.source
    assert all(tuple(row.labels) == table.labels for row in table.rows)
    assert all(tuple(row.figures) == table.columns for row in table.rows)
    assert all(any(value is not None for value in row.figures.values()) for row in table.rows)


def test_no_two_packaged_tables_have_one_source():
    assert len({read_table(name).source for name in table_names()}) == len(table_names()) == 27


def test_a_table_is_read_anew_with_every_call(monkeypatch, tmp_path):
    file = tmp_path / "tables" / "a.csv"
    file.parent.mkdir()
    monkeypatch.setattr("rskt_seg.metrics.published.files", lambda package: tmp_path)
    for figure in ("85.38", "85.40"):
        file.write_text(TABLE.replace("85.38", figure))
        assert read_table("a").find(size="B").figures["mIoU"] == float(figure)
