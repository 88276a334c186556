"""Which device a run may use, and how much of its memory it took. The only place of the package that asks."""

import resource
import sys

import torch

from rskt_seg.errors import ConfigError, DeviceError


def default_device() -> str:
    """The kind of this machine's accelerator, or "cpu" where there is none."""
    if not torch.accelerator.is_available():
        return "cpu"
    return torch.accelerator.current_accelerator().type


def check_devices(device: str, processes: int = 1, amp: bool = False, asked: bool = True) -> None:
    """Refuse what this machine cannot do, before anything is built.

    Args:
        device: `MODEL.DEVICE`.
        processes: `--num-gpus`; on the CPU that many processes start.
        amp: `SOLVER.AMP.ENABLED`.
        asked: whether the user named the device. Several processes on a CPU that was merely the
            default are more likely a machine whose GPUs are not seen.

    Raises `ConfigError` for what is no device or no number of processes, `DeviceError` otherwise.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"MODEL.DEVICE {device!r} is no device; use for example cpu") from None
    if processes < 1:
        raise ConfigError(f"--num-gpus must be at least 1; found {processes}")
    found = torch.accelerator.device_count() if default_device() == wanted.type else 0
    if wanted.type != "cpu" and not found:
        raise DeviceError(f"MODEL.DEVICE {device}: this machine has no such device; use MODEL.DEVICE cpu")
    if wanted.type != "cpu" and max(processes, (wanted.index or 0) + 1) > found:
        raise DeviceError(f"--num-gpus {processes} with MODEL.DEVICE {device}: this machine has {found}")
    if wanted.type == "cpu" and processes > 1 and not asked:
        raise DeviceError(
            f"--num-gpus {processes}: no GPU is seen on this machine; "
            f"give MODEL.DEVICE cpu to start {processes} processes on the CPU"
        )
    if processes > 1 and wanted.index is not None:
        raise ConfigError(
            f"--num-gpus {processes} with MODEL.DEVICE {device}: leave the number of the device out"
        )
    if amp and (wanted.type == "cpu" or not torch.cuda.is_available()):
        raise DeviceError(f"SOLVER.AMP.ENABLED True needs a CUDA GPU; MODEL.DEVICE is {device}")


def peak_memory(device: torch.device) -> int:
    """Bytes at the fullest moment of this process so far: of the device, or on the CPU of the process."""
    if device.type != "cpu":
        return torch.get_device_module(device).max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
