"""Find what is wrong with an installation, and name the command that cures it.

    rskt-seg doctor
    rskt-seg doctor --config-file configs/ovrsis/vitb_dlrsd.yaml
    rskt-seg doctor --json

Every line is one finding: `ok`, `note` (something is absent, and what does not need it works) or `problem`.
Libraries are imported in a process of their own, so that broken ones are found too; nothing is changed and
nothing is downloaded. Exit status: 0 without a problem, 1 with one, 2 for a wrong command line.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial

from rskt_seg import __version__
from rskt_seg.commands.entry import command_parser, echo, run
from rskt_seg.errors import ConfigError

PROGRAM = "rskt-seg doctor"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg doctor`. Return the exit status."""
    return run(partial(examine, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    parser.add_argument(
        "--config-file", default="", metavar="FILE",
        help="also look for the weights and datasets of this configuration",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return parser.parse_args(argv)


def examine(args: argparse.Namespace) -> int:
    """Look at this machine and print what was found.

    Args:
        args: The parsed command line.

    Returns:
        0 without a problem, else 1.

    Raises:
        ConfigError: The configuration cannot be used.
    """
    from rskt_seg.commands.doctor_probes import CONFIGURATION, observe
    from rskt_seg.diagnosis import PROBLEM, diagnose, versions
    from rskt_seg.diagnosis.places import summary

    seen = observe(args.config_file)
    if CONFIGURATION in seen.outcomes:
        kind, _, message = seen.outcomes[CONFIGURATION].error.partition(": ")
        if kind == ConfigError.__name__:
            raise ConfigError(message)
    found = diagnose(seen)
    if args.json:
        tree = {
            "rskt_seg": __version__,
            "python": seen.python,
            "versions": versions(seen),
            "findings": [finding._asdict() for finding in found],
        }
        echo(json.dumps(tree, indent=1))
    else:
        for level, subject, text, cure in found:
            echo(f"{level:8} {subject}: {text}{f' -> {cure}' if cure else ''}")
        listed = ", ".join(f"{name} {version}" for name, version in versions(seen).items())
        echo(f"\nversions: {listed}\n{summary(found)}")
    return int(any(finding.level == PROBLEM for finding in found))
