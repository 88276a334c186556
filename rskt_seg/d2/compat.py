"""Differences between the Detectron2 releases that the project runs on, and nothing else.

Two are supported: the Python sources of v0.5, which a package index carries, and the official main
branch. Each shim is applied only if what it replaces is missing.
"""

import gc
import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from rskt_seg.errors import ConfigError, RSKTSegError

_REMOVED_NAMES: tuple[tuple[ModuleType, dict[str, object]], ...] = (
    (np, {"bool": bool, "int": int, "float": float, "object": object}),
    (PIL.Image, {"LINEAR": PIL.Image.Resampling.BILINEAR}),
)
"""Names that v0.5 uses and later releases of the libraries lack."""


class MissingDetectron2Error(RSKTSegError, ImportError):
    """Detectron2 is not installed; the message names both ways to install it."""


def prepare() -> None:
    """Make `import detectron2.*` work with today's NumPy and Pillow, and without compiled operators.

    It must be called before the first import of a Detectron2 module, and may be repeated.

    Raises:
        MissingDetectron2Error: Detectron2 is not installed.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise MissingDetectron2Error(
            "Detectron2 is not installed: run `pip install --no-deps --no-build-isolation --require-hashes "
            "-r requirements-detectron2.txt` (the Python sources of v0.5), or build the official main branch "
            "from facebookresearch/detectron2 as its INSTALL.md says"
        )
    import detectron2  # the package alone; its modules need what follows

    if detectron2.__version__ == "0.5":
        for module, names in _REMOVED_NAMES:
            for name, value in names.items():
                if name not in vars(module):
                    setattr(module, name, value)
    if importlib.util.find_spec("detectron2._C") is None:
        sys.modules["detectron2._C"] = _UncompiledOperators("detectron2._C")


class _UncompiledOperators(ModuleType):
    """Replacement of the compiled extension of Detectron2, which this project never calls."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "Detectron2 was installed without its compiled operators.")
        # A module without a spec makes importlib.util.find_spec raise on the second look.
        self.__spec__ = importlib.util.spec_from_loader(name, loader=None)
        self.get_compiler_version = self.get_cuda_version = lambda: "not compiled"
        self.has_cuda = lambda: False

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RSKTSegError(
            f"detectron2._C.{name} is a compiled operator, and this Detectron2 was installed without them; "
            "build the official main branch to use it"
        )


def launch(
    main: Callable[..., None],
    processes: int,
    machines: int,
    machine_rank: int,
    dist_url: str,
    args: tuple[Any, ...],
    on_cpu: bool,
) -> None:
    """Call `main(*args)` in several processes.

    A single process is this one. GPU processes are started by Detectron2 itself; processes on the CPU
    communicate by gloo, which v0.5 cannot start and main starts only on machines without a GPU.

    Args:
        main: Called in every process.
        processes: Number of processes of each machine.
        machines: Number of machines.
        machine_rank: Number of this machine, from 0.
        dist_url: Address of process 0, such as tcp://HOST:PORT; "auto" takes a free port of this machine.
        args: Arguments of `main`.
        on_cpu: Whether the processes compute on the CPU.

    Raises:
        ConfigError: `dist_url` is "auto" with several machines.
    """
    if processes * machines == 1:
        main(*args)
        return
    if dist_url == "auto" and machines > 1:
        raise ConfigError("--dist-url auto works on one machine; give tcp://HOST:PORT of machine 0")
    if not on_cpu:
        from detectron2.engine import launch as launch_on_gpus

        launch_on_gpus(main, processes, machines, machine_rank, dist_url, args)
        return
    url = _free_url() if dist_url == "auto" else dist_url
    work = (main, processes, machines, machine_rank, url, args)
    _join(start_processes(_cpu_process, args=work, nprocs=processes, join=False, start_method="spawn"))


def _join(context: ProcessContext) -> None:
    """Wait for processes; if one loses its connection to a killed one, report that which was killed."""
    try:
        while not context.join():
            pass
    except ProcessRaisedException:
        for index, process in enumerate(context.processes):
            # PyTorch ends the others by SIGTERM.
            if process.exitcode < 0 and process.exitcode != -signal.SIGTERM:
                name = signal.Signals(-process.exitcode).name
                raise ProcessExitedException(name, index, process.pid, process.exitcode, name) from None
        raise


def _free_url() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def _cpu_process(
    local_rank: int,
    main: Callable[..., None],
    processes: int,
    machines: int,
    machine: int,
    url: str,
    args: tuple[Any, ...],
) -> None:
    from detectron2.utils import comm

    # Every process would otherwise start a thread on each core, and they would all wait for each other.
    share = max(1, (os.cpu_count() or 1) // processes)
    torch.set_num_threads(min(share, torch.get_num_threads()))
    rank = machine * processes + local_rank
    dist.init_process_group("gloo", init_method=url, world_size=machines * processes, rank=rank)
    # Tell Detectron2 which processes share this machine; v0.5 has no function for it.
    if "create_local_process_group" in vars(comm):
        comm.create_local_process_group(processes)
    else:
        groups = [dist.new_group(range(m * processes, (m + 1) * processes)) for m in range(machines)]
        comm._LOCAL_PROCESS_GROUP = groups[machine]
    main(*args)
    # Detectron2 keeps references to the groups, and as long as there are any, `destroy_process_group` leaves
    # their gloo threads running; a thread that frees a tensor while the interpreter shuts down aborts the
    # process.
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    gc.collect()  # a trainer is a cycle, and holds a model that holds the group
    dist.destroy_process_group()


def create_ddp_model(model: nn.Module) -> nn.Module:
    """Wrap a model by DistributedDataParallel if there is more than one process.

    Unused parameters are searched for, because the query matrix of CLIP's last dense block is trainable but
    never used. A model on the CPU must not get device ids, which the function of Detectron2's main branch
    always passes.
    """
    from detectron2.utils import comm

    if comm.get_world_size() == 1:
        return model
    on_cpu = next(model.parameters()).device.type == "cpu"
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=None if on_cpu else [comm.get_local_rank()],
        broadcast_buffers=False,
        find_unused_parameters=True,
    )
