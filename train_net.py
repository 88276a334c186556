#!/usr/bin/env python
"""Train a configuration, or evaluate its weights with --eval-only.

    python train_net.py --config-file configs/ovrsis/vitb_dlrsd.yaml --num-gpus 4
    python train_net.py --config-file configs/ovrsis/vitb_dlrsd.yaml --eval-only MODEL.WEIGHTS model_final.pth

`--resume` goes on from the last checkpoint of OUTPUT_DIR; `--num-gpus N` with `MODEL.DEVICE cpu` starts N
processes on the CPU; `--num-machines`, `--machine-rank` and `--dist-url` are Detectron2's. Any key of the
configuration can follow as `KEY VALUE`.
"""

import argparse
import sys

from rskt_seg.commands.entry import run

# The imports of rskt_seg.d2 stand inside the functions, so that a missing Detectron2 is one line.


def main(args: argparse.Namespace) -> dict | None:
    """What each process does. Returns the results of the evaluation."""
    from rskt_seg.d2.benchmark import evaluate
    from rskt_seg.d2.launch import set_up
    from rskt_seg.d2.trainer import Trainer

    cfg = set_up(args)
    if args.eval_only:
        return evaluate(cfg, args.resume)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    return trainer.train()


def command_line() -> None:
    """Read the command line and start the processes."""
    from rskt_seg.d2.config import load_config
    from rskt_seg.d2.launch import check_run, launch, parse_args

    args = parse_args()
    cfg = load_config(args.config_file, args.opts)
    check_run(cfg, args)
    launch(main, args, cfg.MODEL.DEVICE)


if __name__ == "__main__":
    sys.exit(run(command_line))
