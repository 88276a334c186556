"""Memory beyond the weights, of one form in a fresh process each.

A process that has computed before keeps pages for itself, so that it would seem to need none.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch

from benchmarks.forms import build_form, class_names, make_images, make_model
from benchmarks.training import make_step
from rskt_seg.analysis.measure import peak_memory, start_memory

_TINY = "rskt_tiny"
_MMAP_THRESHOLD = -3
"""Name of the option in malloc.h: how large a tensor is mapped by itself, and unmapped when it is freed."""


@dataclass(frozen=True)
class Setting:
    """What a process measures.

    Attributes:
        preset: Preset of the model.
        form: Name of the form.
        precision: Its precision.
        classes: Number of classes.
        batch: Images at a time.
        device: Type of the device.
        threads: Threads of an operation.
        training: Measure a training step instead of an inference.
    """

    preset: str
    form: str
    precision: str
    classes: int
    batch: int
    device: str
    threads: int
    training: bool = False

    @property
    def label(self) -> str:
        """Name and precision of the form."""
        return f"{self.form} {self.precision}"


@dataclass(frozen=True)
class Memory:
    """What a process has found.

    Attributes:
        setting: What was measured.
        before: Bytes in use before the first image, weights among them.
        extra: Most bytes that were in use beyond these; None if the system does not tell.
    """

    setting: Setting
    before: int | None
    extra: int | None


def measure(setting: Setting) -> Memory:
    """Measure in a process of its own.

    Args:
        setting: What to measure.

    Returns:
        What was found.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_return_what_is_freed) as pool:
        return pool.submit(measure_here, setting).result()


def _return_what_is_freed() -> None:
    """Make glibc return every large tensor to the system when it is freed, where there is a glibc.

    By default it keeps more and more of them, in an order that differs from run to run: the same image then
    seems to take 145 to 330 MB.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 17)


def measure_here(setting: Setting) -> Memory:
    """Measure in this process, which should be fresh. See `measure`."""
    torch.set_num_threads(setting.threads)
    device = torch.device(setting.device)
    # Libraries that the first call loads are no memory of an image: a tiny model has called them.
    _prepare(replace(setting, preset=_TINY), device)()
    call = _prepare(setting, device)
    before = start_memory(device)
    call()
    peak = peak_memory(device)
    return Memory(setting, before, None if before is None or peak is None else peak - before)


def _prepare(setting: Setting, device: torch.device) -> Callable[[], object]:
    """Return a call that makes an inference with its text, or a training step."""
    names, model = class_names(setting.classes), make_model(setting.preset, device)
    images = make_images(model, setting.batch)
    if setting.training:
        return make_step(model, setting.form, images, names).run
    form = build_form(model, setting.form, setting.precision)
    return lambda: form.logits(images, names)  # the model is not kept beside what a form has packed
