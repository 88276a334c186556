"""Memory beyond the weights, of one form in a fresh process each.

A process that has computed before keeps pages for itself, so that it would seem to need none.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from benchmarks.forms import build_form, class_names, make_images, make_model, prompt_tokens
from benchmarks.training import make_step
from rskt_seg.analysis.measure import peak_memory, start_memory


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
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure_here, setting).result()


def measure_here(setting: Setting) -> Memory:
    """Measure in this process, which should be fresh. See `measure`."""
    torch.set_num_threads(setting.threads)
    device, names = torch.device(setting.device), class_names(setting.classes)
    model = make_model(setting.preset, device)
    images = make_images(model, setting.batch)
    prompt_tokens(model, names)  # the library that this imports is no memory of an image
    if setting.training:
        step = make_step(model, setting.form, images, names)
        before = start_memory(device)
        step.forward()
        step.backward()
    else:
        form = build_form(model, setting.form, setting.precision)
        del model  # what the form has packed is not kept twice
        before = start_memory(device)
        form.logits(images, names)
    peak = peak_memory(device)
    return Memory(setting, before, None if before is None or peak is None else peak - before)
