"""The console command `rskt-seg`: choose a subcommand, import its module alone, run it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module

from rskt_seg import __version__
from rskt_seg.commands.entry import run
from rskt_seg.errors import ConfigError

PROGRAM = "rskt-seg"
COMMANDS = {
    "segment": "segment images by class names, or into the classes of a closed-set model",
    "serve": "open a page in which images are segmented in a browser",
    "export": "write a model with its class names as one ONNX or torch.export file",
    "demo": "segment generated scenes with the tiny model of this package, and show the picture",
    "train": "train a configuration",
    "eval": "evaluate the weights of a configuration on its test sets",
    "report": "draw a run as one HTML page: curves, scores, pictures, configuration",
    "score": "score label files that any program has predicted",
    "compare": "compare benchmarks of several models in one table",
    "picture": "draw scenes beside their truth and what several models make of them",
    "analyze": "state what a model costs: parameters, FLOPs, time, memory",
    "prepare": "make a dataset of official downloads or of own data",
    "check": "check every file of datasets before a run",
    "image-labels": "write the image-level labels of a dataset, taken from its masks",
    "weights": "list, fetch, verify and convert weight files",
    "knowledge": "check a description file of the weakly supervised method",
    "doctor": "find what is wrong with an installation, and what cures it",
    "loveda-submission": "predict the test images of LoveDA for its server",
}
"""Subcommand -> what it does. Its function `main` is in the module of its name, with `_` for `-`."""

_DESCRIPTION = "Open-vocabulary segmentation of aerial and satellite images."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand that the first argument names, with the other arguments. Return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        PROGRAM,
        usage="%(prog)s [--help] [--version] COMMAND ...",
        description=_DESCRIPTION,
        epilog="commands:\n" + "\n".join(f"  {name:19} {text}" for name, text in COMMANDS.items())
        + f"\n\n`{PROGRAM} COMMAND --help` lists the flags of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("command", metavar="COMMAND", help="one of the commands below")
    name = parser.parse_args(argv[:1]).command
    return run(partial(_call, name, argv[1:]), PROGRAM)


def _call(name: str, argv: Sequence[str]) -> int:
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(COMMANDS)}"
        raise ConfigError(f"no command is called {name!r}; {hint}")
    command: Callable[[Sequence[str]], int] = import_module(
        f"rskt_seg.commands.{name.replace('-', '_')}"
    ).main
    return command(argv)
