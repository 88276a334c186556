"""What papers print of a whole benchmark, beside what was measured."""

from collections.abc import Sequence

from rskt_seg.metrics.report import Cell, mean_scores
from rskt_seg.metrics.results import BenchmarkReference, PaperRows, SetResult


def printed_columns(
    results: Sequence[SetResult], comparison: PaperRows
) -> tuple[list[str], list[list[Cell]]]:
    """Return the columns of the row that prints figures of each set; nothing if there is none.

    Args:
        results: Results of the sets.
        comparison: The rows of papers that compare.

    Returns:
        Titles of the columns, and their cells for each set and, last, for the means: "-" where nothing is
        printed, and for the means unless the sets are those of the printed mean.
    """
    row = next((row for row in comparison.rows if row.figures and _stands(row, results)), None)
    if row is None:
        return [], []
    found = [None if result.unpublished else row.columns.get(result.name) for result in results]
    printed: list[list[float | None]] = [
        [figures[column] if column else None for figures in row.figures.values()] for column in found
    ]
    comparable = sorted(column or "" for column in found) == sorted(row.columns.values())
    printed.append([row.means[measure] if comparable else None for measure in row.figures])
    cells: list[list[Cell]] = [["-" if value is None else value for value in values] for values in printed]
    return [f"paper {measure}" for measure in row.figures], cells


def printed_lines(results: Sequence[SetResult], comparison: PaperRows) -> list[str]:
    """Return what papers print beside the results, and why if they print nothing, a line for each fact.

    Args:
        results: Results of the sets.
        comparison: The rows of papers that compare.

    Returns:
        A line for each row that stands beside the results: of a row that prints means alone, the means of
        its sets here and there. And a line for each set that is not the one that papers scored.
    """
    scored = {name for row in comparison.rows for name in row.columns}
    others = [
        f"paper: no figure stands beside {result.name}: {result.unpublished}"
        for result in results
        if result.unpublished and (result.name in scored or result.paper is not None)
    ]
    standing = [row for row in comparison.rows if _stands(row, results)]
    if standing:
        return [*(_line(row, results) for row in standing), *others]
    if comparison.rows and not others:
        row = comparison.rows[0]
        return [f"paper: {row.source} does not compare: it is of {', '.join(row.columns)}"]
    return [*others, *([f"paper: {comparison.why_none}"] if comparison.why_none else [])]


def rows_beside(results: Sequence[SetResult], comparison: PaperRows) -> list[BenchmarkReference]:
    """Return the rows without those of which only sets were evaluated that are not the published ones.

    Args:
        results: Results of the sets.
        comparison: The rows of papers that compare.
    """
    others = {result.name for result in results if result.unpublished}
    return [row for row in comparison.rows if not others & row.columns.keys() or _stands(row, results)]


def _stands(row: BenchmarkReference, results: Sequence[SetResult]) -> bool:
    """Return whether a row prints figures of one of the sets, or a mean over sets that are all among them.

    Sets that are not those that papers scored do not count.
    """
    names = {result.name for result in results if not result.unpublished}
    return bool(names & row.columns.keys()) if row.figures else row.columns.keys() <= names


def _line(row: BenchmarkReference, results: Sequence[SetResult]) -> str:
    if row.figures:
        return f"paper: {row.source}; - where the set is not the registration that the paper scored"
    means = mean_scores({result.name: result.scores for result in results if result.name in row.columns})
    pairs = [
        f"mean {measure} {means[measure]:.2f} (paper: {printed:.2f})"
        for measure, printed in row.means.items()
        if printed is not None
    ]
    over = "" if len(row.columns) == len(results) else f", over {', '.join(row.columns.values())}"
    return f"{', '.join(pairs)}: {row.source}{over}"
