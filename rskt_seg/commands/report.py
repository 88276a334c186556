"""Draw a run as one HTML page: curves, scores, confusion matrices, pictures, configuration, versions.

    rskt-seg report output/farm
    rskt-seg report output/farm --output farm.html

The page needs no other file, network or script. It is made from the files in OUTPUT_DIR, of a training that
is going on or has ended, or of an evaluation; the next call replaces it.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from rskt_seg.commands.entry import command_parser, echo, place, run
from rskt_seg.errors import ConfigError
from rskt_seg.wording import counted
from rskt_seg.writing import replace_text

PROGRAM = "rskt-seg report"
_FILE = "report.html"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg report`. Return the exit status."""
    return run(partial(report, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__, allow_abbrev=False)
    parser.add_argument("folder", metavar="OUTPUT_DIR", type=place, help="output folder of the run")
    parser.add_argument(
        "--output", metavar="FILE", type=place, help=f"the page (default: OUTPUT_DIR/{_FILE})"
    )
    return parser.parse_args(argv)


def report(args: argparse.Namespace) -> None:
    """Write the page that the command line asks for.

    Args:
        args: The parsed command line.

    Raises:
        ConfigError: The folder holds no run, or `--output` is a folder.
        DatasetError: A file of the run is damaged.
        DiskFullError: There is no room for the page.
    """
    from rskt_seg.reporting import read_run_folder, report_page  # draws, which --help does without

    found = read_run_folder(args.folder)
    path = args.output or args.folder / _FILE
    if path.is_dir():
        raise ConfigError(f"--output {path} is a folder; name a file, such as {path / _FILE}")
    replace_text(path, report_page(found))
    points = max((len(each) for each in found.curves.values()), default=0)
    echo(f"{path}: curves of {counted(points, 'point')}, {counted(len(found.sets), 'scored set')}")
