"""Worker processes of loaders: how many there are, and how they share the machine with what they load for."""

import ctypes
import logging
import os
import sys
from contextlib import suppress
from typing import Any

import cv2
import torch
from detectron2.config import CfgNode
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from rskt_seg.d2.typing import DatasetDict

logger = logging.getLogger(__name__)
_NOT_PINNED = {"cpu", "mps"}
"""Devices to which nothing is copied from memory that is pinned."""
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""Numbers of glibc's options of `malloc` (malloc.h)."""
_LARGEST_KEPT, _MOST_KEPT = 2**25, 2**28


def build_loader(
    cfg: CfgNode, dataset: Dataset[DatasetDict], batches: Sampler[Any]
) -> DataLoader[DatasetDict]:
    """Return a loader whose batches are lists of dicts, made by `DATALOADER.NUM_WORKERS` processes.

    No more processes start than this one's share of the cores. Batches for a GPU lie in pinned memory, so
    that they can be copied there while it computes.

    Args:
        cfg: The configuration.
        dataset: Called with what `batches` yields lists of.
        batches: What is in which batch.

    Returns:
        The loader. It draws no number of PyTorch's global generator.
    """
    asked, cores = cfg.DATALOADER.NUM_WORKERS, usable_cores() // comm.get_local_size()
    workers = min(asked, max(1, cores))
    if workers < asked:
        logger.info("%d worker processes load data, one a core; DATALOADER.NUM_WORKERS is %d", workers, asked)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=trivial_batch_collator,
        worker_init_fn=start_worker,
        pin_memory=torch.device(cfg.MODEL.DEVICE).type not in _NOT_PINNED,
        # Of its own: PyTorch would draw a number from that of the step that takes the first batch.
        generator=torch.Generator(),
    )


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def start_worker(number: int) -> None:
    """Prepare a process that does nothing but load data.

    Args:
        number: Ignored: its number, as PyTorch passes it.
    """
    # One thread a process, as PyTorch has it by now; the threads of a forked pool do not exist here anyway.
    cv2.setNumThreads(0)
    # glibc would give the memory of large images back to the system, which clears it for the next: a tenth
    # to a third of the time of samples of 1024 px.
    if sys.platform == "linux":
        with suppress(AttributeError):  # musl has no such function
            libc = ctypes.CDLL(None)
            libc.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
            libc.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)
