"""Evaluate the weights of a configuration on its test sets: `rskt-seg train --eval-only` in short.

    rskt-seg eval --config-file configs/ovrsis/bench_vitb_dlrsd.yaml MODEL.WEIGHTS model_final.pth
    rskt-seg eval --model bicor_tiny --data farm/farm.yaml MODEL.WEIGHTS output/farm/model_final.pth

`--resume` takes the last checkpoint of OUTPUT_DIR. Any key of the configuration can follow as `KEY VALUE`.
"""

import sys
from collections.abc import Sequence
from functools import partial

from rskt_seg.commands.entry import run
from rskt_seg.commands.train import start

PROGRAM = "rskt-seg eval"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg eval`. Return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    return run(partial(start, ["--eval-only", *argv], PROGRAM, __doc__), PROGRAM)
