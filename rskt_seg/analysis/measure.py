"""Time and memory of an image on this machine, measured in the calling process."""

import ctypes
import gc
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from rskt_seg.analysis.cost import calls_of
from rskt_seg.analysis.flops import count_flops, counting, trace_flops
from rskt_seg.inference.predict import evaluating
from rskt_seg.inference.strategies import Strategy

_PROC = Path("/proc/self")


@dataclass(frozen=True)
class Measurement:
    """What was measured with images of one size.

    Attributes:
        seconds: Wall time of each run after the warm-up, from pixels to scores on the CPU, in order.
        memory_before: Bytes in use before the first image, the model among them; None if unknown.
        memory_peak: Most bytes in use at any time of the first image; None if unknown.
        fvcore_agrees: Whether fvcore counts the same FLOPs; None if it cannot trace the calls.
        threads: Threads that an operation may use on the CPU.
        device: Kind and name of the device.
    """

    seconds: tuple[float, ...]
    memory_before: int | None
    memory_peak: int | None
    fvcore_agrees: bool | None
    threads: int
    device: str

    @property
    def median(self) -> float:
        """Median of `seconds`."""
        return median(self.seconds)


def measure_image(strategy: Strategy, size: tuple[int, int], runs: int, warmup: int) -> Measurement:
    """Measure images of random pixels. Memory is that of the process, which should be fresh.

    Args:
        strategy: How a model on its device sees an image.
        size: (H, W) of the images.
        runs: Number of timed runs, at least 1.
        warmup: Number of runs before them, at least 1; the memory is that of the first.

    Returns:
        What was measured.
    """
    device: torch.device = strategy.model.device
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    with evaluating(strategy.model):
        before = start_memory(device)
        strategy.score_map(pixels)
        peak = peak_memory(device)
        for _ in range(warmup - 1):
            strategy.score_map(pixels)
        seconds = [_seconds(strategy, pixels) for _ in range(runs)]
    agrees = _fvcore_agrees(strategy, size)
    return Measurement(
        tuple(seconds),
        before,
        peak,
        agrees,
        torch.get_num_threads(),
        f"{device.type} ({device_name(device)})",
    )


def device_name(device: torch.device) -> str:
    """Return the name of a device.

    Args:
        device: The device.

    Returns:
        The name of the GPU, or of the processor.
    """
    if device.type != "cpu":
        return str(torch.get_device_module(device).get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _seconds(strategy: Strategy, pixels: np.ndarray) -> float:
    """Time one image; its scores are on the CPU, so that nothing is pending on another device."""
    start = time.perf_counter()
    strategy.score_map(pixels)
    return time.perf_counter() - start


def _fvcore_agrees(strategy: Strategy, size: tuple[int, int]) -> bool | None:
    """Compare fvcore's count with PyTorch's, call by call; None where a call is not stated or not traced."""
    with counting(strategy.model):
        calls, stated = calls_of(strategy, size)
        if not stated:
            return None
        for call in calls:
            call.run()  # what is kept after the first time, such as an encoded vocabulary
            traced = trace_flops(strategy.model, call.run)
            if traced is None:
                return None
            if traced != count_flops(call.run):
                return False
    return True


def start_memory(device: torch.device) -> int | None:
    """Begin to watch the memory of a device, or of this process.

    Args:
        device: The device; "cpu" stands for the resident memory of this process.

    Returns:
        Bytes in use; None if unknown.
    """
    gc.collect()
    if device.type != "cpu":
        module = torch.get_device_module(device)
        module.reset_peak_memory_stats(device)
        return int(module.memory_allocated(device))
    try:
        # What building the model has freed goes back to the system, so that it is not counted.
        ctypes.CDLL(None).malloc_trim(0)
        (_PROC / "clear_refs").write_text("5")
    except (AttributeError, OSError):  # another C library, another system
        return None
    return _status("VmRSS")


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes that were in use since `start_memory`.

    Args:
        device: As for `start_memory`.

    Returns:
        Bytes; None if unknown.
    """
    if device.type != "cpu":
        return int(torch.get_device_module(device).max_memory_allocated(device))
    return _status("VmHWM")


def _status(key: str) -> int | None:
    try:
        lines = (_PROC / "status").read_text("utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return 1024 * int(found[0]) if found else None
