"""Compare finished benchmarks, of models and of predictions, in one table.

    rskt-seg compare output/first output/second
    rskt-seg compare "first=output/first" "other=output/other" --baseline other --output output/comparison
    rskt-seg compare output/first output/second --costs output/cost/analyze.json
    rskt-seg compare output/first --paper rskt_table1 --paper-rows "DLRSD, ViT-B"

A RUN is the folder of `rskt-seg eval` or `rskt-seg score --output`, or a report in it such as
benchmark_TTA.json; TITLE=RUN gives it a name. Sets that were scored on other images, labels, classes or by
another protocol are left out and named; means cover the sets that all rows have. Differences of mIoU to the
baseline come with bootstrap intervals over the images. Costs are those that `rskt-seg analyze --output`
stated of the same model.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rskt_seg.commands.entry import command_parser, echo, log_to_stderr, place, positive, run
from rskt_seg.commands.score import check_new
from rskt_seg.errors import ConfigError
from rskt_seg.metrics.bootstrap import RESAMPLES, SEED
from rskt_seg.metrics.comparison import PaperRow, compare_runs
from rskt_seg.metrics.comparison_report import COMPARISON_ENDINGS, comparison_files
from rskt_seg.metrics.costs import with_costs
from rskt_seg.metrics.published import ComparableRow, ComparableTable, read_table
from rskt_seg.metrics.stored import read_run
from rskt_seg.writing import replace_text

PROGRAM = "rskt-seg compare"
_STEM = "comparison"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg compare`. Return the exit status."""
    return run(partial(compare, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="folder of a benchmark, or TITLE=FOLDER")
    add(
        "--baseline",
        default="",
        metavar="TITLE",
        help="run that differences refer to (default: the first)",
    )
    add(
        "--protocol", action="store_true",
        help="mIoU by the published protocol of each set, and only of sets that have one",
    )  # fmt: skip
    add("--paper", metavar="TABLE", help="also rows of a table of a paper; an unknown name lists all")
    add(
        "--paper-rows", action="append", default=[], metavar="LABELS",
        help='with --paper: only rows with these labels, such as "DLRSD, ViT-B"; may be repeated',
    )  # fmt: skip
    add(
        "--costs", action="append", default=[], metavar="FILE",
        help="analyze.json of `rskt-seg analyze`, of every run with its model, or TITLE=FILE of one run; may "
        "be repeated (default: the one beside the report of a run)",
    )  # fmt: skip
    add("--resamples", type=positive, default=RESAMPLES, help="of the bootstrap (default %(default)s)")
    add("--seed", type=_from_0, default=SEED, help="of the bootstrap (default %(default)s)")
    add("--output", metavar="DIR", type=place, help=f"folder of {_STEM}{', '.join(COMPARISON_ENDINGS)}")
    return parser.parse_args(argv)


def compare(args: argparse.Namespace) -> None:
    """Compare what the command line names, print the table, and write it if asked to.

    Args:
        args: The parsed command line.

    Raises:
        ConfigError: A flag or a title is wrong, or a file would be overwritten.
        DatasetError: A run cannot be read, or nothing compares.
    """
    log_to_stderr()
    if args.output:
        check_new(args.output, [f"{_STEM}{ending}" for ending in COMPARISON_ENDINGS])
    if args.protocol and args.paper:
        raise ConfigError("--paper has the common mIoU, and so no place beside --protocol; leave one out")
    runs = [read_run(path, title, args.protocol) for title, path in map(titled_path, args.runs)]
    runs = with_costs(runs, [titled_path(text) for text in args.costs])
    papers = _paper_rows(args.paper, args.paper_rows)
    contents = comparison_files(compare_runs(runs, papers, args.baseline, args.resamples, args.seed))
    echo(contents[".txt"])
    if args.output:
        for ending, content in contents.items():
            replace_text(args.output / f"{_STEM}{ending}", content)


def titled_path(text: str) -> tuple[str, Path]:
    """Split TITLE=PATH; a path that exists as it stands has no title, whatever it contains.

    Returns:
        The title, "" if none is given, and the path.
    """
    title, equals, path = text.partition("=")
    if not equals or not path or Path(text).exists():
        return "", Path(text)
    return title.strip(), Path(path)


def _tables() -> dict[str, ComparableTable]:
    """Return the tables of all methods by name, sorted."""
    from rskt_seg.methods.registry import registered_methods  # imports torch, which --help does without

    found = {table.name: table for method in registered_methods() for table in method.tables}
    return dict(sorted(found.items()))


def _paper_rows(name: str | None, choices: Sequence[str]) -> list[PaperRow]:
    if name is None:
        if choices:
            raise ConfigError(f"--paper-rows chooses rows of --paper TABLE: {', '.join(_tables())}")
        return []
    found = _tables()
    if name not in found:
        known = ", ".join(found)
        raise ConfigError(f"--paper: no table of methods by test sets is called {name!r}; known: {known}")
    table = found[name]
    source = read_table(name).source
    rows: dict[str, ComparableRow] = {}
    for choice in choices or [""]:
        rows |= table.rows([word for word in choice.split(",") if word.strip()])
    return [PaperRow(title, source, row.miou, row.in_domain) for title, row in rows.items()]


def _from_0(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0; found {text}")
    return int(text)
