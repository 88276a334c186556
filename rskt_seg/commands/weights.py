"""List, fetch, verify and convert the weight files of the manifest.

    rskt-seg weights list [NAME ...]
    rskt-seg weights fetch NAME ... [--to pretrained]
    rskt-seg weights fetch --all-for configs/ovrsis/vitb_dlrsd.yaml
    rskt-seg weights verify [NAME | FILE ...]
    rskt-seg weights convert SOURCE TARGET.safetensors [--model NAME --options KEY=VALUE ...]
    rskt-seg weights convert all.pth TARGET.safetensors --contexts medium=B10.pth large=B15.pth \\
        --model fctl_vgg16 --options num_classes=2

Exit status: 0 if all is well, 1 if a file could not be fetched or is not what it should be, 2 for a wrong
command line or a file that cannot be converted. docs/weights.md explains the rest.
"""

import argparse
from collections.abc import Sequence
from functools import partial

from rskt_seg.checkpoints.manifest import FOLDER, Weights
from rskt_seg.commands.entry import command_parser, run

PROGRAM = "rskt-seg weights"


def main(argv: Sequence[str] | None = None, rows: Sequence[Weights] | None = None) -> int:
    """Run `rskt-seg weights`.

    Args:
        argv: The arguments; None for those of the process.
        rows: The known weight files; None for the whole manifest.

    Returns:
        The exit status.
    """
    return run(partial(_act, parse_args(argv), rows), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="the manifest, and which of its files are here")
    listing.add_argument("names", nargs="*", help="print all that is known of these")
    fetching = commands.add_parser("fetch", help="download; a file that is here is verified instead")
    fetching.add_argument("names", nargs="*")
    fetching.add_argument("--all-for", metavar="CONFIG", help="whatever this configuration starts from")
    verifying = commands.add_parser("verify", help="compare sha256; by default of every file that is here")
    verifying.add_argument("names", nargs="*", metavar="NAME|FILE")
    for command in (listing, fetching, verifying):
        command.add_argument(
            "--to", default=FOLDER, metavar="FOLDER", help="where the files are; default: %(default)s"
        )
    converting = commands.add_parser("convert", help="to safetensors, without running what a file contains")
    converting.add_argument("source")
    converting.add_argument("target", help="a .safetensors that does not exist yet")
    converting.add_argument("--model", help="of a whole checkpoint that does not state it")
    converting.add_argument(
        "--options", nargs="+", default=[], metavar="KEY=VALUE", help="for example num_layers=5"
    )
    converting.add_argument(
        "--contexts",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="of a published checkpoint that keeps encoders in files of their own: these files",
    )
    return parser.parse_args(argv)


def _act(args: argparse.Namespace, rows: Sequence[Weights] | None) -> int:
    # Both import torch, which --help does without.
    from rskt_seg.commands.weight_files import ACTIONS
    from rskt_seg.methods.weights import manifest

    return ACTIONS[args.command](args, manifest() if rows is None else rows)
