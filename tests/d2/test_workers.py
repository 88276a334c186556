"""Worker processes and what they hand over: numbers of processes, pinned memory, copies to the device."""

import cv2
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from rskt_seg.d2 import workers
from rskt_seg.d2.heads import Head
from rskt_seg.d2.workers import build_loader
from tests.d2.conftest import tiny_config


class Threads(Dataset):
    """Samples that state how many threads PyTorch and OpenCV use where they are made."""

    def __getitem__(self, index: int) -> dict[str, int]:
        return {"torch": torch.get_num_threads(), "cv2": cv2.getNumThreads()}


def loader_of(asked: int, device: str = "cpu"):
    cfg = tiny_config("DATALOADER.NUM_WORKERS", str(asked)).clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = device
    return build_loader(cfg, Threads(), [[0, 1], [2]])


@pytest.mark.parametrize(
    ("asked", "cores", "processes", "expected"),
    [(0, 8, 1, 0), (4, 8, 1, 4), (8, 2, 1, 2), (8, 1, 1, 1), (8, 16, 4, 4), (8, 2, 4, 1)],
)
def test_no_more_workers_start_than_there_are_cores_for_a_process(
    monkeypatch, asked, cores, processes, expected
):
    monkeypatch.setattr(workers, "usable_cores", lambda: cores)
    monkeypatch.setattr(workers.comm, "get_local_size", lambda: processes)
    assert loader_of(asked).num_workers == expected


def test_a_worker_uses_one_thread():
    batches = list(loader_of(1))
    assert [len(batch) for batch in batches] == [2, 1]
    assert all(entry == {"torch": 1, "cv2": 1} for batch in batches for entry in batch)


def test_batches_are_pinned_for_a_gpu_and_for_nothing_else():
    assert [loader_of(0, device).pin_memory for device in ("cpu", "mps", "cuda", "cuda:1")] == [
        False, False, True, True,
    ]  # fmt: skip


def test_a_loader_draws_no_number_of_the_global_generator():
    torch.manual_seed(3)
    expected = torch.rand(())
    torch.manual_seed(3)
    list(loader_of(0))
    list(loader_of(1))
    assert torch.equal(torch.rand(()), expected)


class Uploads(TorchDispatchMode):
    """Notes the dtypes of what is copied to another device, and whether anyone waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[torch.dtype, torch.dtype, bool]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and args[0].device != result.device:
            self.found.append((args[0].dtype, result.dtype, not kwargs.get("non_blocking", False)))
        return result


class Elsewhere(nn.Module):
    """A model on a device that is not that of the batch."""

    device = torch.device("meta")


def test_images_and_labels_cross_to_the_device_as_bytes_and_nobody_waits():
    head = Head(Elsewhere(), 255)
    pixels = torch.zeros(3, 4, 5, dtype=torch.uint8)
    entries = [{"image": pixels, "sem_seg": pixels[0]}] * 2
    with Uploads() as uploads:
        images, targets = head.images(entries), head.targets(entries)
    assert uploads.found == [(torch.uint8, torch.uint8, False)] * 4
    assert [image.dtype for image in images] == [torch.float32] * 2
    assert targets.dtype == torch.int64 and targets.shape == (2, 4, 5)
