"""Check a description file of the weakly supervised method.

    rskt-seg knowledge check isaid
    rskt-seg knowledge check my_classes.json --classes Potsdam
    rskt-seg knowledge check isaid --clip pretrained/ViT-B-16.pt
    rskt-seg knowledge check tiny --clip tiny

Without `--clip` only the text is checked: length in CLIP's tokens, opening, repetitions, number of words,
names of other classes. With it the sentences are embedded too, and the table shows how similar those of a
class are, how many are nearest to the mean of their own class, and over how many clusters a class spreads.
The limits are starting values: they have not been tuned with trained weights.

Exit status: 0 without an error (there may be warnings), 1 if the method cannot use the file, 2 for a wrong
command line.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from rskt_seg.commands.entry import command_parser, run

PROGRAM = "rskt-seg knowledge"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg knowledge`. Return the exit status."""
    return run(partial(_check, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="check the sentences of a file")
    checking.add_argument("source", metavar="FILE|NAME", help="a file, or a packaged one: isaid, ...")
    checking.add_argument(
        "--clip",
        metavar="SOURCE",
        help="embed the sentences: weights of CLIP ViT-B/16 (a file or an open_clip name), or tiny",
    )
    checking.add_argument(
        "--classes", metavar="DATASET", help="compare with the classes of this dataset or split"
    )
    return parser.parse_args(argv)


def _check(args: argparse.Namespace) -> int:
    from rskt_seg.commands.knowledge_file import check  # imports torch, which --help does without

    return check(args)
