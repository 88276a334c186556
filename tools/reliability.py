#!/usr/bin/env python
"""Kill commands, starve them of room, give them damaged and hostile files; judge what is left.

    python tools/reliability.py --minutes 25 --seed 1 --jobs 2
    python tools/reliability.py --minutes 5 --seed 1 --only image,weights
    python tools/reliability.py --repeat image:1000017

Prints a table of the outcomes by kind. Exit status: 0 if none was bad, 1 if one was (its files stay in the
folder `bad` of --output), 130 after an interrupt from the keyboard, with the table so far. CONTRIBUTING.md
says more.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

# One thread a process: forked processes may not use the threads that a library has started before.
os.environ["OMP_NUM_THREADS"] = "1"

from campaign.disturbances import can_mount
from campaign.kinds import KINDS, MUTANTS, Ground
from campaign.lanes import Lanes
from campaign.material import build
from campaign.outcomes import Table, Try
from campaign.undisturbed import Runs

from rskt_seg.commands.entry import command_parser, run
from rskt_seg.errors import ConfigError


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("tools/reliability.py", __doc__)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="time for the tries (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other tries")
    parser.add_argument("--jobs", type=int, default=1, help="tries made at a time (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="KIND,...", help=", ".join(KINDS))
    parser.add_argument("--repeat", metavar="KIND:SEED", help="make one try again, and tell all of it")
    parser.add_argument(
        "--output", type=Path, default=Path("output/reliability"), help="default: %(default)s"
    )
    args = parser.parse_args()
    if args.minutes <= 0 or args.jobs < 1 or args.seed < 0:
        raise ConfigError("--minutes must be above 0, --jobs at least 1, --seed at least 0")
    return args


def kinds(text: str) -> tuple[str, ...]:
    """Return the kinds that --only names."""
    names = tuple(filter(None, text.split(",")))
    if unknown := [name for name in names if name not in KINDS]:
        raise ConfigError(f"--only: no kind is called {', '.join(unknown)}; known are {', '.join(KINDS)}")
    return names


def repeated(text: str) -> Try:
    """Return the try that --repeat names."""
    kind, _, seed = text.rpartition(":")
    if kind not in KINDS or not seed.isdigit():
        raise ConfigError(f"--repeat expects KIND:SEED, such as image:1000017; found {text!r}")
    return Try(kind, int(seed))


def lay_ground(folder: Path) -> Ground:
    """Make what the tries begin with, in the folder of the campaign."""
    shutil.rmtree(folder / "ground", ignore_errors=True)
    material = folder / "ground" / "material"
    material.mkdir(parents=True)
    may_mount = can_mount(folder / "ground" / "disk")
    if not may_mount:
        print("small file systems cannot be mounted here: full disks are limits of file sizes alone")
    print("making scenes, a tiny model and a download ...", flush=True)
    built = build(material)
    return Ground(built, Runs(built, folder / "ground" / "runs"), may_mount)


def main() -> int:
    """Run the campaign. Return the exit status."""
    args = arguments()
    only, again = kinds(args.only), repeated(args.repeat) if args.repeat else None
    folder = args.output.absolute()
    ground = lay_ground(folder)
    lanes = Lanes(ground, folder, args.jobs)
    if again:
        verdict = lanes.make(again)
        print(f"{again}: {verdict.outcome.value}: {verdict.detail}")
        return int(verdict.is_bad)
    table, began = Table(), time.monotonic()
    try:
        lanes.run(args.seed, 60 * args.minutes, only, table)
    finally:
        mutants = sum(table.counts[kind].total() for kind in MUTANTS & table.counts.keys())
        kills = sum(counter.total() for kind, counter in table.counts.items() if kind.startswith("kill"))
        print(f"\n{table.render(KINDS)}")
        print(f"\n{table.tries} tries ({mutants} damaged files, {kills} kills), {table.bad} bad, in "
              f"{(time.monotonic() - began) / 60:.1f} min, seed {args.seed}")  # fmt: skip
        if table.bad:
            print(f"the files of bad tries are in {folder / 'bad'}; --repeat KIND:SEED makes one again")
        shutil.rmtree(folder / "tries", ignore_errors=True)
        shutil.rmtree(folder / "ground", ignore_errors=True)
    return int(table.bad > 0)


if __name__ == "__main__":
    sys.exit(run(main))
