"""Train a configuration, or evaluate its weights with --eval-only.

    rskt-seg train --config-file configs/ovrsis/vitb_dlrsd.yaml --num-gpus 4
    rskt-seg train --config-file configs/ovrsis/vitb_dlrsd.yaml --num-gpus 4 --resume
    rskt-seg train --config-file configs/fctl/inria/4_fused.yaml --stages OUTPUT_DIR output/inria
    rskt-seg eval --config-file configs/ovrsis/vitb_dlrsd.yaml MODEL.WEIGHTS model_final.pth

`--resume` continues from the last checkpoint of OUTPUT_DIR. `--stages` first trains what the configuration
starts from, each stage in a folder of its own within OUTPUT_DIR; the same command continues where it was.
`--num-gpus N` with `MODEL.DEVICE cpu` starts N processes on the CPU; `--num-machines`, `--machine-rank` and
`--dist-url` are Detectron2's. Any key of the configuration can follow as `KEY VALUE`.
"""

import argparse
import gc
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rskt_seg.commands.entry import echo, run
from rskt_seg.commands.run_lock import run_lock
from rskt_seg.commands.waiting import describe_waiting

if TYPE_CHECKING:
    from rskt_seg.d2.launch import Run
    from rskt_seg.d2.stages import Stage

# The imports of rskt_seg.d2 are inside the functions, so that a missing Detectron2 is reported in one line.

PROGRAM = "rskt-seg train"
logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg train`. Return the exit status."""
    return run(partial(start, argv), PROGRAM)


def start(
    argv: Sequence[str] | None = None, program: str = PROGRAM, description: str | None = __doc__
) -> None:
    """Check the run that the command line of `program` describes, then start its processes.

    Args:
        argv: The arguments; None for those of the process.
        program: The name that usage and errors give.
        description: The text above the flags.

    Raises:
        MissingDetectron2Error: If Detectron2 is not installed.
        ConfigError: If the configuration is invalid, or does not fit the number of processes; or another run
            has the output folder.
        DeviceError: If this machine lacks the devices.
        DatasetError: If a dataset of the run is missing or inconsistent.
        CheckpointError: If a weight file is missing or does not fit.
        DiskFullError: If there is no room for what the run writes.
        ProcessDiedError: If a process of the run is killed.
    """
    from rskt_seg.d2.launch import forget_logs, parse_args
    from rskt_seg.d2.stages import plan_stages

    args = parse_args(program, description, argv)
    if not args.stages:
        _start_run(args)
        return
    stages = plan_stages(args.config_file, args.opts)
    for number, stage in enumerate(stages, start=1):
        echo(f"Stage {number} of {len(stages)}: {stage.config}, in {stage.folder}")
        own = {"config_file": stage.config, "opts": list(stage.opts), "resume": True}
        if not _start_run(argparse.Namespace(**{**vars(args), **own}), stage):
            echo("It is complete")
        forget_logs()
        gc.collect()  # a trainer is a cycle, and its model would stay on the device


def _start_run(args: argparse.Namespace, stage: "Stage | None" = None) -> bool:
    """Start the processes of one run; return False if it is a stage that needs none."""
    from rskt_seg.d2.config import load_config
    from rskt_seg.d2.launch import Run, check_run, kept_warnings, launch
    from rskt_seg.d2.stages import is_done

    with ExitStack() as held:
        with kept_warnings() as warnings:
            cfg = load_config(args.config_file, args.opts)
            note = held.enter_context(_folder_of(cfg.OUTPUT_DIR, args))
            check_run(cfg, args)
            if stage is not None and is_done(stage, cfg, args.num_gpus):
                return False
        told = (*filter(None, [note]), *warnings)
        launch(run_process, Run(args, told, cfg.OUTPUT_DIR), cfg.MODEL.DEVICE)
    return True


def _folder_of(folder: str, args: argparse.Namespace) -> AbstractContextManager[str]:
    """Hold the output folder; of several machines the first does it for all."""
    if args.machine_rank:
        return nullcontext("")
    return run_lock(Path(folder), "evaluation" if args.eval_only else "training")


def run_process(run: "Run") -> None:
    """Train or evaluate in one process of a run. Spawned processes import this function by its name."""
    import torch

    from rskt_seg.d2.benchmark import evaluate
    from rskt_seg.d2.launch import set_up
    from rskt_seg.d2.trainer import Trainer

    cfg = set_up(run)
    if cfg.MODEL.DEVICE == "cpu" and (line := describe_waiting(torch.get_num_threads())):
        logger.info("%s", line)
    if run.args.eval_only:
        evaluate(cfg, run.args.resume)
        return
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=run.args.resume)
    trainer.train()
