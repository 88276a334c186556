"""Starting the processes of a run, and bringing a user's mistake in one of them back as one error."""

import argparse
import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, default_argument_parser
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from rskt_seg.d2 import compat
from rskt_seg.d2.checkpointer import last_checkpoint
from rskt_seg.d2.config import load_config, names_key
from rskt_seg.d2.config_files import read_config
from rskt_seg.d2.datasets import register_own
from rskt_seg.d2.devices import allow_tf32, check_devices
from rskt_seg.d2.loaders import check_datasets, dead_worker
from rskt_seg.d2.logs import begin_log
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.resuming import check_resumable
from rskt_seg.d2.run_record import record_start
from rskt_seg.d2.specs import class_names
from rskt_seg.d2.steps import amp_dtype
from rskt_seg.d2.wandb_writer import check_wandb
from rskt_seg.d2.weights import check_trained, check_weights
from rskt_seg.errors import ConfigError, ProcessDiedError, RSKTSegError
from rskt_seg.reporting.run_folder import CONFIG
from rskt_seg.stopping import STATUS, Terminated, stop_children, terminating
from rskt_seg.writing import naming_full_disk, replace_text

logger = logging.getLogger(__name__)

_AFTER_DEATH = (
    "a system without memory left kills processes (see its log); every checkpoint of OUTPUT_DIR is complete, "
    "and --resume continues from the last"
)


@dataclass(frozen=True)
class Run:
    """A run as each of its processes receives it.

    Attributes:
        args: The command line, as `rskt_seg.commands.train.parse_args` returns it.
        warnings: What was remarkable before the run; `set_up` logs it once there is a log file.
        folder: `OUTPUT_DIR`, for the message of a full disk.
    """

    args: argparse.Namespace
    warnings: tuple[str, ...] = ()
    folder: str = ""


def default_address() -> str:
    """Return Detectron2's default of `--dist-url`, which depends on the user."""
    address: str = default_argument_parser().get_default("dist_url")
    return address


def set_up(run: Run) -> CfgNode:
    """Return the configuration of this process, after setting up datasets, logging, seeds and the folder."""
    with kept_warnings():  # `run.warnings` has them
        cfg = load_config(run.args.config_file, run.args.opts)
    register_own(cfg.DATASETS.OWN, cfg.OUTPUT_DIR)
    rank = comm.get_rank()
    begin_log(cfg.OUTPUT_DIR, rank)
    logger.debug("Command line: %s", run.args)
    logger.debug("Process %d of %d on\n%s", rank, comm.get_world_size(), collect_env_info())
    keys = yaml.safe_dump(read_config(run.args.config_file), sort_keys=False)
    logger.debug("--config-file %s sets, with its bases:\n%s", run.args.config_file, keys)
    if comm.is_main_process():
        logger.debug("The whole configuration:\n%s", cfg.dump())
        replace_text(Path(cfg.OUTPUT_DIR, CONFIG), cfg.dump())
        record_start(cfg, run.args)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not run.args.eval_only
    for warning in run.warnings if comm.is_main_process() else ():
        logger.warning("%s", warning)
    allow_tf32(cfg.MODEL.DEVICE, method_of(cfg).allows_tf32)
    return cfg


