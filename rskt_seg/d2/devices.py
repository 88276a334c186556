"""The devices of this machine that a run asks for, and their memory."""

import resource
import sys

import torch

from rskt_seg.devices import default_device
from rskt_seg.errors import ConfigError, DeviceError


def check_devices(
    device: str, processes: int = 1, amp: torch.dtype | None = None, asked: bool = True
) -> None:
    """Check that this machine has the devices of a run, before anything is built.

    Args:
        device: `MODEL.DEVICE`.
        processes: `--num-gpus`; on the CPU the number of processes.
        amp: The dtype of mixed precision, None without it.
        asked: Whether the user named the device. Several processes on a CPU that was merely the default
            suggest a machine whose GPUs are not visible.

    Raises:
        ConfigError: The device or the number of processes is malformed.
        DeviceError: The machine lacks the device, enough of it, or mixed precision.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"MODEL.DEVICE must name a device, such as cpu; found {device!r}") from None
    if processes < 1:
        raise ConfigError(f"--num-gpus must be at least 1; found {processes}")
    found = torch.accelerator.device_count() if default_device() == wanted.type else 0
    if wanted.type != "cpu" and not found:
        raise DeviceError(f"MODEL.DEVICE {device}: this machine has no such device; use MODEL.DEVICE cpu")
    if wanted.type != "cpu" and max(processes, (wanted.index or 0) + 1) > found:
        raise DeviceError(
            f"--num-gpus {processes} with MODEL.DEVICE {device}: this machine has {found}; use fewer"
        )
    if wanted.type == "cpu" and processes > 1 and not asked:
        raise DeviceError(
            f"--num-gpus {processes}: no GPU is visible on this machine; "
            f"give MODEL.DEVICE cpu to start {processes} processes on the CPU"
        )
    if processes > 1 and wanted.index is not None:
        raise ConfigError(
            f"--num-gpus {processes} with MODEL.DEVICE {device}: leave the number of the device out"
        )
    if wanted.type == "cpu" and amp == torch.float16:
        raise DeviceError(
            f"SOLVER.AMP.DTYPE float16 needs a CUDA GPU; MODEL.DEVICE is {device}: use bfloat16 there"
        )
    if wanted.type != "cpu" and amp and not torch.cuda.is_available():
        raise DeviceError(f"SOLVER.AMP.ENABLED True needs a CUDA GPU or the CPU; MODEL.DEVICE is {device}")


def allow_tf32(device: str, allowed: bool) -> None:
    """Let products of matrices be rounded to TF32 as published: on GPUs that have it, not on a CPU.

    Args:
        device: `MODEL.DEVICE`. On a CPU the same setting may round to bfloat16.
        allowed: Whether the method allows it (`DetectronMethod.allows_tf32`).
    """
    if allowed and torch.device(device).type != "cpu":
        torch.set_float32_matmul_precision("high")


def peak_memory(device: torch.device) -> int:
    """Return the peak memory of this process so far, in bytes: on the device, or on the CPU in all."""
    if device.type != "cpu":
        return int(torch.get_device_module(device).max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
