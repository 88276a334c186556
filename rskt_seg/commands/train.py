"""Train a configuration, or evaluate its weights with --eval-only.

    rskt-seg train --config-file configs/ovrsis/vitb_dlrsd.yaml --num-gpus 4
    rskt-seg train --config-file configs/ovrsis/vitb_dlrsd.yaml --num-gpus 4 --resume
    rskt-seg train --config-file configs/fctl/inria/4_fused.yaml --stages OUTPUT_DIR output/inria
    rskt-seg train --model bicor_convnextb --data farm/farm.yaml --output output/farm SOLVER.MAX_ITER 2000
    rskt-seg eval --config-file configs/ovrsis/vitb_dlrsd.yaml MODEL.WEIGHTS model_final.pth

`--model` is a short name of a configuration within configs/. `--data` trains on the part "train" of a dataset
of your own, and scores its other parts. `--resume` continues from the last checkpoint of OUTPUT_DIR.
`--stages` first trains what the configuration starts from, each stage in a folder of its own within
OUTPUT_DIR; the same command continues where it was.
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

from rskt_seg.commands.entry import command_parser, echo, run
from rskt_seg.commands.run_lock import run_lock
from rskt_seg.commands.waiting import describe_waiting
from rskt_seg.errors import ConfigError

if TYPE_CHECKING:
    from rskt_seg.d2.launch import Run
    from rskt_seg.d2.stages import Stage

# The imports of rskt_seg.d2 are inside the functions, so that a missing Detectron2 is reported in one line,
# and --help waits for neither it nor torch.

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
    args = parse_args(program, description, argv)
    if not args.stages:
        _start_run(args)
        return
    from rskt_seg.d2.logs import forget_logs
    from rskt_seg.d2.stages import plan_stages

    stages = plan_stages(args.config_file, args.opts)
    for number, stage in enumerate(stages, start=1):
        echo(f"Stage {number} of {len(stages)}: {stage.config}, in {stage.folder}")
        own = {"config_file": stage.config, "opts": list(stage.opts), "resume": True}
        if not _start_run(argparse.Namespace(**{**vars(args), **own}), stage):
            echo("It is complete")
        forget_logs()
        gc.collect()  # a trainer is a cycle, and its model would stay on the device


def parse_args(
    program: str, description: str | None, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse Detectron2's usual command line, and write out what its short forms stand for.

    Args:
        program: Name of the command, for its usage and errors.
        description: What its help says.
        argv: The arguments; None takes those of the process.

    Returns:
        The arguments; `config_file` is the resolved path, with the row where there is one, and `opts` has the
        overrides of `--data`, `--output` and `--any-words` too.

    Raises:
        ConfigError: No such configuration exists, or flags contradict each other.
        DatasetError: The file of `--data` cannot be used.
        MissingDetectron2Error: If Detectron2 is not installed.
    """
    parser = command_parser(program, description)
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config-file", metavar="FILE", help="YAML file, or a name within configs/")
    which.add_argument("--model", metavar="NAME", help="short name within configs/, such as tiny_dlrsd")
    add(
        "--data", metavar="FILE", help="YAML file of your own dataset or its sources, in place of those there"
    )
    add("--output", metavar="DIR", help="OUTPUT_DIR, the folder of the results")
    add("--any-words", action="store_true", help="smoke run: tiny text encoders read unknown words as noise")
    add("--resume", action="store_true", help="continue from the last checkpoint of OUTPUT_DIR")
    add("--stages", action="store_true", help="train the stages that the configuration starts from first")
    add("--eval-only", action="store_true", help="evaluate, as `rskt-seg eval` does")
    add("--num-gpus", type=int, default=1, metavar="N", help="processes on this machine (1)")
    add("--num-machines", type=int, default=1, metavar="N", help="machines of the run (1)")
    add("--machine-rank", type=int, default=0, metavar="I", help="number of this machine, from 0")
    add("--dist-url", metavar="URL", help="where the processes meet, or auto")
    add(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="keys of the configuration, after all flags",
    )
    args = parser.parse_args(argv)
    if args.stages and (args.eval_only or args.num_machines > 1):
        other = "--eval-only, which evaluates one" if args.eval_only else "several machines"
        raise ConfigError(f"--stages trains several configurations; it does not go with {other}")
    from rskt_seg.d2.config_files import resolve_config
    from rskt_seg.d2.launch import default_address
    from rskt_seg.d2.shorthand import choose_config

    args.config_file = str(resolve_config(choose_config(args.model) if args.model else args.config_file))
    args.opts = _complete_overrides(args)
    args.dist_url = args.dist_url or default_address()
    return args


def _complete_overrides(args: argparse.Namespace) -> list[str]:
    """Return the overrides with those that `--data`, `--output` and `--any-words` stand for."""
    from rskt_seg.d2.config import override_pairs
    from rskt_seg.d2.shorthand import own_data

    given, added = override_pairs(args.opts), []
    if args.output is not None:
        if "OUTPUT_DIR" in given:
            both = f"--output {args.output} and OUTPUT_DIR {given['OUTPUT_DIR']}"
            raise ConfigError(f"{both}: give one of them")
        added += ["OUTPUT_DIR", args.output]
    if args.any_words:
        added += ["MODEL.UNKNOWN_WORDS", "noise"]
    if args.data is not None:
        data = own_data(args.data, args.opts, args.eval_only)
        echo(f"--data {args.data}: {' '.join(data)}")
        added += data
    return [*added, *args.opts]


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