def check_run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Refuse a run that this machine, its datasets or its weight files do not allow, before it starts.

    Warnings are logged about datasets.

    Args:
        cfg: The configuration.
        args: The arguments of the command line, from `rskt_seg.commands.train.parse_args`.

    Raises:
        DeviceError: If this machine lacks the devices or the precision.
        ConfigError: If a key does not fit the number of processes, or the checkpoint that is to be resumed.
        DatasetError: If a dataset of the run is missing or inconsistent.
        CheckpointError: If a weight file is missing or does not fit.
    """
    method = method_of(cfg).method
    if not (args.eval_only or method.is_trained):
        raise ConfigError(
            f"{method.title} has nothing to train; evaluate it: rskt-seg eval --config-file "
            f"{args.config_file}"
        )
    asked = names_key(args.config_file, args.opts, "MODEL.DEVICE")
    check_devices(cfg.MODEL.DEVICE, args.num_gpus, None if args.eval_only else amp_dtype(cfg), asked)
    processes = args.num_gpus * args.num_machines
    scaled = DefaultTrainer.auto_scale_workers(cfg, processes)
    batch = scaled.SOLVER.IMS_PER_BATCH
    if batch < processes and not args.eval_only:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH {batch} leaves some of {processes} processes without an image: use at "
            f"most {batch} processes, or raise it"
        )
    if not args.eval_only:
        check_wandb(cfg)
        method_of(cfg).check_batch(cfg, batch, processes)
    last = last_checkpoint(cfg.OUTPUT_DIR) if args.resume else None
    if last is None:
        (check_trained if args.eval_only else check_weights)(cfg)
    check_datasets(cfg, training=not args.eval_only, resumed=last is not None)
    if not args.eval_only:
        method_of(cfg).check_training_data(cfg, class_names(cfg))
        if last is not None:
            check_resumable(scaled, processes, last)


@contextmanager
def kept_warnings() -> Iterator[list[str]]:
    """Collect the warnings of the package, which `set_up` logs once there is a log file.

    An error ends the run before there is one; then the warnings go to the standard error, before the error.
    What the data have to say of a long look at them goes to the console at once.
    """
    handler = MemoryHandler(sys.maxsize, flushLevel=sys.maxsize)
    messages: list[str] = []
    handler.setLevel(logging.WARNING)
    package, data = logging.getLogger("rskt_seg"), logging.getLogger("rskt_seg.data")
    package.addHandler(handler)
    console = logging.StreamHandler(sys.stdout)
    console.addFilter(lambda record: record.levelno < logging.WARNING)
    data.addHandler(console)
    level = data.level
    data.setLevel(logging.INFO)
    try:
        yield messages
        messages += [record.getMessage() for record in handler.buffer]
    except BaseException:
        handler.setTarget(logging.lastResort)
        handler.flush()
        raise
    finally:
        package.removeHandler(handler)
        data.removeHandler(console)
        data.setLevel(level)


def launch(main: Callable[[Run], object], run: Run, device: str) -> None:
    """Call `main(run)` in `run.args.num_gpus` processes of each of `run.args.num_machines` machines.

    Args:
        main: Called in every process.
        run: What it is called with.
        device: "cpu" runs the processes on the CPU, anything else on GPUs.

    Raises:
        RSKTSegError: The first that a process of this machine raises.
        ProcessDiedError: A process of this machine was killed; the others are gone too.
    """
    args = run.args
    on_cpu = torch.device(device).type == "cpu"
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    spared = multiprocessing.active_children()
    try:
        compat.launch(
            _reporting,
            args.num_gpus,
            args.num_machines,
            args.machine_rank,
            args.dist_url,
            (queue, main, run),
            on_cpu,
        )
    except (ProcessRaisedException, ProcessExitedException) as error:
        if not queue.empty():
            raise queue.get() from None
        if isinstance(error, ProcessRaisedException):
            raise
        how = f"was killed by {error.signal_name}"
        if not error.signal_name:
            how = f"ended with status {error.exit_code}"
        raise ProcessDiedError(
            f"process {error.error_index} of {args.num_gpus} (pid {error.error_pid}) {how}, which "
            f"ended the others too; {_AFTER_DEATH}"
        ) from None
    finally:
        # Of a run that is interrupted or terminated; after any other there are none.
        stop_children(spared)


def _reporting(queue: "SimpleQueue[RSKTSegError]", main: Callable[[Run], object], run: Run) -> None:
    if multiprocessing.parent_process() is None:
        _working(main, run)
        return
    # A spawned process would start its loader workers afresh too, each with all its imports.
    multiprocessing.set_start_method(None, force=True)
    try:
        with terminating():
            _working(main, run)
    except RSKTSegError as error:
        queue.put(error)
        raise
    except Terminated:
        stop_children()
        # The threads of a process group can abort a process that takes the interpreter down in order.
        os._exit(STATUS)


def _working(main: Callable[[Run], object], run: Run) -> None:
    """Call `main(run)`; raise in one line what ends a run from outside: a full disk, a killed worker."""
    try:
        with naming_full_disk(Path(run.folder)), _log_without_tracebacks(), _deaths_told_once():
            main(run)
    except Exception as error:
        death = dead_worker(error)
        if death is None:
            raise
        if "signal: Terminated" in str(death):
            raise Terminated from error  # SIGTERM went to the whole group, and the worker was faster
        raise ProcessDiedError(f"{str(death).strip().rstrip('.')}; {_AFTER_DEATH}") from None


@contextmanager
def _log_without_tracebacks() -> Iterator[None]:
    """Write no traceback for lines that a full disk keeps from the log: the next result says so in one."""
    former = logging.raiseExceptions
    logging.raiseExceptions = False
    try:
        yield
    finally:
        logging.raiseExceptions = former


@contextmanager
def _deaths_told_once() -> Iterator[None]:
    """Write no traceback for a dead worker where Python drops errors, as in destructors.

    The loader finds the death again as soon as it waits for that worker, within seconds.
    """
    former = sys.unraisablehook

    def tell(unraisable: "sys.UnraisableHookArgs") -> None:
        if unraisable.exc_value is None or dead_worker(unraisable.exc_value) is None:
            former(unraisable)

    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = former
